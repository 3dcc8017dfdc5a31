"""The scaled hyperbolic tangent of LeNet-5."""

import keras
from keras import ops

AMPLITUDE = 1.7159
SLOPE = 2 / 3


@keras.saving.register_keras_serializable(package="kerasnn")
class ScaledTanh(keras.layers.Layer):
    """Squash by 1.7159 tanh(2x/3), so that f(1) = 1 and f(-1) = -1.

    LeCun, Bottou, Bengio, Haffner 1998, Gradient-Based Learning Applied to Document Recognition, appendix A: targets of
    ±1 then lie where the curvature is greatest, away from the flat ends.

    Input and output shape: any, the same.

    Example:
        >>> ScaledTanh()(keras.ops.convert_to_tensor([0.0, 1.0]))      # [0.0, 1.0]
    """

    def call(self, inputs):
        """`inputs`, each number squashed into (-1.7159, 1.7159)."""
        return AMPLITUDE * ops.tanh(SLOPE * inputs)

    def compute_output_shape(self, input_shape):
        """The input's shape."""
        return input_shape
