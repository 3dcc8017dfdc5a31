"""Pictures mixed with others of their batch, and their labels with them: MixUp, CutMix, FMix, Mosaic.

A mixing op takes labels as shares, float32 `(batch, classes)`, each row with a sum of 1, and keeps them so: a picture
that is 30 % of another has 30 % of its label. Which other is drawn by one shift of the whole batch, whose order is
random already, so that no picture is mixed with itself; Mosaic, which takes three, draws each by itself.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from kerasnn.augment.chance import beta, happens, normal
from kerasnn.augment.compiled import compiled
from kerasnn.augment.image import windows
from kerasnn.augment.rows import like, to_lines, to_rows
from kerasnn.errors import ConfigError
from kerasnn.ranges import PositiveFloat, Probability

Batch = tuple[tf.Tensor, tf.Tensor]


class Mix:
    """An op on pictures and labels: `op(images, shares, seed) -> images, shares`.

    A subclass has a field `until`: the share of all epochs, rounded up to whole ones, in which `Policy` lets it mix. A
    network that is to answer about whole pictures then ends its training with whole ones.
    """

    until: Probability

    def __call__(self, images: tf.Tensor, shares: tf.Tensor, seed: tf.Tensor) -> Batch:
        """Mix a batch; shapes, dtypes, range and sums stay."""
        raise NotImplementedError


@dataclass(frozen=True)
class MixUp(Mix):
    """Average each picture and its label with another's (Zhang et al. 2018).

    The weight is drawn for each picture from Beta(alpha, alpha).

    Args:
        alpha: 0.2 for ImageNet, 1 for CIFAR in the paper; below 1 most pictures are nearly whole.
        probability: of being mixed, drawn for each example.
        until: the share of the epochs after which mixing stops; 1 never stops.

    Shapes: images `(batch, height, width, channels)` and shares `(batch, classes)`, in and out.

    Example:
        >>> images, shares = MixUp(alpha=0.2)(images, shares, seed=tf.constant([0, 1]))
    """

    alpha: PositiveFloat = 0.2
    probability: Probability = 1.0
    until: Probability = 0.9

    def __call__(self, images: tf.Tensor, shares: tf.Tensor, seed: tf.Tensor) -> Batch:
        """Mix a batch; shapes, dtypes, range and sums stay."""
        return _average(images, shares, _even(tf.shape(images)[0], seed), self.alpha, self.probability)


@dataclass(frozen=True)
class CutMix(Mix):
    """Put a rectangle of another picture into each, and as much of its label (Yun et al. 2019).

    Its area is 1 - Beta(alpha, alpha) of the picture's, with the picture's proportions, about a centre anywhere; what
    lies beyond the border is cut off. The label counts the pixels that are left of each.

    Args:
        alpha: 1, as in the paper, draws every area alike.
        probability: of being mixed, drawn for each example; 0.5 for CIFAR, 1 for ImageNet in the paper.
        until: the share of the epochs after which mixing stops; 1 never stops.

    Shapes: images `(batch, height, width, channels)` and shares `(batch, classes)`, in and out.

    Example:
        >>> images, shares = CutMix(alpha=1.0)(images, shares, seed=tf.constant([0, 1]))
    """

    alpha: PositiveFloat = 1.0
    probability: Probability = 1.0
    until: Probability = 0.9

    def __call__(self, images: tf.Tensor, shares: tf.Tensor, seed: tf.Tensor) -> Batch:
        """Mix a batch; shapes, dtypes, range and sums stay."""
        shape = tf.shape(images)
        draws, place = tf.unstack(tf.random.split(seed, 2))
        own, partners = _pairs(_even(shape[0], draws), self.alpha, self.probability)
        side = tf.sqrt(1.0 - own)
        down, right = tf.unstack(tf.random.stateless_uniform([2, shape[0]], place))
        rows, columns = _stretch(down, side, shape[1]), _stretch(right, side, shape[2])
        channels = images.shape[-1]
        foreign = rows[:, :, None] & tf.repeat(columns, channels, axis=1)[:, None, :]
        lines = to_lines(images)
        mixed = tf.where(foreign, tf.gather(lines, partners), lines)
        left = 1.0 - _share(rows) * _share(columns)
        return like(mixed, images), _mix_labels(shares, partners, left)


@dataclass(frozen=True)
class FourierMix(Mix):
    """Put regions of another picture into each, of any form, and as much of its label (Harris et al. 2020, FMix).

    The region is where a random surface is low. The surface is noise whose spectrum falls with the power `decay` of the
    frequency; its height is cut so that Beta(alpha, alpha) of the pixels are the picture's own. keras-cv's layer of
    this name takes two rows of the spectrum for its real and imaginary part; here, as in the paper, it is complex.

    Args:
        alpha: 1, as in the paper, draws every area alike.
        decay: 3 in the paper; a larger power makes smoother regions.
        probability: of being mixed, drawn for each example.
        until: the share of the epochs after which mixing stops; 1 never stops.

    Shapes: images `(batch, height, width, channels)` and shares `(batch, classes)`, in and out.

    Example:
        >>> images, shares = FourierMix()(images, shares, seed=tf.constant([0, 1]))
    """

    alpha: PositiveFloat = 1.0
    decay: PositiveFloat = 3.0
    probability: Probability = 1.0
    until: Probability = 0.9

    def __call__(self, images: tf.Tensor, shares: tf.Tensor, seed: tf.Tensor) -> Batch:
        """Mix a batch; shapes, dtypes, range and sums stay."""
        shape = tf.shape(images)
        height, width, channels = images.shape[1:]
        draws, noise = tf.unstack(tf.random.split(seed, 2))
        own, partners = _pairs(_even(shape[0], draws), self.alpha, self.probability)
        surface = tf.reshape(self._surface(shape[0], height, width, noise), (shape[0], height * width))
        kept = tf.cast(tf.round(own * (height * width)), tf.int32)
        # The lowest of the pixels that stay; an own share of 0 keeps none.
        bars = tf.pad(tf.sort(surface, direction="DESCENDING"), [[0, 0], [1, 0]], constant_values=np.inf)
        mask = surface >= tf.gather(bars, kept, batch_dims=1)[:, None]
        rows = to_rows(images)
        mixed = tf.where(tf.repeat(mask, channels, axis=1), rows, tf.gather(rows, partners))
        return like(mixed, images), _mix_labels(shares, partners, _share(mask))

    def _surface(self, batch: tf.Tensor, height: int, width: int, seed: tf.Tensor) -> tf.Tensor:
        """Smooth noise: `(batch, height, width)`."""
        frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
        fall = np.maximum(frequency, 1.0 / max(height, width)) ** -self.decay
        real, imaginary = tf.unstack(normal([2, batch, *fall.shape], seed))
        scale = tf.constant(fall, tf.float32)
        return tf.signal.irfft2d(tf.complex(scale * real, scale * imaginary), [height, width])


@dataclass(frozen=True)
class Mosaic(Mix):
    """Show four pictures in one, and as much of each one's label (Bochkovskiy et al. 2020).

    Four pictures lie in a grid, and a window of one picture's size is cut about the point where they meet, between
    whole pixels. It was made for finding small things, so try it before you trust it for classes.

    Args:
        low: where they may meet in the window at least, down and across, as a share of height and width.
        high: … and at most.
        probability: of being mixed, drawn for each example.
        until: the share of the epochs after which mixing stops; 1 never stops.

    Shapes: images `(batch, height, width, channels)` and shares `(batch, classes)`, in and out.

    Raises:
        ConfigError: low is larger than high.

    Example:
        >>> images, shares = Mosaic()(images, shares, seed=tf.constant([0, 1]))
    """

    low: Probability = 0.25
    high: Probability = 0.75
    probability: Probability = 1.0
    until: Probability = 0.9

    def __post_init__(self):
        if self.low > self.high:
            raise ConfigError(f"Mosaic: low={self.low} is larger than high={self.high}; give low <= high")

    def __call__(self, images: tf.Tensor, shares: tf.Tensor, seed: tf.Tensor) -> Batch:
        """Mix a batch; shapes, dtypes, range and sums stay."""
        batch, (height, width) = tf.shape(images)[0], images.shape[1:3]
        who, where, chance = tf.unstack(tf.random.split(seed, 3))
        others = tf.random.stateless_uniform([batch, 3], who, 0, batch, tf.int32)
        # Upper left the picture itself, upper right, lower left, lower right.
        four = tf.concat([tf.range(batch)[:, None], others], axis=1)
        meets = tf.random.stateless_uniform([2, batch], where, self.low, self.high)
        meets = tf.where(happens(batch, self.probability, chance), meets, 1.0)  # In the far corner: itself alone.
        down, right = tf.unstack(tf.cast(tf.round(meets * [[height], [width]]), tf.int32))
        corners = tf.stack([tf.zeros_like(right), width - right], axis=1)
        mixed = windows(_side_by_side(images, four, down), (height, width), corners)
        upper, left = (tf.cast(pixels, tf.float32) / side for pixels, side in ((down, height), (right, width)))
        areas = tf.stack([upper * left, upper * (1 - left), (1 - upper) * left, (1 - upper) * (1 - left)], axis=1)
        labels = tf.reduce_sum(areas[:, :, None] * tf.gather(shares, four), axis=1)
        return tf.ensure_shape(mixed, images.shape), tf.ensure_shape(labels, shares.shape)


def _side_by_side(images: tf.Tensor, four: tf.Tensor, down: tf.Tensor) -> tf.Tensor:
    """The last `down` lines of the upper two of four pictures, then the first of the lower two, twice as wide."""
    height, width, channels = images.shape[1:]
    places = tf.range(height)
    lower = tf.cast(places >= down[:, None], tf.int32)
    line = (places - down[:, None]) % height
    pairs = tf.gather(tf.reshape(four, (-1, 2, 2)), lower, batch_dims=1)  # (batch, height, 2)
    lines = tf.gather(tf.reshape(images, (-1, width * channels)), pairs * height + line[:, :, None])
    return tf.reshape(lines, (-1, height, 2 * width, channels))


def _even(batch: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """All that `_pairs` needs of chance, in one draw."""
    return tf.random.stateless_uniform([6, batch], seed)


def _pairs(even: tf.Tensor, alpha: float, probability: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Each picture's own share, `(batch,)`, and the place of the other, from six draws for each in [0, 1)."""
    batch = tf.shape(even)[1]
    own = tf.where(even[4] < probability, beta(even[:4], alpha), 1.0)
    offset = 1 + tf.cast(even[5, 0] * tf.cast(batch - 1, tf.float32), tf.int32)
    return own, (tf.range(batch) + offset) % batch


