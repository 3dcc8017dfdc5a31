"""The shared ends of networks: from features to one logit per class.

The last layer is called `predictions` in every family, as in Keras' published weights, so that fine-tuning can find it.
It computes in float32 under mixed precision too: a softmax over half-precision logits loses the small classes.

A network with further classifiers for training alone is a `WithAuxiliary`; `main_network` is what remains of it.
"""

from collections.abc import Sequence

import keras
from keras import initializers, layers

from kerasnn.layers.looks_linear import LooksLinear
from kerasnn.ranges import Fraction


def logits(x, num_classes: int, initializer="glorot_uniform", name: str = "predictions"):
    """`(batch, features)` to `(batch, num_classes)`: a linear layer; an auxiliary one has a `name` of its own."""
    return layers.Dense(num_classes, dtype="float32", kernel_initializer=initializer, name=name)(x)


def is_head(layer: keras.Layer) -> bool:
    """Whether a layer is the last one of a network, or belongs to a classifier that serves its training alone."""
    return layer.name == "predictions" or layer.name.startswith("auxiliary")


def tied_logits(x, embedding):
    """`(batch, length, width)` to `(batch, length, words)`: the `TiedEmbedding` of the input, read backwards."""
    return layers.Activation("linear", dtype="float32", name="predictions")(embedding(x, reverse=True))


def pooled_head(x, num_classes: int, dropout: Fraction = 0.0, initializer="glorot_uniform"):
    """Feature maps to logits: the average over all places, dropout, a linear layer.

    Args:
        x: `(batch, height, width, channels)`.
        num_classes: number of logits.
        dropout: share of the averages that is dropped in training; 0 adds no layer.
        initializer: of the linear layer's kernel.
    """
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    if dropout:
        x = layers.Dropout(dropout, name="dropout")(x)
    return logits(x, num_classes, initializer)


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


AUXILIARY_WEIGHT = 0.3


@keras.saving.register_keras_serializable(package="kerasnn")
class WithAuxiliary(keras.Model):
    """A network with auxiliary classifiers, which add to the loss of a training step and are seen nowhere else.

    Szegedy et al. 2015, Going Deeper with Convolutions, section 5: the loss in training is main + 0.3 × each auxiliary
    loss. Calling, `predict` and `evaluate` know the main logits only, and so do all metrics; `loss` of a training step
    is the whole sum, since that is what was made smaller.

    Built as any functional model is, from its input and the list `[main logits, *auxiliary logits]`.

    Example:
        >>> model = WithAuxiliary(picture, [main, first, second], name="googlenet")
        >>> model.compile("adam", loss)      # one loss, which all classifiers share
        >>> model.predict(pictures).shape      # (pictures, classes)
    """

    def call(self, inputs, training=None, mask=None):
        """The main logits; all of them, main first, when `training` is true."""
        outputs = super().call(inputs, training=training, mask=mask)
        return outputs if training else outputs[0]

    def compute_output_spec(self, inputs, training=None, mask=None):
        """Shape and type of the main logits, so that the network can stand in another as a layer."""
        return super().compute_output_spec(inputs, training=training, mask=mask)[0]

    @property
    def output_shape(self):
        """Shape of the main logits, `(None, classes)`."""
        return tuple(self.outputs[0].shape)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Loss of the main logits, penalties included; in training with 0.3 of each auxiliary loss."""
        main, *auxiliary = keras.tree.flatten(y_pred)
        loss = super().compute_loss(x, y, main, sample_weight, training)
        if training:
            # Not through super() again: that would count the penalties on the weights once per classifier.
            loss += sum(AUXILIARY_WEIGHT * self._compile_loss(y, logits, sample_weight) for logits in auxiliary)
        return loss

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """The metrics of the main logits."""
        return super().compute_metrics(x, y, keras.tree.flatten(y_pred)[0], sample_weight)


def main_network(model: keras.Model) -> keras.Model:
    """What is counted, kept and handed on: input to main logits, with the same layers and weights.

    Example:
        >>> main_network(googlenet((224, 224, 3), 1000)).count_params()
        6998552
    """
    if not isinstance(model, WithAuxiliary):
        return model
    return keras.Model(model.input, model.outputs[0], name=model.name)
