"""Pictures mixed with others of their batch, and their labels with them: MixUp, CutMix, FMix.

A mixing op takes labels as shares, float32 `(batch, classes)`, each row with a sum of 1, and keeps them so: a picture
that is 30 % of another has 30 % of its label. Which other is drawn by one shift of the whole batch, whose order is
random already, so that no picture is mixed with itself.
"""

import math
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from kerasnn.augment.chance import beta, happens
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
        batch = tf.shape(images)[0]
        own, partners = _draw(batch, self.alpha, self.probability, seed)
        # One long row per picture: a last axis of 3 is broadcast several times more slowly.
        rows = tf.reshape(images, (batch, math.prod(images.shape[1:])))
        mixed = _blend(rows, tf.gather(rows, partners), own[:, None])
        images = tf.ensure_shape(tf.reshape(mixed, tf.shape(images)), images.shape)
        return images, _mix_labels(shares, partners, own)


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
        own, partners = _draw(shape[0], self.alpha, self.probability, draws)
        side = tf.sqrt(1.0 - own)
        down, right = tf.unstack(tf.random.stateless_uniform([2, shape[0]], place))
        rows, columns = _stretch(down, side, shape[1]), _stretch(right, side, shape[2])
        channels = images.shape[-1]
        foreign = rows[:, :, None] & tf.repeat(columns, channels, axis=1)[:, None, :]
        lines = tf.reshape(images, (shape[0], shape[1], images.shape[2] * channels))
        mixed = tf.where(foreign, tf.gather(lines, partners), lines)
        left = 1.0 - _share(rows) * _share(columns)
        return tf.ensure_shape(tf.reshape(mixed, shape), images.shape), _mix_labels(shares, partners, left)


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
        own, partners = _draw(shape[0], self.alpha, self.probability, draws)
        surface = tf.reshape(self._surface(shape[0], height, width, noise), (shape[0], height * width))
        kept = tf.cast(tf.round(own * (height * width)), tf.int32)
        # The lowest of the pixels that stay; an own share of 0 keeps none.
        bars = tf.pad(tf.sort(surface, direction="DESCENDING"), [[0, 0], [1, 0]], constant_values=np.inf)
        mask = surface >= tf.gather(bars, kept, batch_dims=1)[:, None]
        lines = tf.reshape(images, (shape[0], height * width * channels))
        mixed = tf.where(tf.repeat(mask, channels, axis=1), lines, tf.gather(lines, partners))
        return tf.ensure_shape(tf.reshape(mixed, shape), images.shape), _mix_labels(shares, partners, _share(mask))

    def _surface(self, batch: tf.Tensor, height: int, width: int, seed: tf.Tensor) -> tf.Tensor:
        """Smooth noise: `(batch, height, width)`."""
        frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
        fall = np.maximum(frequency, 1.0 / max(height, width)) ** -self.decay
        real, imaginary = tf.unstack(tf.random.stateless_normal([2, batch, *fall.shape], seed))
        scale = tf.constant(fall, tf.float32)
        return tf.signal.irfft2d(tf.complex(scale * real, scale * imaginary), [height, width])


def _draw(batch: tf.Tensor, alpha: float, probability: float, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Each picture's own share, `(batch,)`, and the place of the other."""
    share, chance, shift = tf.unstack(tf.random.split(seed, 3))
    own = tf.where(happens(batch, probability, chance), beta(batch, alpha, share), 1.0)
    offset = tf.random.stateless_uniform([], shift, 1, tf.maximum(batch, 2), tf.int32)
    return own, (tf.range(batch) + offset) % batch


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
