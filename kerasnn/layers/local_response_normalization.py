"""Local response normalization: AlexNet's competition between neighbouring feature maps."""

import keras
from keras import ops

from kerasnn.ranges import NonNegativeFloat, Positive, PositiveFloat


@keras.saving.register_keras_serializable(package="kerasnn")
class LocalResponseNormalization(keras.layers.Layer):
    """Divide each activation by a power of the energy of `size` neighbouring channels at the same place.

    Krizhevsky, Sutskever, Hinton 2012, ImageNet Classification with Deep Convolutional Neural Networks, section 3.3:
    b_i = a_i / (k + alpha * sum of a_j² over |i - j| <= size // 2)^beta; beyond the first and last channel there is
    nothing to add. (Caffe divides alpha by `size`; the paper, and this layer, do not.)

    Args:
        size: how many channels compete, the middle one included; odd.
        k: what keeps the divisor away from zero.
        alpha: weight of the energy.
        beta: exponent of the divisor.

    Input and output shape: `(batch, ..., channels)`. Computed in float32 whatever the precision,
    since squares overflow float16.

    Example:
        >>> LocalResponseNormalization()(keras.ops.ones((1, 27, 27, 256))).shape      # (1, 27, 27, 256)
    """

    def __init__(
        self,
        size: Positive = 5,
        k: PositiveFloat = 2.0,
        alpha: NonNegativeFloat = 1e-4,
        beta: NonNegativeFloat = 0.75,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if size % 2 == 0:
            raise ValueError(f"size={size} has no middle channel: give an odd number, such as {size + 1}")
        self.size = size
        self.k = k
        self.alpha = alpha
        self.beta = beta

    def call(self, inputs):
        """`inputs` normalized across channels."""
        x = ops.cast(inputs, "float32")
        channels = x.shape[-1]
        reach = self.size // 2
        square = ops.pad(ops.square(x), [(0, 0)] * (x.ndim - 1) + [(reach, reach)])
        energy = sum(square[..., start : start + channels] for start in range(self.size))
        return ops.cast(x * ops.power(self.k + self.alpha * energy, -self.beta), inputs.dtype)

    def compute_output_shape(self, input_shape):
        """The input's shape."""
        return input_shape

    def get_config(self):
        """What rebuilds this layer."""
        return super().get_config() | {"size": self.size, "k": self.k, "alpha": self.alpha, "beta": self.beta}
