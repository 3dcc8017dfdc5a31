"""Flip, padded crop, colour, channel shuffle, noise, occlusion. Moves are in `affine.py`, tones in `tone.py`.

Every op is a callable `op(images, seed) -> images`: images float32 (batch, height, width, channels) in [0, 1], seed an
int32 tensor of shape (2,). Equal seeds give equal pixels, on any number of threads; each example has its own draw.
"""

import math
from dataclasses import dataclass
from typing import Literal

import tensorflow as tf

from kerasnn.augment.chance import Occasional, happens, normal
from kerasnn.augment.rows import like, over_lines, over_pixels, to_lines, to_rows
from kerasnn.errors import ConfigError
from kerasnn.ranges import NonNegativeFloat, Positive, Probability

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601: how bright red, green and blue look.

RGB_TO_YIQ = ((0.299, 0.587, 0.114), (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))


@dataclass(frozen=True)
class Flip(Occasional):
    """Mirror a picture left to right with a probability (Krizhevsky et al. 2012, section 4.1).

    Not for digits or letters: a mirrored 2 is no 2.

    Args:
        probability: of mirroring, drawn for each example.
        vertical: mirror top to bottom instead.

    Shapes: `(batch, height, width, channels)` in and out.

    Example:
        >>> Flip(probability=0.5)(images, seed=tf.constant([0, 1]))
    """

    probability: Probability = 0.5
    vertical: bool = False

    def change(self, images: tf.Tensor) -> tf.Tensor:
        """Mirror pictures; shape, dtype and range stay."""
        return tf.reverse(images, [1 if self.vertical else 2])


