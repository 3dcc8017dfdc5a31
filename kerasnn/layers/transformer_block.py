"""One layer of a Transformer: attention and a feed-forward network, each added to the stream that it reads."""

import math
from typing import Literal

import keras
from keras import initializers, layers, ops

from kerasnn.errors import ModelError
from kerasnn.ranges import Fraction, Positive, PositiveFloat

ACTIVATIONS = {
    "relu": ops.relu,
    "gelu": lambda x: ops.gelu(x, approximate=False),
    "gelu_tanh": lambda x: ops.gelu(x, approximate=True),
}


@keras.saving.register_keras_serializable(package="kerasnn")
class TransformerBlock(keras.layers.Layer):
    """Self-attention, attention to a memory if asked, and a feed-forward network, with shortcuts and normalization.

    Vaswani et al. 2017, Attention Is All You Need, section 3 and figure 1: x ← norm(x + dropout(branch(x))) for each
    branch. Radford et al. 2019 (GPT-2) normalize first: x ← x + dropout(branch(norm(x))). Huang et al. 2016, Deep
    Networks with Stochastic Depth, leave out whole branches in training.

    Args:
        num_heads: heads of attention; the width of the stream must be a multiple.
        hidden_dim: units of the feed-forward network.
        activation: of these units; `gelu_tanh` is the approximation that BERT's and GPT's own code has.
        dropout: share of each branch's output that is dropped in training.
        attention_dropout: share of the attention weights that is dropped in training.
        stochastic_depth_rate: how often each branch is left out in training, by a draw of its own for each example.
        pre_norm: normalize what a branch reads, not what the sum gives.
        causal: no position attends to a later one.
        cross_attention: whether there is a branch that attends to a memory, between the two others.
        attention_bias: whether the four projections of attention have biases.
        epsilon: added to the variance that normalization divides by.
        kernel_initializer: of all kernels; None is Glorot's uniform rule.
        output_initializer: of the kernels that end a branch; None as the others.

    Call arguments:
        inputs: `(batch, length, width)`.
        padding_mask: `(batch, length)`, False where nothing may attend to; None hides nothing.
        memory: `(batch, memory length, width)`, such as an encoder's output.
        memory_mask: `(batch, memory length)`, as `padding_mask`.

    Output shape: that of the inputs.

    Example:
        >>> block = TransformerBlock(num_heads=8, hidden_dim=2048, causal=True)
        >>> block(keras.ops.ones((2, 10, 512))).shape      # (2, 10, 512)
    """

    def __init__(
        self,
        num_heads: Positive,
        hidden_dim: Positive,
        activation: Literal["relu", "gelu", "gelu_tanh"] = "relu",
        dropout: Fraction = 0.0,
        attention_dropout: Fraction = 0.0,
        stochastic_depth_rate: Fraction = 0.0,
        pre_norm: bool = False,
        causal: bool = False,
        cross_attention: bool = False,
        attention_bias: bool = True,
        epsilon: PositiveFloat = 1e-5,
        kernel_initializer=None,
        output_initializer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation={activation!r} is unknown: give one of {', '.join(ACTIVATIONS)}")
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.activation = activation
        self.dropout = dropout
        self.attention_dropout = attention_dropout
        self.stochastic_depth_rate = stochastic_depth_rate
        self.pre_norm = pre_norm
        self.causal = causal
        self.cross_attention = cross_attention
        self.attention_bias = attention_bias
        self.epsilon = epsilon
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.output_initializer = initializers.get(output_initializer)

    def build(self, input_shape):
        """Allocate the projections of attention, the two dense layers, and a normalization for each branch."""
        width = input_shape[-1]
        self._self_attention = self._attention("self_attention", input_shape)
        self._self_attention_norm = self._norm("self_attention_layer_norm", input_shape)
        if self.cross_attention:
            self._cross_attention = self._attention("cross_attention", input_shape)
            self._cross_attention_norm = self._norm("cross_attention_layer_norm", input_shape)
        kernel = self.kernel_initializer or initializers.GlorotUniform()
        self._hidden = self._dense(self.hidden_dim, kernel, "feedforward_intermediate_dense")
        self._hidden.build(input_shape)
        self._output = self._dense(width, self.output_initializer or kernel, "feedforward_output_dense")
        self._output.build((*input_shape[:-1], self.hidden_dim))
        self._feedforward_norm = self._norm("feedforward_layer_norm", input_shape)
        self._dropout = layers.Dropout(self.dropout, dtype=self.dtype_policy, name="dropout")
        if self.stochastic_depth_rate:
            # One draw per example, not per number: the whole branch falls out.
            self._stochastic_depth = layers.Dropout(
                self.stochastic_depth_rate,
                noise_shape=(None, 1, 1),
                dtype=self.dtype_policy,
                name="stochastic_depth",
            )

    def _attention(self, name: str, shape: tuple) -> layers.MultiHeadAttention:
        width = shape[-1]
        if width % self.num_heads:
            nearest = max(round(width / self.num_heads), 1) * self.num_heads
            raise ModelError(
                f"{self.name}: {self.num_heads} heads cannot share a width of {width}: "
                f"give a multiple of {self.num_heads}, such as {nearest}"
            )
        # Glorot's limit for a width × width matrix: Keras would read (width, heads, size) as a convolution's kernel.
        limit = math.sqrt(3 / width)
        kernel = self.kernel_initializer or initializers.RandomUniform(-limit, limit)
        size = width // self.num_heads
        attention = layers.MultiHeadAttention(
            self.num_heads,
            size,
            dropout=self.attention_dropout,
            use_bias=self.attention_bias,
            kernel_initializer=_Projections(kernel, self.output_initializer or kernel, (self.num_heads, size, width)),
            dtype=self.dtype_policy,
            name=name,
        )
        attention.build(shape, shape)
        return attention

    def _norm(self, name: str, shape: tuple) -> layers.LayerNormalization:
        norm = layers.LayerNormalization(epsilon=self.epsilon, dtype=self.dtype_policy, name=name)
        norm.build(shape)
        return norm

    def _dense(self, units: int, initializer, name: str) -> layers.Dense:
        return layers.Dense(units, kernel_initializer=_fresh(initializer), dtype=self.dtype_policy, name=name)

    def call(self, inputs, padding_mask=None, memory=None, memory_mask=None, training=None):
        """The stream after all branches."""
        if self.cross_attention and memory is None:
            raise ValueError(f"{self.name} attends to a memory: give it as `memory`")

        def attend(x):
            mask = None if padding_mask is None else ops.expand_dims(padding_mask, 1)  # (B, 1, T)
            return self._self_attention(x, x, attention_mask=mask, use_causal_mask=self.causal, training=training)

        def remember(x):
            mask = None if memory_mask is None else ops.expand_dims(memory_mask, 1)  # (B, 1, S)
            return self._cross_attention(x, memory, attention_mask=mask, training=training)

        def feed_forward(x):
            return self._output(ACTIVATIONS[self.activation](self._hidden(x)))

        x = self._add(attend, self._self_attention_norm, inputs, training)
        if self.cross_attention:
            x = self._add(remember, self._cross_attention_norm, x, training)
        return self._add(feed_forward, self._feedforward_norm, x, training)

    def _add(self, branch, norm, x, training):
        """`x` plus what the branch makes of it, normalized before or after."""
        change = self._dropout(branch(norm(x) if self.pre_norm else x), training=training)
        if self.stochastic_depth_rate:
            change = self._stochastic_depth(change, training=training)
        return x + change if self.pre_norm else norm(x + change)

    def compute_output_shape(self, input_shape):
        """The stream keeps its shape."""
        return tuple(input_shape)

    def macs(self, input_shape, output_shape) -> int:
        """Multiply–adds per example: projections, scores and weighted sums of attention, and the feed-forward network.

        A causal network computes the scores of later positions too, before it hides them. A memory counts as long as
        the inputs.
        """
        _, length, width = input_shape
        attention = 4 * length * width**2 + 2 * length**2 * width
        return attention * (2 if self.cross_attention else 1) + 2 * length * width * self.hidden_dim

    def get_config(self):
        """What rebuilds this layer."""
        return super().get_config() | {
            "num_heads": self.num_heads,
            "hidden_dim": self.hidden_dim,
            "activation": self.activation,
            "dropout": self.dropout,
            "attention_dropout": self.attention_dropout,
            "stochastic_depth_rate": self.stochastic_depth_rate,
            "pre_norm": self.pre_norm,
            "causal": self.causal,
            "cross_attention": self.cross_attention,
            "attention_bias": self.attention_bias,
            "epsilon": self.epsilon,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "output_initializer": initializers.serialize(self.output_initializer),
        }


def _fresh(initializer):
    """The same rule with a seed of its own: one instance draws the same numbers every time."""
    return initializer.__class__.from_config(initializer.get_config())


class _Projections(initializers.Initializer):
    """Two rules in one, because attention takes one initializer for all of its kernels.

    The kernels of query, key and value are (width, heads, size); the one that ends the branch is of `output_shape`,
    (heads, size, width).
    """

    def __init__(self, kernel, output, output_shape: tuple[int, int, int]):
        self.kernel = kernel
        self.output = output
        self.output_shape = output_shape

    def __call__(self, shape, dtype=None):
        return _fresh(self.output if tuple(shape) == self.output_shape else self.kernel)(shape, dtype)

    def get_config(self):
        return {"kernel": self.kernel, "output": self.output, "output_shape": self.output_shape}
