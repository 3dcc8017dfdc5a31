"""Operations on tones and colours as in PIL, on a batch: functions of per-picture strengths, and the ops made of them.

The functions take images float32 `(batch, height, width, channels)` in [0, 1] and keep them there; factors, thresholds
and bits are float32 `(batch,)`. PIL's tables of 256 levels are kept where the level matters: equalize and posterize.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import tensorflow as tf

from kerasnn.augment.chance import happens
from kerasnn.augment.image import LUMA, saturate
from kerasnn.errors import ConfigError
from kerasnn.ranges import Probability, Range

Bits = Annotated[int, Range(low=1, high=8)]

Change = Callable[[tf.Tensor], tf.Tensor]

LEVELS = 256

# Of 0 to 8 bits that stay, the distance between levels and its inverse. A table, since powers and divisions in a graph
# may come out a little less than whole, and floor would make a whole step of it.
STEPS = tuple((2.0 ** (8 - bits), 2.0 ** (bits - 8)) for bits in range(9))


@dataclass(frozen=True)
class AutoContrast:
    """Stretch each channel of a picture until its darkest pixel is 0 and its brightest 1.

    Args:
        probability: of doing so, drawn for each example.

    Shapes: `(batch, height, width, channels)` in and out.

    Example:
        >>> AutoContrast()(images, seed=tf.constant([0, 1]))
    """

    probability: Probability = 0.5

    def __call__(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Stretch some of the pictures; shape, dtype and range stay."""
        return _some(images, auto_contrast, self.probability, seed)


