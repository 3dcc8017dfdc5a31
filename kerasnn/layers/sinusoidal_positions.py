"""Fixed positions: sines and cosines that are added to a stream of vectors."""

import keras
import numpy as np
from keras import ops


def position_table(length: int, width: int) -> np.ndarray:
    """One row per position, `(length, width)` float32: sine in even columns, cosine in odd ones.

    Columns 2i and 2i + 1 of row p are the sine and the cosine of p / 10000^(2i / width): wavelengths from 2π to
    10000 · 2π.
    """
    rates = 10000.0 ** (-np.arange(0, width, 2) / width)
    angles = np.arange(length)[:, None] * rates  # (length, width / 2, rounded up)
    table = np.empty((length, width), "float32")
    table[:, 0::2] = np.sin(angles)
    table[:, 1::2] = np.cos(angles[:, : width // 2])
    return table


@keras.saving.register_keras_serializable(package="kerasnn")
class SinusoidalPositions(keras.layers.Layer):
    """Adds to each vector the code of its position.

    Vaswani et al. 2017, Attention Is All You Need, section 3.5. No weights, so any length will do.

    Input shape: `(batch, length, width)`. Output shape: the same.

    Example:
        >>> SinusoidalPositions()(keras.ops.zeros((1, 2, 4)))      # [[0, 1, 0, 1], [sin 1, cos 1, sin .01, cos .01]]
    """

    def call(self, inputs):
        """The inputs plus the table's rows."""
        _, length, width = inputs.shape
        return inputs + ops.convert_to_tensor(position_table(length, width), dtype=inputs.dtype)

    def compute_output_shape(self, input_shape):
        """Positions are added, not appended."""
        return tuple(input_shape)
