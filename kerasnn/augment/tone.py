"""Operations on tones and colours as in PIL, on a batch: functions of per-picture strengths, and the ops made of them.

The functions take images float32 `(batch, height, width, channels)` in [0, 1] and keep them there; factors, thresholds
and bits are float32 `(batch,)`. PIL's 256 levels are kept where the level matters: equalize and posterize.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import tensorflow as tf

from kerasnn.augment.chance import Occasional, happens
from kerasnn.augment.compiled import compiled
from kerasnn.augment.image import LUMA, saturate
from kerasnn.augment.rows import like, over_lines, over_pixels, to_lines, to_rows
from kerasnn.errors import ConfigError
from kerasnn.ranges import Probability, Range

Bits = Annotated[int, Range(low=1, high=8)]

LEVELS = 256

AS_IT_IS = 9  # In place of a number of bits: the picture does not change at all.

# Of 0 to 8 bits that stay: by what to multiply before fractions are cut off, and after. The first is a millionth more,
# since what should be whole may come out a little less. So large a power of two makes every pixel whole.
STEPS = (
    *((255 * (1 + 2**-20) * 2.0 ** (bits - 8), 2.0 ** (8 - bits) / 255) for bits in range(9)),
    (2.0**100, 2.0**-100),
)


@dataclass(frozen=True)
class AutoContrast(Occasional):
    """Stretch each channel of a picture until its darkest pixel is 0 and its brightest 1.

    Args:
        probability: of doing so, drawn for each example.

    Shapes: `(batch, height, width, channels)` in and out.

    Example:
        >>> AutoContrast()(images, seed=tf.constant([0, 1]))
    """

    probability: Probability = 0.5

    def change(self, images: tf.Tensor) -> tf.Tensor:
        """Stretch pictures; shape, dtype and range stay."""
        return auto_contrast(images)


@dataclass(frozen=True)
class Equalize(Occasional):
    """Make all 256 levels of each channel about equally frequent (histogram equalization, as PIL's ImageOps has it).

    Args:
        probability: of doing so, drawn for each example.

    Shapes: `(batch, height, width, channels)` in and out.

    Example:
        >>> Equalize()(images, seed=tf.constant([0, 1]))
    """

    probability: Probability = 0.5

    def change(self, images: tf.Tensor) -> tf.Tensor:
        """Equalize pictures; shape, dtype and range stay."""
        return equalize(images)


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
        chosen = happens(tf.shape(images)[0], self.probability, seed)
        return posterize(images, tf.where(chosen, self.bits, AS_IT_IS))


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
        chosen = happens(tf.shape(images)[0], self.probability, seed)
        return solarize(images, tf.where(chosen, self.threshold, math.inf))


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
        return _whole_sharpness(images, 1.0 + self.strength * draws)


def auto_contrast(images: tf.Tensor) -> tf.Tensor:
    """Each channel stretched to reach from 0 to 1; one of a single tone stays."""
    lowest = over_pixels(tf.reduce_min, images)
    span = over_pixels(tf.reduce_max, images) - lowest
    flat = tf.cast(span <= 0, images.dtype)
    # A channel of a single tone: (x - 0) / 1.
    low, length = (over_lines(each, images) for each in (lowest * (1.0 - flat), span + flat))
    return like(tf.clip_by_value((to_lines(images) - low) / length, 0.0, 1.0), images)


def equalize(images: tf.Tensor) -> tf.Tensor:
    """Each channel through the table that PIL's `ImageOps.equalize` makes of its histogram."""
    channels, pixels = images.shape[3], math.prod(images.shape[1:3])
    # Every picture's tables lie in one row, channel after channel, so a pixel's place is its level and its channel's
    # begin. Half a level more, and cutting off is rounding.
    begins = tf.constant([LEVELS * channel + 0.5 for channel in range(channels)] * pixels)
    places = tf.cast(to_rows(images) * (LEVELS - 1.0) + begins, tf.int32)
    none = tf.constant([], tf.int32)
    counts = tf.raw_ops.DenseBincount(input=places, size=LEVELS * channels, weights=none, binary_output=False)
    table = tf.reshape(_equal_tones(tf.reshape(counts, (-1, channels, LEVELS)), pixels), [-1])
    tables = tf.range(tf.shape(places)[0])[:, None] * (LEVELS * channels)
    return like(tf.gather(table, places + tables), images)


def _equal_tones(counts: tf.Tensor, pixels: int) -> tf.Tensor:
    """Of how often each level occurs among the pixels, what becomes of it, in [0, 1]; `(batch, channels, levels)`."""
    # The brightest level that occurs is left out of the step, as in PIL.
    brightest = tf.reduce_max(tf.where(counts > 0, tf.range(LEVELS), 0), axis=2)
    step = ((pixels - tf.gather(counts, brightest, batch_dims=2)) // (LEVELS - 1))[:, :, None]
    before = tf.cumsum(counts, axis=2, exclusive=True)
    safe = tf.maximum(step, 1)
    table = tf.minimum((safe // 2 + before) // safe, LEVELS - 1)
    return tf.cast(tf.where(step > 0, table, tf.range(LEVELS)), tf.float32) / (LEVELS - 1)


def posterize(images: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """The highest `bits` of each pixel's eight."""
    before, after = tf.split(tf.gather(tf.constant(STEPS), tf.cast(bits, tf.int32)), 2, axis=1)
    return like(tf.floor(to_rows(images) * before) * after, images)


def solarize(images: tf.Tensor, thresholds: tf.Tensor) -> tf.Tensor:
    """Pixels below the threshold as they are, the others inverted."""
    rows = to_rows(images)
    return like(tf.where(rows < thresholds[:, None], rows, 1.0 - rows), images)


def brightness(images: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Black at factor 0, the picture at 1."""
    return like(tf.clip_by_value(to_rows(images) * factors[:, None], 0.0, 1.0), images)


def contrast(images: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """The picture's mean grey at factor 0, the picture at 1."""
    mean = tf.linalg.matvec(over_pixels(tf.reduce_mean, images), tf.constant(_luma(images)))
    factors, offset = factors[:, None], (mean * (1.0 - factors))[:, None]
    return like(tf.clip_by_value(to_rows(images) * factors + offset, 0.0, 1.0), images)


def colour(images: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """The picture in grey at factor 0, the picture at 1; a grey picture stays."""
    if len(_luma(images)) == 1:
        return images
    pixels = tf.reshape(images, (-1, images.shape[1] * images.shape[2], 3))
    coloured = tf.matmul(pixels, saturate(factors[:, None, None]))
    return like(tf.clip_by_value(coloured, 0.0, 1.0), images)


def sharpness(images: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """PIL's smooth filter at factor 0, the picture at 1; the outermost pixels stay, as in PIL.

    The filter weighs a pixel 5/13 and its eight neighbours 1/13 each, so x minus the filtered x is 9/13 · x less 1/13
    of the sum of all nine. That is the sum of three sums of three: a few additions, and no convolution.
    """
    height, width, channels = images.shape[1:]
    if min(height, width) < 3:
        return images
    rows, lines, line = to_rows(images), to_lines(images), width * channels
    down = tf.add_n([rows[:, : -2 * line], rows[:, line:-line], rows[:, 2 * line :]])
    down = tf.reshape(down, (-1, height - 2, line))
    nine = tf.add_n([down[:, :, : -2 * channels], down[:, :, channels:-channels], down[:, :, 2 * channels :]])
    detail = (9.0 * lines[:, 1:-1, channels:-channels] - nine) * ((factors - 1.0) / 13.0)[:, None, None]
    detail = tf.pad(detail, [[0, 0], [1, 1], [channels, channels]])
    return like(tf.clip_by_value(lines + detail, 0.0, 1.0), images)


# For batches of one size; the drawn operations sharpen parts of all sizes, and each would be compiled anew.
_whole_sharpness = compiled(sharpness)


def _luma(images: tf.Tensor) -> tuple[float, ...]:
    channels = images.shape[-1]
    if channels not in (1, 3):
        raise ConfigError(
            f"images have {channels} channels; colours and contrast need 1 (grayscale) or 3 (red, green, blue)"
        )
    return LUMA if channels == 3 else (1.0,)