@dataclass(frozen=True)
class Equalize:
    """Make all 256 levels of each channel about equally frequent (histogram equalization, as PIL's ImageOps has it).

    Args:
        probability: of doing so, drawn for each example.

    Shapes: `(batch, height, width, channels)` in and out.

    Example:
        >>> Equalize()(images, seed=tf.constant([0, 1]))
    """

    probability: Probability = 0.5

    def __call__(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Equalize some of the pictures; shape, dtype and range stay."""
        return _some(images, equalize, self.probability, seed)


@dataclass(frozen=True)
class Posterize:
    """Keep only the highest bits of each pixel.

    Args:
        bits: how many of the eight stay; 8 leaves the picture.
        probability: of doing so, drawn for each example.

    Shapes: `(batch, height, width, channels)` in and out.

    Example:
        >>> Posterize(bits=4)(images, seed=tf.constant([0, 1]))
    """

    bits: Bits = 4
    probability: Probability = 0.5

    def __call__(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Posterize some of the pictures; shape, dtype and range stay."""
        return _some(images, lambda some: posterize(some, _fill(some, self.bits)), self.probability, seed)


@dataclass(frozen=True)
class Solarize:
    """Invert every pixel at or above a threshold; a threshold of 0 inverts the whole picture.

    Args:
        threshold: 0 is black, 1 is white.
        probability: of doing so, drawn for each example.

    Shapes: `(batch, height, width, channels)` in and out.

    Example:
        >>> Solarize(threshold=0.5)(images, seed=tf.constant([0, 1]))
    """

    threshold: Probability = 0.5
    probability: Probability = 0.5

    def __call__(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Solarize some of the pictures; shape, dtype and range stay."""
        return _some(images, lambda some: solarize(some, _fill(some, self.threshold)), self.probability, seed)


@dataclass(frozen=True)
class Sharpness:
    """Blur or sharpen each picture by a factor drawn from [1 - strength, 1 + strength]; 0 is PIL's smooth filter.

    Args:
        strength: the largest distance of the factor from 1; 0 leaves the picture.

    Shapes: `(batch, height, width, channels)` in and out.

    Example:
        >>> Sharpness(strength=0.9)(images, seed=tf.constant([0, 1]))
    """

    strength: Probability = 0.9

    def __call__(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Blur or sharpen each picture by its own draw; shape and dtype stay, what leaves [0, 1] is cut off."""
        draws = tf.random.stateless_uniform([tf.shape(images)[0]], seed, -1.0, 1.0)
        return sharpness(images, 1.0 + self.strength * draws)


def auto_contrast(images: tf.Tensor) -> tf.Tensor:
    """Each channel stretched to reach from 0 to 1; one of a single tone stays."""
    lowest = tf.reduce_min(images, axis=[1, 2], keepdims=True)
    span = tf.reduce_max(images, axis=[1, 2], keepdims=True) - lowest
    flat = tf.cast(span <= 0, images.dtype)
    # A channel of a single tone: (x - 0) / 1.
    return tf.clip_by_value((images - lowest * (1.0 - flat)) / (span + flat), 0.0, 1.0)


def equalize(images: tf.Tensor) -> tf.Tensor:
    """Each channel through the table that PIL's `ImageOps.equalize` makes of its histogram."""
    height, width, channels = images.shape[1:]
    planes = tf.transpose(_levels(images), (0, 3, 1, 2))
    rows = tf.reshape(tf.cast(planes, tf.int32), (-1, height * width))
    counts = tf.raw_ops.DenseBincount(input=rows, size=LEVELS, weights=tf.constant([], tf.int32), binary_output=False)
    # The brightest level that occurs is left out of the step, as in PIL.
    brightest = tf.gather(counts, tf.reduce_max(rows, axis=1), batch_dims=1)
    step = (height * width - brightest) // (LEVELS - 1)
    before = tf.cumsum(counts, axis=1, exclusive=True)
    safe = tf.maximum(step, 1)[:, None]
    table = tf.minimum((safe // 2 + before) // safe, LEVELS - 1)
    table = tf.where(step[:, None] > 0, table, tf.range(LEVELS))
    equal = tf.cast(tf.gather(table, rows, batch_dims=1), images.dtype) / (LEVELS - 1)
    return tf.transpose(tf.reshape(equal, (-1, channels, height, width)), (0, 2, 3, 1))


def posterize(images: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """The highest `bits` of each pixel's eight."""
    steps = tf.gather(tf.constant(STEPS), tf.cast(bits, tf.int32))
    step, inverse = (_each(part) for part in tf.unstack(steps, axis=1))
    return tf.floor(_levels(images) * inverse) * step / (LEVELS - 1)


def solarize(images: tf.Tensor, thresholds: tf.Tensor) -> tf.Tensor:
    """Pixels below the threshold as they are, the others inverted."""
    return tf.where(images < _each(thresholds), images, 1.0 - images)


def brightness(images: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Black at factor 0, the picture at 1."""
    return tf.clip_by_value(images * _each(factors), 0.0, 1.0)


def contrast(images: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """The picture's mean grey at factor 0, the picture at 1."""
    channels = tf.reduce_mean(images, axis=[1, 2])
    mean = _each(tf.linalg.matvec(channels, tf.constant(_luma(images))))
    return tf.clip_by_value(mean + _each(factors) * (images - mean), 0.0, 1.0)


def colour(images: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """The picture in grey at factor 0, the picture at 1; a grey picture stays."""
    if len(_luma(images)) == 1:
        return images
    pixels = tf.reshape(images, (-1, images.shape[1] * images.shape[2], 3))
    coloured = tf.matmul(pixels, saturate(factors[:, None, None]))
    return tf.clip_by_value(tf.reshape(coloured, tf.shape(images)), 0.0, 1.0)


def sharpness(images: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """PIL's smooth filter at factor 0, the picture at 1; the outermost pixels stay, as in PIL.

    The filter weighs a pixel 5/13 and its eight neighbours 1/13 each. With the mean of all nine, x minus the filtered x
    is 9/13 · (x - mean), so one average and no convolution is needed.
    """
    if min(images.shape[1:3]) < 3:
        return images
    detail = images[:, 1:-1, 1:-1] - tf.nn.avg_pool2d(images, 3, 1, "VALID")
    detail = tf.pad(detail, [[0, 0], [1, 1], [1, 1], [0, 0]])
    return tf.clip_by_value(images + _each(factors - 1.0) * (9.0 / 13.0) * detail, 0.0, 1.0)


def _luma(images: tf.Tensor) -> tuple[float, ...]:
    channels = images.shape[-1]
    if channels not in (1, 3):
        raise ConfigError(
            f"images have {channels} channels; colours and contrast need 1 (grayscale) or 3 (red, green, blue)"
        )
    return LUMA if channels == 3 else (1.0,)


def _levels(images: tf.Tensor) -> tf.Tensor:
    return tf.round(images * (LEVELS - 1))


def _each(numbers: tf.Tensor) -> tf.Tensor:
    return numbers[:, None, None, None]


def _fill(images: tf.Tensor, number: float) -> tf.Tensor:
    return tf.fill([tf.shape(images)[0]], float(number))


def _some(images: tf.Tensor, change: Change, probability: float, seed: tf.Tensor) -> tf.Tensor:
    """The pictures that are chosen changed, and no work done on the others."""
    if probability == 1:
        return change(images)
    chosen = tf.reshape(tf.where(happens(tf.shape(images)[0], probability, seed)), [-1])
    changed = change(tf.gather(images, chosen))
    return tf.ensure_shape(tf.tensor_scatter_nd_update(images, chosen[:, None], changed), images.shape)
