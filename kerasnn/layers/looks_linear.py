"""An initializer under which a deep stack of rectifiers starts out linear."""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kerasnn")
class LooksLinear(keras.initializers.Initializer):
    """Draw half of a kernel and mirror it, so that neighbouring units start as relu(z) and relu(-z).

    Balduzzi, Frean, Leary, Lewis, Ma, McWilliams 2017, The Shattered Gradients Problem: If resnets are the answer, then
    what is the question?, ICML, section 5. The next layer, mirrored too, takes the differences relu(z) - relu(-z) = z.
    A stack of such layers starts as a linear map: different inputs stay different at any depth, where independent
    rectifiers push all of them into one direction. Adam's first steps then follow what distinguishes the examples
    instead of what they share; the latter drives a deep VGG without batch normalization into equal logits for all.

    The variance is He's, 2 / fan-in. Pairs are neighbours, (0, 1), (2, 3), …, which flattening and even groups keep.

    Args:
        mirror_inputs: the layer's inputs come in mirrored pairs; False for a first layer, whose input is data.

    Example:
        >>> keras.layers.Conv2D(64, 3, activation="relu", kernel_initializer=LooksLinear(mirror_inputs=False))
    """

    def __init__(self, mirror_inputs: bool = True):
        self.mirror_inputs = mirror_inputs

    def __call__(self, shape, dtype=None):
        """A kernel `(..., inputs, outputs)`; `outputs`, and `inputs` if mirrored, must be even."""
        *window, fan, width = shape
        if width % 2 or (self.mirror_inputs and fan % 2):
            raise ValueError(
                f"LooksLinear mirrors units in pairs, but the kernel {tuple(shape)} has an odd number of them"
            )
        half = (*window, fan // 2 if self.mirror_inputs else fan, width // 2)
        kernel = keras.random.normal(half, stddev=1 / math.sqrt(math.prod(half[:-1])), dtype=dtype)
        kernel = ops.reshape(ops.stack([kernel, -kernel], axis=-1), (*half[:-1], width))
        if self.mirror_inputs:
            kernel = ops.reshape(ops.stack([kernel, -kernel], axis=-2), tuple(shape))
        return kernel

    def get_config(self):
        """What rebuilds this initializer."""
        return {"mirror_inputs": self.mirror_inputs}
