"""The shared entrance: a picture or tokens that the network can digest, or an error that says what would help."""

from collections.abc import Mapping

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


def picture_and_stem(
    variant: str,
    input_shape: tuple[int, ...],
    stem: str,
    smallest: Mapping[str, int],
    large: int | None = None,
):
    """The input of a network with two entrances, one for ImageNet's pictures and one for small ones; and which it is.

    Args:
        variant: the network's name, for the error.
        input_shape: the shape of one picture.
        stem: `imagenet`, `small`, or `auto`: imagenet from `large` on, else small.
        smallest: the smallest legal height and width, by stem.
        large: sides from which `auto` takes the ImageNet stem; None takes it wherever it is legal.

    Raises:
        ModelError: the shape is no picture, or the picture is too small for the stem.

    Example:
        >>> picture_and_stem("resnet18", (32, 32, 3), "auto", {"imagenet": 32, "small": 8}, large=64)[1]
        'small'
    """
    if stem == "auto":
        stem = "imagenet" if min(input_shape[:2], default=0) >= (large or smallest["imagenet"]) else "small"
    remedy = "model.stem=small" if stem == "imagenet" else ""
    return picture(variant, input_shape, smallest[stem], remedy), stem


def tokens(variant: str, input_shape: tuple[int, ...], data: str, pairs: bool = False):
    """The input of a network of tokens, checked: int32 ids `(length,)`, or `(2, length)` for a pair of sequences.

    Args:
        variant: the network's name, for the error.
        input_shape: the shape of one example.
        data: a choice of data that fits, for the error.
        pairs: whether an example is a source and a target of the same length.

    Raises:
        ModelError: the shape is another, or the sequences are shorter than 2.

    Example:
        >>> tokens("gpt2", (32, 32, 3), data="text_lm")
        ModelError: gpt2: the input is (32, 32, 3), but it takes tokens (length,); choose such data, as data=text_lm
    """
    shape = tuple(input_shape)
    if len(shape) != 1 + pairs or shape[:-1] not in ((), (2,)):
        wanted = "pairs of tokens (2, length)" if pairs else "tokens (length,)"
        raise ModelError(f"{variant}: the input is {shape}, but it takes {wanted}; choose such data, as data={data}")
    if shape[-1] < 2:  # A token alone has nothing to attend to but itself.
        raise ModelError(
            f"{variant}: the sequence has {shape[-1]} token, the shortest it can take has 2; set data.sequence_length=2"
        )
    return keras.Input(shape, dtype="int32", name="tokens")
