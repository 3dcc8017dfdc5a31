"""What mixes the patches in MLP-Mixer: two dense layers along the axis that a Dense layer leaves alone."""

import keras
from keras import layers, ops
from kerasnn.ranges import Fraction, Positive


@keras.saving.register_keras_serializable(package="kerasnn_tiny")
class MixPatches(layers.Layer):
    """Dense, GELU, dense across the patches, alike for every channel: the token-mixing of MLP-Mixer.

    Tolstikhin et al. 2021, MLP-Mixer: An all-MLP Architecture for Vision, equation 1, without normalization and sum.

    Args:
        units: of the hidden layer.
        dropout: share of the hidden layer that is dropped in training.

    Input and output shape: `(batch, patches, channels)`.

    Example:
        >>> MixPatches(32)(keras.ops.ones((1, 64, 8))).shape      # (1, 64, 8), 64·32 + 32 + 32·64 + 64 weights
    """

    def __init__(self, units: Positive, dropout: Fraction = 0.0, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.dropout = dropout

    def build(self, input_shape):
        """Allocate both dense layers; the second has a unit per patch."""
        batch, patches, channels = input_shape
        self._dense1 = layers.Dense(self.units, activation="gelu", dtype=self.dtype_policy, name="dense1")
        self._dense1.build((batch, channels, patches))
        self._dropout = layers.Dropout(self.dropout, dtype=self.dtype_policy, name="dropout")
        self._dense2 = layers.Dense(patches, dtype=self.dtype_policy, name="dense2")
        self._dense2.build((batch, channels, self.units))

    def call(self, inputs, training=None):
        """The patches, mixed."""
        x = ops.swapaxes(inputs, 1, 2)  # (B, channels, patches)
        x = self._dropout(self._dense1(x), training=training)  # (B, channels, units)
        return ops.swapaxes(self._dense2(x), 1, 2)  # (B, patches, channels)

    def compute_output_shape(self, input_shape):
        """The input's shape."""
        return tuple(input_shape)

    def macs(self, input_shape, output_shape) -> int:
        """Multiply–adds per example: without this method kerasnn would call its count a lower bound."""
        _, patches, channels = input_shape
        return 2 * channels * patches * self.units

    def get_config(self):
        """What rebuilds this layer."""
        return super().get_config() | {"units": self.units, "dropout": self.dropout}
