"""The shared entrance: a picture that the network can digest, or an error that says what would help."""

import keras

from kerasnn.errors import ModelError


def picture(variant: str, input_shape: tuple[int, ...], smallest: int, remedy: str = ""):
    """The input of a network of pictures, checked: `(height, width, channels)`, both sides at least `smallest`.

    Args:
        variant: the network's name, for the error.
        input_shape: the shape of one picture.
        smallest: the smallest legal height and width.
        remedy: another option that helps, beside `data.image_size`, such as "model.stem=small".

    Raises:
        ModelError: the shape is no picture, or the picture is too small.

    Example:
        >>> picture("vgg16", (28, 28, 1), smallest=32)
        ModelError: vgg16: the picture is 28×28, the smallest it can take is 32×32; set data.image_size=32
    """
    if len(input_shape) != 3:
        raise ModelError(
            f"{variant}: the input is {tuple(input_shape)}, but it takes pictures (height, width, channels)"
        )
    height, width, _ = input_shape
    if min(height, width) < smallest:
        raise ModelError(
            f"{variant}: the picture is {height}×{width}, the smallest it can take is {smallest}×{smallest}; "
            f"set data.image_size={smallest}" + (f" or {remedy}" if remedy else "")
        )
    return keras.Input(tuple(input_shape), name="picture")
