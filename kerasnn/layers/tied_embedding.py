"""One table for both ends of a language model: words to vectors, and vectors to words."""

import math

import keras
from keras import ops

from kerasnn.ranges import Positive


@keras.saving.register_keras_serializable(package="kerasnn")
class TiedEmbedding(keras.layers.ReversibleEmbedding):
    """Keras' reversible embedding, with a bias per word if asked, logits in float32, and its arithmetic declared.

    Press, Wolf 2017, Using the Output Embedding to Improve Language Models. Called with `reverse=True`, it multiplies
    vectors with the transpose of the table that it looks words up in.

    Args:
        input_dim: number of words.
        output_dim: width of the vectors.
        use_bias: add a trained number per word to the logits.
        reverse_dtype: what logits are computed in; a softmax over half-precision logits loses the rare words.
        **kwargs: those of `keras.layers.ReversibleEmbedding`.

    Input shape: integers `(batch, length)`, or vectors `(batch, length, output_dim)` in reverse.
    Output shape: `(batch, length, output_dim)`, or logits `(batch, length, input_dim)` in reverse.

    Example:
        >>> embedding = TiedEmbedding(100, 16)
        >>> embedding(embedding(np.ones((1, 5))), reverse=True).shape      # (1, 5, 100), one table of 1,600 weights
    """

    def __init__(
        self,
        input_dim: Positive,
        output_dim: Positive,
        use_bias: bool = False,
        reverse_dtype: str = "float32",
        **kwargs,
    ):
        super().__init__(input_dim, output_dim, reverse_dtype=reverse_dtype, **kwargs)
        self.use_bias = use_bias

    def build(self, input_shape=None):
        """Allocate the table, and a bias per word."""
        super().build(input_shape)
        if self.use_bias:
            self.bias = self.add_weight(shape=(self.input_dim,), initializer="zeros", name="bias")

    def call(self, inputs, reverse=False):
        """The words' vectors, or the vectors' logits."""
        outputs = super().call(inputs, reverse=reverse)
        return outputs + ops.cast(self.bias, outputs.dtype) if reverse and self.use_bias else outputs

    def compute_output_spec(self, inputs, reverse=False):
        """Keras' own names the dtype of the vectors for the logits too."""
        spec = super().compute_output_spec(inputs, reverse=reverse)
        return keras.KerasTensor(spec.shape, dtype=self.reverse_dtype) if reverse else spec

    @property
    def variable_serialization_spec(self):
        """What is saved: Keras reads the names from here."""
        own = ["bias"] if self.use_bias else []
        return {mode: [*names, *own] for mode, names in super().variable_serialization_spec.items()}

    def macs(self, input_shape, output_shape) -> int:
        """Multiply–adds per example: none to look words up, one per number of each vector and word in reverse."""
        in_reverse = len(output_shape) == len(input_shape)
        return math.prod(input_shape[1:]) * self.input_dim if in_reverse else 0

    def get_config(self):
        """What rebuilds this layer."""
        return super().get_config() | {"use_bias": self.use_bias}
