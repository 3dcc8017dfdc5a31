"""LayerScale: one learned factor per channel at the end of a residual branch."""

import math

import keras

from kerasnn.ranges import NonNegativeFloat


@keras.saving.register_keras_serializable(package="kerasnn")
class LayerScale(keras.layers.Layer):
    """Multiply each channel by a learned factor that starts near zero.

    Touvron, Cord, Sablayrolles, Synnaeve, Jégou 2021, Going Deeper with Image Transformers, equation 4: a deep residual
    network then starts as almost the identity, and each branch gains weight as it learns something.

    Args:
        initial: what every factor starts at.

    Input shape: `(batch, ..., channels)`. Output shape: the same.
    Weights: `scale`, `(channels,)`.

    Example:
        >>> LayerScale(0.5)(keras.ops.ones((1, 2)))      # [[0.5, 0.5]], 2 weights
    """

    def __init__(self, initial: NonNegativeFloat = 1e-6, **kwargs):
        super().__init__(**kwargs)
        self.initial = initial

    def build(self, input_shape):
        """Allocate one factor per channel."""
        initializer = keras.initializers.Constant(self.initial)
        self.scale = self.add_weight(shape=(input_shape[-1],), initializer=initializer, name="scale")

    def call(self, inputs):
        """`inputs`, each channel times its factor."""
        return inputs * self.scale

    def compute_output_shape(self, input_shape):
        """The input's shape."""
        return input_shape

    def macs(self, input_shape, output_shape) -> int:
        """Multiply–adds per example: one per number."""
        return math.prod(output_shape[1:])

    def get_config(self):
        """What rebuilds this layer."""
        return super().get_config() | {"initial": self.initial}
