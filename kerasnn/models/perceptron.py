"""The perceptron: one layer of linear units, one per class.

Rosenblatt 1958, The Perceptron: A Probabilistic Model for Information Storage and Organization in the Brain,
Psychological Review 65(6). The response layer alone is built: its fixed random association units are left out, as in
every textbook since Minsky and Papert 1969, and each class has a response unit, of which the largest wins. Trained by
SGD on `kerasnn.training.losses.PerceptronLoss`, it makes Rosenblatt's corrections, one by one with batches of one and
their mean with larger ones; with cross-entropy it is softmax regression.

Input any shape → `(num_classes,)` logits; smallest input: one number.
Count: inputs × classes + classes, 7,850 for MNIST's 28×28 and 10 classes.
"""

import keras
from keras import layers

from kerasnn.models import heads


def perceptron(input_shape: tuple[int, ...], num_classes: int) -> keras.Model:
    """The perceptron: `input_shape` → `(num_classes,)` logits.

    Args:
        input_shape: shape of one example; it is flattened.
        num_classes: number of classes.

    Example:
        >>> perceptron((28, 28, 1), 10).count_params()
        7850
    """
    inputs = keras.Input(tuple(input_shape))
    x = layers.Flatten(name="flatten")(inputs)
    return keras.Model(inputs, heads.logits(x, num_classes, "zeros"), name="perceptron")
