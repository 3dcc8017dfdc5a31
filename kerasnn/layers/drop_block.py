"""DropBlock: dropout for feature maps, whose neighbours would tell what a single missing number was."""

import math

import keras
from keras import ops

from kerasnn.ranges import Fraction, Positive

LARGEST = 7  # The paper's block, on maps of 14×14.


@keras.saving.register_keras_serializable(package="kerasnn")
class DropBlock2D(keras.layers.Layer):
    """Drop square blocks of each map in training, and scale up what is left.

    Ghiasi, Lin, Le 2018, DropBlock: A regularization method for convolutional networks, algorithm 1: blocks lie wholly
    within the map, each map draws its own, and what is kept is multiplied by count / kept. The count is taken over each
    example, so that an example's output does not depend on the batch it is in. The paper lets the rate rise during
    training; here it is constant.

    Args:
        rate: share of the numbers that is dropped, if no two blocks overlapped; so the true share is a little less.
        block_size: side of a block, at most the map's; None takes half of the map's shorter side, rounded up, and never
            more than 7: the paper's 7 of 14.
        seed: of the blocks; None draws one.

    Input and output shape: `(batch, height, width, channels)`, height and width known.

    Example:
        >>> DropBlock2D(0.1)(keras.ops.ones((1, 14, 14, 256)), training=True).shape      # (1, 14, 14, 256)
    """

    def __init__(self, rate: Fraction, block_size: Positive | None = None, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.block_size = block_size
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape):
        """Check that the map's size is known: the rate of blocks depends on it."""
        shape = tuple(input_shape)
        if len(shape) != 4 or None in shape[1:]:
            raise ValueError(f"DropBlock2D takes maps (batch, height, width, channels) of known size, not {shape}")

    def call(self, inputs, training=False):
        """`inputs`, in training without the dropped blocks."""
        if not training or not self.rate:
            return inputs
        block = self._block(*inputs.shape[1:3])
        kept = 1 - spread(self._corners(inputs, block), block)
        share = ops.mean(kept, axis=(1, 2, 3), keepdims=True)
        return inputs * ops.cast(kept / ops.maximum(share, 1e-9), inputs.dtype)

    def _block(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of a block on a map of this size."""
        size = self.block_size or min(LARGEST, (min(height, width) + 1) // 2)
        return min(size, height), min(size, width)

    def _corners(self, inputs, block: tuple[int, int]):
        """1 where a block has its upper left corner, `(batch, height - block + 1, width - block + 1, channels)`."""
        _, height, width, channels = inputs.shape
        places = (height - block[0] + 1, width - block[1] + 1)
        # The paper's gamma: so many corners, each of which drops a block, make `rate` of the map.
        gamma = self.rate * height * width / (math.prod(block) * math.prod(places))
        everywhere = ops.ones((ops.shape(inputs)[0], *places, channels), dtype="float32")
        # Dropout is what kerasnn draws alike on any number of devices; no gamma is above 1.
        left = keras.random.dropout(everywhere, 1 - gamma, seed=self.seed_generator)
        return ops.cast(left > 0, "float32")

    def compute_output_shape(self, input_shape):
        """The input's shape."""
        return input_shape

    def get_config(self):
        """What rebuilds this layer."""
        return super().get_config() | {"rate": self.rate, "block_size": self.block_size, "seed": self.seed}


def spread(corners, block: tuple[int, int]):
    """1 wherever a block lies, `(batch, height, width, channels)`, from 1 at each block's upper left corner.

    Example:
        >>> spread(keras.ops.ones((1, 1, 1, 1)), (2, 3)).shape      # (1, 2, 3, 1)
    """
    edges = [(0, 0), *((side - 1, side - 1) for side in block), (0, 0)]
    return ops.max_pool(ops.pad(corners, edges), block, strides=1, padding="valid", data_format="channels_last")
