"""The shared ends of networks: from features to one logit per class.

The last layer is called `predictions` in every family, as in Keras' published weights, so that fine-tuning can find it.
It computes in float32 under mixed precision too: a softmax over half-precision logits loses the small classes.
"""

from collections.abc import Sequence

from keras import initializers, layers

from kerasnn.layers.looks_linear import LooksLinear
from kerasnn.ranges import Fraction


def logits(x, num_classes: int, initializer="glorot_uniform"):
    """`(batch, features)` to `(batch, num_classes)`: a linear layer named `predictions`."""
    return layers.Dense(num_classes, dtype="float32", kernel_initializer=initializer, name="predictions")(x)


def dense_head(x, widths: Sequence[int], num_classes: int, dropout: Fraction = 0.0):
    """Rectified features to logits, through rectified layers `fc1`, `fc2`, …, each followed by dropout.

    Args:
        x: `(batch, ...)`, flattened here; the output of a layer that started from `LooksLinear`, as those here do.
        widths: units of each hidden layer.
        num_classes: number of logits.
        dropout: share of each hidden layer that is dropped in training; 0 adds no layer.
    """
    x = layers.Flatten(name="flatten")(x)
    for number, width in enumerate(widths, start=1):
        x = layers.Dense(width, activation="relu", kernel_initializer=LooksLinear(), name=f"fc{number}")(x)
        if dropout:
            x = layers.Dropout(dropout, name=f"dropout{number}")(x)
    # A near-zero last kernel: every class starts equally likely, so the first steps carry no accident of the draw.
    return logits(x, num_classes, initializers.RandomNormal(stddev=0.002))
