"""Translation, rotation, zoom and shear: one matrix per picture, one resampling for all of them.

Each op draws a 3×3 matrix per example that leads from a pixel of the result to a point of the source. `Policy`
multiplies the matrices of neighbouring ops and samples once, so a shifted, turned and zoomed picture is blurred once.
"""

import math
from dataclasses import dataclass

import tensorflow as tf

from kerasnn.augment.warp import Fill, warp
from kerasnn.errors import ConfigError
from kerasnn.ranges import NonNegativeFloat, PositiveFloat, Probability


class Affine:
    """An op that moves pixels by a matrix: what `Policy` may merge with its neighbours.

    A subclass has a field `fill`, what lies beyond the border.
    """

    fill: Fill

    def matrix(self, shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Draw `(batch, 3, 3)` matrices for images of `shape` (batch, height, width, channels)."""
        raise NotImplementedError

    def __call__(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Move each picture by its own draw; shape, dtype and range [0, 1] stay."""
        return warp(images, self.matrix(tf.shape(images), seed), self.fill)


@dataclass(frozen=True)
class Translation(Affine):
    """Shift each picture by a uniform draw, in fractions of a pixel (LeCun et al. 1998, section III-C).

    Args:
        height: the largest shift up or down, as a share of the height.
        width: the largest shift left or right, as a share of the width.
        fill: what lies beyond the border.

    Shapes: `(batch, height, width, channels)` in and out.

    Example:
        >>> Translation(height=0.1, width=0.1)(images, seed=tf.constant([0, 1]))
    """

    height: Probability = 0.125
    width: Probability = 0.125
    fill: Fill = "reflect"

    def matrix(self, shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Matrices that shift."""
        limits = tf.constant([[self.width], [self.height]]) * tf.cast([[shape[2]], [shape[1]]], tf.float32)
        right, down = tf.unstack(limits * tf.random.stateless_uniform([2, shape[0]], seed, -1.0, 1.0))
        return shear_and_shift(tf.zeros_like(right), tf.zeros_like(right), right, down)


@dataclass(frozen=True)
class Rotation(Affine):
    """Turn each picture about its centre by a uniform draw (Simard et al. 2003).

    Args:
        degrees: the largest turn in either direction.
        fill: what lies beyond the border.

    Shapes: `(batch, height, width, channels)` in and out.

    Example:
        >>> Rotation(degrees=15)(images, seed=tf.constant([0, 1]))
    """

    degrees: NonNegativeFloat = 15.0
    fill: Fill = "reflect"

    def matrix(self, shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Matrices that turn."""
        return turn(math.radians(self.degrees) * tf.random.stateless_uniform([shape[0]], seed, -1.0, 1.0), shape)


@dataclass(frozen=True)
class Zoom(Affine):
    """Enlarge or shrink each picture about its centre (Simonyan and Zisserman 2015 call it scale jittering).

    The factor is drawn uniformly in its logarithm: low=0.5, high=2 halves as often as it doubles.

    Args:
        low: the smallest factor; below 1 shrinks.
        high: the largest factor; above 1 enlarges.
        fill: what lies beyond the border.

    Shapes: `(batch, height, width, channels)` in and out.

    Raises:
        ConfigError: low is larger than high.

    Example:
        >>> Zoom(low=0.9, high=1.1)(images, seed=tf.constant([0, 1]))
    """

    low: PositiveFloat = 0.8
    high: PositiveFloat = 1.25
    fill: Fill = "reflect"

    def __post_init__(self):
        if self.low > self.high:
            raise ConfigError(f"Zoom: low={self.low} is larger than high={self.high}; give low <= high")

    def matrix(self, shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Matrices that zoom."""
        logarithm = tf.random.stateless_uniform([shape[0]], seed, math.log(self.low), math.log(self.high))
        inverse, zero = tf.exp(-logarithm), tf.zeros_like(logarithm)
        return _about_centre(_rows([inverse, zero, zero], [zero, inverse, zero]), shape)


@dataclass(frozen=True)
class Shear(Affine):
    """Slant each picture about its centre by a uniform draw (Simard et al. 2003).

    Args:
        x: the largest slant of columns in either direction, as pixels to the side per pixel down.
        y: the largest slant of rows in either direction, as pixels down per pixel to the side.
        fill: what lies beyond the border.

    Shapes: `(batch, height, width, channels)` in and out.

    Example:
        >>> Shear(x=0.2, y=0.0)(images, seed=tf.constant([0, 1]))
    """

    x: Probability = 0.2
    y: Probability = 0.2
    fill: Fill = "reflect"

    def matrix(self, shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Matrices that slant."""
        limits = tf.constant([[self.x], [self.y]])
        across, down = tf.unstack(limits * tf.random.stateless_uniform([2, shape[0]], seed, -1.0, 1.0))
        still = tf.zeros_like(across)
        return _about_centre(shear_and_shift(across, down, still, still), shape)


def turn(angle: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Matrices `(batch, 3, 3)` that turn about the centre of pictures of `shape`, by radians `(batch,)`."""
    cosine, sine, zero = tf.cos(angle), tf.sin(angle), tf.zeros_like(angle)
    return _about_centre(_rows([cosine, -sine, zero], [sine, cosine, zero]), shape)


def shear_and_shift(across: tf.Tensor, down: tf.Tensor, right: tf.Tensor, below: tf.Tensor) -> tf.Tensor:
    """Matrices `(batch, 3, 3)` that slant about the upper left corner and shift by pixels; all arguments `(batch,)`.

    The point (x, y) of the result is taken from (x + across · y - right, y + down · x - below) of the source.
    """
    one = tf.ones_like(across)
    return _rows([one, across, -right], [down, one, -below])


def _rows(first: list[tf.Tensor], second: list[tf.Tensor]) -> tf.Tensor:
    zero, one = tf.zeros_like(first[0]), tf.ones_like(first[0])
    return tf.reshape(tf.stack([*first, *second, zero, zero, one], axis=-1), (-1, 3, 3))


def _about_centre(matrices: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    centre = tf.cast([shape[2] - 1, shape[1] - 1], tf.float32) / 2
    # M (p - c) + c = M p + (c - M c)
    moved = centre - tf.linalg.matvec(matrices[:, :2, :2], centre)
    shift = tf.pad(moved[:, :, None], [[0, 0], [0, 1], [2, 0]])
    return matrices + shift