@dataclass(frozen=True)
class PaddedCrop:
    """Pad with black on every side and cut a window of the old size at a random place (He et al. 2016, section 4.2).

    Args:
        padding: pixels on each side, which is also the largest shift; 4 for 32×32 pictures.

    Shapes: `(batch, height, width, channels)` in and out.

    Example:
        >>> PaddedCrop(padding=4)(images, seed=tf.constant([0, 1]))
    """

    padding: Positive = 4

    def __call__(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Cut one window per picture; shape, dtype and range stay."""
        shape = tf.shape(images)
        corners = tf.random.stateless_uniform([shape[0], 2], seed, -self.padding, self.padding + 1, tf.int32)
        # Beyond the picture a window is black: the padding, without making it.
        return tf.ensure_shape(windows(images, tuple(images.shape[1:3]), corners), images.shape)


@dataclass(frozen=True)
class Colour:
    """Vary brightness, contrast, saturation and hue, in this order (Howard 2013; hue as a turn in YIQ).

    The first three multiply by a factor drawn from [1 - strength, 1 + strength]: brightness the pixels, contrast their
    distance from the picture's mean grey, saturation their distance from their own grey. All four are linear in
    the pixel, so each picture is multiplied by one 3×3 matrix. Grayscale pictures have brightness and contrast only.

    Args:
        brightness: 0 leaves it.
        contrast: 0 leaves it.
        saturation: 0 leaves it.
        hue: the largest turn of the colours in either direction, as a share of the full circle; 0 leaves it.

    Shapes: `(batch, height, width, 1 or 3)` in and out.

    Raises:
        ConfigError: the images have neither 1 nor 3 channels.

    Example:
        >>> Colour(brightness=0.2, hue=0)(images, seed=tf.constant([0, 1]))
    """

    brightness: Probability = 0.2
    contrast: Probability = 0.2
    saturation: Probability = 0.2
    hue: Probability = 0.05

    def __call__(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Recolour each picture by its own draw; shape and dtype stay, what leaves [0, 1] is cut off."""
        channels = images.shape[-1]
        if channels not in (1, 3):
            raise ConfigError(
                f"Colour: images have {channels} channels; it works on 1 (grayscale) or 3 (red, green, blue)"
            )
        strengths = tf.constant([[self.brightness], [self.contrast], [self.saturation], [self.hue]])
        draws = strengths * tf.random.stateless_uniform([4, tf.shape(images)[0]], seed, -1.0, 1.0)
        brightness, contrast, saturation = tf.unstack(1.0 + draws[:3])  # each (batch,)
        luma = tf.constant(LUMA if channels == 3 else (1.0,))
        grey = brightness * tf.linalg.matvec(over_pixels(tf.reduce_mean, images), luma)
        factors = brightness * contrast
        if channels == 3:
            matrices = tf.matmul(saturate(saturation[:, None, None]), _turn_hue(draws[3]))
            pixels = tf.reshape(images, (-1, math.prod(images.shape[1:3]), 3))
            rows = to_rows(tf.reshape(tf.matmul(pixels, factors[:, None, None] * matrices), (-1, *images.shape[1:])))
        else:
            rows = to_rows(images) * factors[:, None]
        # Saturation and hue leave grey as it is, so the offset of contrast may come last.
        return like(tf.clip_by_value(rows + ((1.0 - contrast) * grey)[:, None], 0.0, 1.0), images)


@dataclass(frozen=True)
class ChannelShuffle:
    """Let red, green and blue change places, each order as likely as any other (as keras-cv's ChannelShuffle).

    Args:
        probability: of shuffling, drawn for each example; one shuffle in six leaves three channels as they are.
        grey: what becomes of pictures of a single channel: `refuse`, or `leave` them as they are, for a preset that
            does more than this.

    Shapes: `(batch, height, width, channels)` in and out.

    Raises:
        ConfigError: the images have a single channel, which is to be refused.

    Example:
        >>> ChannelShuffle(probability=0.5)(images, seed=tf.constant([0, 1]))
    """

    probability: Probability = 0.5
    grey: Literal["refuse", "leave"] = "refuse"

    def __call__(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Shuffle each picture by its own draw; shape, dtype and range stay."""
        channels = images.shape[-1]
        if channels == 1 and self.grey == "leave":
            return images
        if channels == 1:
            shape = tuple(images.shape[1:])
            raise ConfigError(f"ChannelShuffle cannot take pictures of {shape}: one channel has nowhere to go")
        batch = tf.shape(images)[0]
        chance, order = tf.unstack(tf.random.split(seed, 2))
        shuffled = tf.argsort(tf.random.stateless_uniform([batch, channels], order), axis=1)
        sources = tf.where(happens(batch, self.probability, chance)[:, None], shuffled, tf.range(channels))
        # A product with zeros and a one moves numbers exactly, and faster than a gather of single ones.
        pixels = tf.reshape(images, (-1, math.prod(images.shape[1:3]), channels))
        return like(tf.matmul(pixels, tf.one_hot(sources, channels, axis=1)), images)


@dataclass(frozen=True)
class Noise:
    """Add Gaussian noise to every pixel and channel (Bishop 1995: akin to Tikhonov regularization).

    Args:
        deviation: standard deviation of the noise, where black is 0 and white is 1.

    Shapes: `(batch, height, width, channels)` in and out.

    Example:
        >>> Noise(deviation=0.05)(images, seed=tf.constant([0, 1]))
    """

    deviation: NonNegativeFloat = 0.05

    def __call__(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Add noise; shape and dtype stay, what leaves [0, 1] is cut off."""
        rows = to_rows(images)
        numbers = tf.size(rows)
        noise = tf.reshape(normal([numbers + numbers % 2], seed)[:numbers], tf.shape(rows))
        return like(tf.clip_by_value(rows + self.deviation * noise, 0.0, 1.0), images)


@dataclass(frozen=True)
class Occlusion:
    """Cover a random rectangle (DeVries and Taylor 2017, Cutout; Zhong et al. 2017, Random Erasing).

    Args:
        probability: of covering, drawn for each example.
        low: the smallest share of the area that is covered.
        high: the largest share of the area that is covered.
        stretch: the largest ratio of one side to the other; 1 covers squares.
        cover: `mean` is the picture's own mean colour (near 0 once standardised), `zero` is black, `noise` is uniform.

    Shapes: `(batch, height, width, channels)` in and out.

    Raises:
        ConfigError: low is larger than high, or stretch is below 1.

    Example:
        >>> Occlusion(probability=0.5, high=0.25)(images, seed=tf.constant([0, 1]))
    """

    probability: Probability = 0.5
    low: Probability = 0.02
    high: Probability = 0.25
    stretch: NonNegativeFloat = 2.0
    cover: Literal["mean", "zero", "noise"] = "mean"

    def __post_init__(self):
        if self.low > self.high:
            raise ConfigError(f"Occlusion: low={self.low} is larger than high={self.high}; give low <= high")
        if self.stretch < 1:
            raise ConfigError(f"Occlusion: stretch={self.stretch} is below 1; 1 covers squares, 2 up to twice as long")

    def __call__(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Cover a rectangle in some of the pictures; shape, dtype and range stay."""
        place, pixels = tf.unstack(tf.random.split(seed, 2))
        rows, columns = self._lines(tf.shape(images), place)
        lines = to_lines(images)
        covered = rows[:, :, None] & tf.repeat(columns, images.shape[-1], axis=1)[:, None, :]
        if self.cover == "noise":
            cover = tf.random.stateless_uniform(tf.shape(lines), pixels)
        elif self.cover == "mean":
            cover = over_lines(over_pixels(tf.reduce_mean, images), images)
        else:
            cover = 0.0
        return like(tf.where(covered, cover, lines), images)

    def _lines(self, shape: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Draw each rectangle: which rows `(batch, height)` and columns `(batch, width)` it covers."""
        chance, share, form, down, right = tf.unstack(tf.random.stateless_uniform([5, shape[0]], seed))
        area = self.low + (self.high - self.low) * share
        ratio = tf.exp(math.log(self.stretch) * (2.0 * form - 1.0))
        sides = tf.sqrt(tf.stack([area * ratio, area / ratio]))  # shares of height and width
        limits = tf.cast(shape[1:3, None], tf.float32)
        lengths = tf.round(tf.minimum(sides, 1.0) * limits)
        lengths *= tf.cast(chance < self.probability, tf.float32)
        starts = tf.floor(tf.stack([down, right]) * (limits - lengths + 1.0))
        ends = starts + lengths
        height, width = tf.range(shape[1]), tf.range(shape[2])
        starts, ends = tf.cast(starts, tf.int32)[:, :, None], tf.cast(ends, tf.int32)[:, :, None]
        rows = (starts[0] <= height) & (height < ends[0])
        columns = (starts[1] <= width) & (width < ends[1])
        return rows, columns


def windows(images: tf.Tensor, size: tuple[int, int], corners: tf.Tensor) -> tf.Tensor:
    """A window of each picture, black where it lies beyond.

    Args:
        images: `(batch, height, width, channels)`.
        size: height and width of the windows.
        corners: int32 `(batch, 2)`, row and column of each window's upper left pixel.

    Returns:
        Pixels `(batch, *size, channels)`.
    """
    return tf.raw_ops.ExtractGlimpse(
        input=images,
        size=size,
        offsets=tf.cast(corners, tf.float32) + tf.constant(size, tf.float32) / 2,  # The op wants the window's middle.
        centered=False,
        normalized=False,
        uniform_noise=False,
        noise="zero",
    )


def saturate(factors: tf.Tensor) -> tf.Tensor:
    """Matrices for row pixels that move each pixel from its own grey: `(batch, 1, 1)` to `(batch, 3, 3)`."""
    to_grey = tf.constant([[share] * 3 for share in LUMA])
    return factors * tf.eye(3) + (1.0 - factors) * to_grey


def _turn_hue(turns: tf.Tensor) -> tf.Tensor:
    """Matrices for row pixels that turn the colours about grey at equal luma: `(batch,)` to `(batch, 3, 3)`."""
    angle = 2.0 * math.pi * turns
    cosine, sine = tf.cos(angle), tf.sin(angle)
    zero, one = tf.zeros_like(angle), tf.ones_like(angle)
    rows = ([one, zero, zero], [zero, cosine, sine], [zero, -sine, cosine])
    turn = tf.stack([tf.stack(row, -1) for row in rows], -2)
    there = tf.transpose(tf.constant(RGB_TO_YIQ))
    return there @ turn @ tf.linalg.inv(there)
