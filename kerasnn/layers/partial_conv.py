"""Partially connected convolution: LeNet-5's layer C3."""

import math
from collections.abc import Sequence

import keras
from keras import ops

from kerasnn.ranges import Positive


@keras.saving.register_keras_serializable(package="kerasnn")
class PartialConv2D(keras.layers.Layer):
    """A valid 2-D convolution in which each output map sees only the input maps that a table names.

    LeCun, Bottou, Bengio, Haffner 1998, Gradient-Based Learning Applied to Document Recognition, table I: breaking the
    symmetry makes maps learn different features. Only connections that exist have weights.

    Args:
        connections: for each output map, the input maps it sees.
        kernel_size: height and width of the kernels.

    Input shape: `(batch, height, width, channels)`, with more channels than the highest number in `connections`.
    Output shape: `(batch, height - kernel_size + 1, width - kernel_size + 1, len(connections))`.
    Weights: `kernel` `(kernel_size, kernel_size, number of connections)`, listed map by map, and `bias` one per map.

    Example:
        >>> layer = PartialConv2D(connections=[[0, 1], [1, 2]], kernel_size=5)
        >>> layer(keras.ops.ones((1, 14, 14, 3))).shape      # (1, 10, 10, 2), 4 × 25 + 2 weights
    """

    def __init__(self, connections: Sequence[Sequence[int]], kernel_size: Positive, **kwargs):
        super().__init__(**kwargs)
        self.connections = tuple(tuple(maps) for maps in connections)
        self.kernel_size = kernel_size
        if not all(self.connections) or any(len(set(maps)) < len(maps) for maps in self.connections):
            raise ValueError(f"connections={connections}: each output map needs input maps, each named once")

    def build(self, input_shape):
        """Allocate one kernel per connection and one bias per output map."""
        channels = input_shape[-1]
        highest = max(max(maps) for maps in self.connections)
        if highest >= channels:
            raise ValueError(
                f"connections name input map {highest}, but the input has only {channels} maps (0 is the first)"
            )
        edges = sum(len(maps) for maps in self.connections)
        shape = (self.kernel_size, self.kernel_size, edges)
        self.kernel = self.add_weight(shape=shape, initializer=self._initial_kernel, name="kernel")
        self.bias = self.add_weight(shape=(len(self.connections),), initializer="zeros", name="bias")
        # (input map, output map) of each kernel: where `call` puts it in the full table, zeros elsewhere.
        self._places = [[seen, out] for out, maps in enumerate(self.connections) for seen in maps]
        self._table_shape = (channels, len(self.connections), self.kernel_size, self.kernel_size)

    def _initial_kernel(self, shape, dtype=None):
        """LeCun's normal: variance 1 / fan-in, where the fan-in differs between output maps."""
        fans = [len(maps) * self.kernel_size**2 for maps in self.connections for _ in maps]
        deviations = ops.convert_to_tensor([1 / math.sqrt(fan) for fan in fans], dtype=dtype)
        return keras.random.normal(shape, dtype=dtype) * deviations

    def call(self, inputs):
        """The convolution of `inputs` with the kernels at their places."""
        packed = ops.transpose(self.kernel, (2, 0, 1))  # (connections, k, k)
        table = ops.scatter(ops.convert_to_tensor(self._places, dtype="int32"), packed, self._table_shape)
        kernel = ops.transpose(table, (2, 3, 0, 1))  # (k, k, in, out)
        return ops.conv(inputs, kernel, padding="valid", data_format="channels_last") + self.bias

    def compute_output_shape(self, input_shape):
        """Height and width less the kernel's reach; one channel per output map."""
        batch, height, width, _ = input_shape
        reach = self.kernel_size - 1
        return batch, height and height - reach, width and width - reach, len(self.connections)

    def macs(self, input_shape, output_shape) -> int:
        """Multiply–adds per example: each existing kernel at each place of the output."""
        _, height, width, _ = output_shape
        return height * width * self.kernel_size**2 * sum(len(maps) for maps in self.connections)

    def get_config(self):
        """What rebuilds this layer."""
        return super().get_config() | {"connections": self.connections, "kernel_size": self.kernel_size}