@compiled
def _average(images: tf.Tensor, shares: tf.Tensor, even: tf.Tensor, alpha: float, probability: float) -> Batch:
    """Pictures and labels, each less of itself and more of its partner."""
    own, partners = _pairs(even, alpha, probability)
    rows = to_rows(images)
    mixed = _blend(rows, tf.gather(rows, partners), own[:, None])
    return like(mixed, images), _mix_labels(shares, partners, own)


def _mix_labels(shares: tf.Tensor, partners: tf.Tensor, own: tf.Tensor) -> tf.Tensor:
    return tf.ensure_shape(_blend(shares, tf.gather(shares, partners), own[:, None]), shares.shape)


def _blend(one: tf.Tensor, other: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    return other + share * (one - other)


def _stretch(centres: tf.Tensor, sides: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """Which of `length` places lie within a side about a centre, both shares of the length: `(batch, length)`."""
    whole = tf.cast(length, tf.float32)
    middle = tf.cast(tf.floor(centres * whole), tf.int32)
    half = tf.cast(tf.floor(sides * whole), tf.int32) // 2  # As in the authors' code, whose sides are even.
    places = tf.range(length)
    return ((middle - half)[:, None] <= places) & (places < (middle + half)[:, None])


def _share(mask: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.cast(mask, tf.float32), axis=1)
