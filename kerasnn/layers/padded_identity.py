"""The parameter-free shortcut of residual networks on small pictures."""

import keras
from keras import ops

from kerasnn.ranges import Positive


@keras.saving.register_keras_serializable(package="kerasnn")
class PaddedIdentity(keras.layers.Layer):
    """Every `strides`-th place of the input as it is, and zeros for the channels that it lacks.

    He, Zhang, Ren, Sun 2016, Deep Residual Learning for Image Recognition, section 3.3, option A. The input's channels
    come first and the zeros after them, as in the Torch code of Facebook's reimplementation; the paper leaves it open.

    Args:
        filters: channels of the output, at least as many as the input has.
        strides: distance between the places that are kept, in height and width.

    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, ceil(height / strides), ceil(width / strides), filters)`. No weights.

    Example:
        >>> PaddedIdentity(32, strides=2)(keras.ops.ones((1, 32, 32, 16))).shape      # (1, 16, 16, 32)
    """

    def __init__(self, filters: Positive, strides: Positive = 1, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.strides = strides

    def build(self, input_shape):
        """Check that there is nothing to cut off."""
        if input_shape[-1] > self.filters:
            raise ValueError(
                f"PaddedIdentity has {self.filters} filters, but the input has {input_shape[-1]} channels: "
                "it can add channels, not drop them"
            )

    def call(self, inputs):
        """The places of `inputs` that are kept, with zero channels behind."""
        missing = self.filters - inputs.shape[-1]
        kept = inputs[:, :: self.strides, :: self.strides]
        return ops.pad(kept, [(0, 0), (0, 0), (0, 0), (0, missing)])

    def compute_output_shape(self, input_shape):
        """Height and width divided by `strides`, rounded up; `filters` channels."""
        batch, height, width, _ = input_shape
        return batch, height and -(-height // self.strides), width and -(-width // self.strides), self.filters

    def get_config(self):
        """What rebuilds this layer."""
        return super().get_config() | {"filters": self.filters, "strides": self.strides}
