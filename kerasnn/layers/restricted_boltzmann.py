"""The restricted Boltzmann machine: what a deep belief net is stacked from."""

import keras
from keras import initializers, ops, regularizers

from kerasnn.ranges import Positive


@keras.saving.register_keras_serializable(package="kerasnn")
class RestrictedBoltzmann(keras.layers.Layer):
    """Binary visible and hidden units, each connected to all of the other kind: the free energy of what it sees.

    Smolensky 1986 (the harmonium); Hinton 2002, Training Products of Experts by Minimizing Contrastive Divergence,
    Neural Computation 14(8). A joint state has the energy E(v, h) = -v·W·h - b·v - c·h; summed over every hidden state,

        F(v) = -log Σ exp(-E(v, h)) = -b·v - Σ_j log(1 + exp(c_j + (v·W)_j)),

    and p(v) is proportional to exp(-F(v)): what the machine expects has a low free energy. The visible units may hold
    probabilities instead of states, as pixels between black and white.

    Args:
        units: number of hidden units.
        kernel_initializer: of the kernel; both biases start at zero.
        kernel_regularizer: of the kernel.

    Input shape: `(batch, visible)`, numbers from 0 to 1. Output shape: `(batch,)`.
    Weights: `kernel` `(visible, units)`, `bias` `(units,)` of the hidden units and `visible_bias` `(visible,)`.

    Example:
        >>> machine = RestrictedBoltzmann(500)
        >>> machine(keras.ops.ones((2, 784))).shape              # (2,)
        >>> machine.hidden(keras.ops.ones((2, 784))).shape       # (2, 500)
    """

    def __init__(self, units: Positive, kernel_initializer="random_normal", kernel_regularizer=None, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)

    def build(self, input_shape):
        """Allocate the one kernel and the two biases."""
        visible = input_shape[-1]
        self.kernel = self.add_weight(
            shape=(visible, self.units),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            name="kernel",
        )
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")
        self.visible_bias = self.add_weight(shape=(visible,), initializer="zeros", name="visible_bias")

    def call(self, visible):
        """The free energy of each row, `(batch,)`."""
        drive = ops.matmul(visible, self.kernel) + self.bias
        return -ops.matmul(visible, self.visible_bias) - ops.sum(ops.softplus(drive), axis=-1)

    def hidden(self, visible):
        """The probability that each hidden unit is on: `(batch, visible)` to `(batch, units)`."""
        return ops.sigmoid(ops.matmul(visible, self.kernel) + self.bias)

    def visible(self, hidden):
        """The probability that each visible unit is on: `(batch, units)` to `(batch, visible)`."""
        return ops.sigmoid(ops.matmul(hidden, ops.transpose(self.kernel)) + self.visible_bias)

    def gibbs(self, visible, noise):
        """What the machine makes of `visible`: hidden states are sampled, visible units are set to probabilities.

        Args:
            visible: where the chain starts, `(batch, visible)`.
            noise: even random numbers in [0, 1), `(batch, steps, units)`: a unit is on where its number is smaller than
                its probability.

        Returns:
            The visible probabilities after `steps` steps, `(batch, visible)`.
        """
        for step in range(noise.shape[1]):
            states = ops.cast(noise[:, step] < self.hidden(visible), noise.dtype)
            visible = self.visible(states)
        return visible

    def compute_output_shape(self, input_shape):
        """One number per example."""
        return (input_shape[0],)

    def macs(self, input_shape, output_shape) -> int:
        """Multiply–adds per example: every connection, and the visible bias."""
        return input_shape[-1] * (self.units + 1)

    def get_config(self):
        """What rebuilds this layer."""
        return super().get_config() | {
            "units": self.units,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
        }
