"""From examples, in memory or on disk, to pictures of the size that the model takes.

Resizing is Pillow's: bilinear with antialiasing, in whole numbers, so that the same picture comes out whatever batch it
sits in and whichever machine computes it. Pillow decodes and resizes in parallel threads.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from kerasnn.data.bundle import Resize
from kerasnn.data.examples import ArrayExamples, FileExamples
from kerasnn.errors import DataError

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
"""What is read. Others stay out: some, such as EPS, would start outside programs."""

_THREADS = min(16, os.cpu_count() or 1)


def decode(path: str, channels: int, smallest: tuple[int, int] | None = None) -> np.ndarray:
    """Reads one picture file.

    EXIF rotation is applied. Transparent pictures are laid over white, CMYK and palettes become RGB, of 16 bits the
    upper 8 are kept, of several frames the first is used.

    Args:
        path: a picture in one of FORMATS.
        channels: 1 (grayscale) or 3 (colour): what the picture is converted to.
        smallest: (height, width) that must remain: a JPEG of more than twice that is decoded at a fraction of its size,
            which is several times faster. None decodes in full.

    Returns:
        uint8 `(height, width, channels)`.

    Raises:
        DataError: the file is absent, damaged or of another kind.

    Example:
        >>> decode("photo.jpg", channels=3).shape
        (375, 500, 3)
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            if smallest and image.format in ("JPEG", "MPO"):
                size = (2 * max(smallest),) * 2  # Square, since EXIF may still turn it.
                image.draft("L" if channels == 1 else "RGB", size)
            return _to_array(image, channels)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be decoded ({error}): mend or remove it") from error


def _to_array(image: Image.Image, channels: int) -> np.ndarray:
    target = "L" if channels == 1 else "RGB"
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        grey = (np.clip(np.asarray(image, np.int64), 0, 65535) >> 8).astype(np.uint8)
        image = Image.fromarray(grey)
    elif image.mode == "F":
        raise DataError("pictures of floating-point numbers are not supported")
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    array = np.asarray(image.convert(target))
    return array[..., None] if channels == 1 else array


def load_examples(
    examples: ArrayExamples | FileExamples, input_shape: tuple[int, int, int], resize: Resize
) -> np.ndarray:
    """The pictures of all examples at the size that the model takes; files are decoded in parallel.

    Args:
        examples: pictures in memory or on disk.
        input_shape: (height, width, channels) of the result.
        resize: as for `fit`.

    Returns:
        uint8 `(examples, height, width, channels)`; of examples in memory that have the size already, no copy.

    Raises:
        DataError: a file is damaged, or the channels differ.

    Example:
        >>> load_examples(mnist().test, (32, 32, 1), "pad").shape
        (10000, 32, 32, 1)
    """
    height, width, channels = input_shape
    if isinstance(examples, ArrayExamples):
        if examples.images.shape[-1] != channels:
            raise DataError(f"pictures have {examples.images.shape[-1]} channels, the model's input has {channels}")
        return fit_batch(examples.images, (height, width), resize)
    if examples.channels != channels:
        raise DataError(f"pictures are read with {examples.channels} channels, the model's input has {channels}")

    def load(path: str) -> np.ndarray:
        return fit_batch(decode(path, channels, (height, width))[None], (height, width), resize)[0]

    pictures = np.empty((len(examples), height, width, channels), np.uint8)
    for i, picture in enumerate(_parallel(load, examples.paths)):
        pictures[i] = picture
    return pictures


def _parallel(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    if len(items) < 2 or _THREADS == 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(function, items))


def fit(image: np.ndarray, image_size: int, resize: Resize) -> np.ndarray:
    """One picture brought to a square.

    Args:
        image: uint8 `(height, width, channels)`.
        image_size: side of the result in pixels.
        resize: `pad` puts zeros evenly around a smaller picture and shrinks a larger one, keeping its proportions;
            `stretch` brings both sides to size; `crop` scales the shorter side to size and keeps the middle.

    Returns:
        uint8 `(image_size, image_size, channels)`.
    """
    return fit_batch(image[None], (image_size, image_size), resize)[0]


def fit_batch(images: np.ndarray, size: tuple[int, int], resize: Resize) -> np.ndarray:
    """As `fit`, for uint8 `(examples, height, width, channels)` and any (height, width)."""
    old, new = images.shape[1:3], size
    if old == new:
        return images
    if resize == "stretch":
        return _scale(images, new)
    ratios = [n / o for n, o in zip(new, old, strict=True)]
    ratio = min(1.0, *ratios) if resize == "pad" else max(ratios)
    images = _scale(images, tuple(max(1, round(o * ratio)) for o in old))
    return _pad(images, new) if resize == "pad" else _crop(images, new)


def _pad(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    missing = [n - o for n, o in zip(size, images.shape[1:3], strict=True)]
    return np.pad(images, [(0, 0), *((m // 2, m - m // 2) for m in missing), (0, 0)])


def _crop(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    top, left = ((o - n) // 2 for n, o in zip(size, images.shape[1:3], strict=True))
    return images[:, top : top + size[0], left : left + size[1]]


def _scale(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if images.shape[1:3] == size:
        return images
    result = np.empty((len(images), *size, images.shape[-1]), np.uint8)

    def scale_every(start: int) -> None:
        for i in range(start, len(images), _THREADS):
            picture = Image.fromarray(images[i, ..., 0] if images.shape[-1] == 1 else images[i])
            scaled = np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR))
            result[i] = scaled.reshape(result.shape[1:])

    _parallel(scale_every, range(min(_THREADS, len(images))))
    return result
