"""The class token of BERT and of vision transformers."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kerasnn")
class ClassToken(keras.layers.Layer):
    """Put one learned token before a sequence: the place where a transformer gathers what it says of the whole.

    Dosovitskiy et al. 2021, An Image is Worth 16x16 Words, section 3.1, after BERT's [CLS]. It starts at zero, as in
    the authors' code: what tells it from the other tokens is its position.

    Input shape: `(batch, tokens, width)`. Output shape: `(batch, 1 + tokens, width)`, the class token first.
    Weights: `token`, `(1, 1, width)`.

    Example:
        >>> ClassToken()(keras.ops.ones((2, 196, 768))).shape      # (2, 197, 768), 768 weights
    """

    def build(self, input_shape):
        """Allocate the token."""
        self.token = self.add_weight(shape=(1, 1, input_shape[-1]), initializer="zeros", name="token")

    def call(self, inputs):
        """`inputs` behind the token, which is the same for every example."""
        token = ops.broadcast_to(self.token, (ops.shape(inputs)[0], 1, inputs.shape[-1]))
        return ops.concatenate([token, inputs], axis=1)

    def compute_output_shape(self, input_shape):
        """One token more."""
        batch, tokens, width = input_shape
        return batch, tokens and tokens + 1, width

    def macs(self, input_shape, output_shape) -> int:
        """None: it only puts side by side."""
        return 0
