"""Learned positions: one trained vector per place of a sequence."""

import keras
from keras import initializers


@keras.saving.register_keras_serializable(package="kerasnn")
class PositionEmbedding(keras.layers.Layer):
    """Adds to each vector a trained one for its position.

    Gehring et al. 2017, Convolutional Sequence to Sequence Learning, section 3.1; in BERT and GPT alike.

    Args:
        embeddings_initializer: of the table.

    Input shape: `(batch, length, width)`, always of the length that it was built for. Output shape: the same.
    Weights: `embeddings` `(length, width)`.

    Example:
        >>> PositionEmbedding()(keras.ops.zeros((1, 10, 16))).shape      # (1, 10, 16), 160 weights
    """

    def __init__(self, embeddings_initializer="uniform", **kwargs):
        super().__init__(**kwargs)
        self.embeddings_initializer = initializers.get(embeddings_initializer)

    def build(self, input_shape):
        """Allocate one vector per position."""
        self.embeddings = self.add_weight(
            shape=tuple(input_shape[1:]), initializer=self.embeddings_initializer, name="embeddings"
        )

    def call(self, inputs):
        """The inputs plus the table."""
        return inputs + self.embeddings

    def compute_output_shape(self, input_shape):
        """Positions are added, not appended."""
        return tuple(input_shape)

    def macs(self, input_shape, output_shape) -> int:
        """Multiply–adds per example: a sum multiplies nothing."""
        return 0

    def get_config(self):
        """What rebuilds this layer."""
        return super().get_config() | {
            "embeddings_initializer": initializers.serialize(self.embeddings_initializer),
        }
