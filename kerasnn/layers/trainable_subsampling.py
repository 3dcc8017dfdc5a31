"""Trainable subsampling: LeNet-5's layers S2 and S4."""

import keras
from keras import ops

from kerasnn.ranges import Positive


@keras.saving.register_keras_serializable(package="kerasnn")
class TrainableSubsampling(keras.layers.Layer):
    """Average each `size` × `size` patch, then scale and shift it by one coefficient and one bias per map.

    LeCun, Bottou, Bengio, Haffner 1998, Gradient-Based Learning Applied to Document Recognition, section II.B. The
    paper adds the patch up instead of averaging; the coefficient, which starts at 1 here, takes up the difference.
    Patches do not overlap; a last row or column that fills no patch is dropped.

    Args:
        size: height and width of a patch.

    Input shape: `(batch, height, width, channels)`. Output shape: `(batch, height // size, width // size, channels)`.
    Weights: `coefficient` and `bias`, each `(channels,)`.

    Example:
        >>> TrainableSubsampling()(keras.ops.ones((1, 28, 28, 6))).shape      # (1, 14, 14, 6), 12 weights
    """

    def __init__(self, size: Positive = 2, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def build(self, input_shape):
        """Allocate one coefficient and one bias per map."""
        channels = (input_shape[-1],)
        self.coefficient = self.add_weight(shape=channels, initializer="ones", name="coefficient")
        self.bias = self.add_weight(shape=channels, initializer="zeros", name="bias")

    def call(self, inputs):
        """`inputs`, `size` times smaller each way."""
        pooled = ops.average_pool(inputs, self.size, padding="valid", data_format="channels_last")
        return pooled * self.coefficient + self.bias

    def compute_output_shape(self, input_shape):
        """Height and width divided by `size`, rounded down."""
        batch, height, width, channels = input_shape
        return batch, height and height // self.size, width and width // self.size, channels

    def macs(self, input_shape, output_shape) -> int:
        """Multiply–adds per example: one per output, for coefficient and bias."""
        _, height, width, channels = output_shape
        return height * width * channels

    def get_config(self):
        """What rebuilds this layer."""
        return super().get_config() | {"size": self.size}
