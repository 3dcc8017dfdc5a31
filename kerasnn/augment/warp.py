"""Resampling: each picture read between its pixels, where a matrix of its own points.

TensorFlow's ImageProjectiveTransform, which the layers of other libraries call, works out where to read anew for every
channel. The loop that XLA makes of the arithmetic below takes a quarter of its time.
"""

from typing import Literal

import tensorflow as tf

from kerasnn.augment.compiled import compiled

Fill = Literal["reflect", "nearest", "wrap", "constant"]
"""What lies beyond the border: `reflect` mirrors the picture, `nearest` repeats the last pixel, `wrap` continues at the
other side, `constant` is black."""


@compiled
def warp(images: tf.Tensor, matrices: tf.Tensor, fill: Fill) -> tf.Tensor:
    """Sample each picture, bilinearly, where its matrix points.

    Args:
        images: float32 `(batch, height, width, channels)` in [0, 1].
        matrices: float32 `(batch, 3, 3)`, the last row 0, 0, 1; (x, y, 1) of the result times the matrix is (x, y, 1)
            of the source.
        fill: what lies beyond the border.

    Returns:
        Images of the same shape and range. A matrix that moves nothing leaves every bit.

    Example:
        >>> quarter = tf.constant([[[0.0, -1.0, 31.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
        >>> warp(images, tf.repeat(quarter, len(images), axis=0), "constant")
    """
    batch, (height, width, channels) = tf.shape(images)[0], images.shape[1:]
    across, down = tf.range(width, dtype=tf.float32), tf.range(height, dtype=tf.float32)[:, None]
    parts = matrices[:, :, :, None, None]
    x, y = (parts[:, row, 0] * across + parts[:, row, 1] * down + parts[:, row, 2] for row in (0, 1))
    pixels = tf.reshape(images, (-1, channels))
    pictures = tf.range(batch)[:, None, None] * (height * width)
    sampled = 0.0
    for line, lineshare in _neighbours(y, height, fill):
        for column, share in _neighbours(x, width, fill):
            weight = lineshare * share
            sampled += weight[..., None] * tf.gather(pixels, pictures + line * width + column)
    # The weights add up to 1 only within rounding; none is below 0.
    return tf.ensure_shape(tf.minimum(sampled, 1.0), images.shape)


def _neighbours(places: tf.Tensor, length: int, fill: Fill) -> tuple[tuple[tf.Tensor, tf.Tensor], ...]:
    """The two pixels of a line that places lie between, each with its weight; all `(batch, height, width)`."""
    last = length - 1.0
    if fill == "reflect":
        # There and back again, 2 · length pixels later all is as it was; the border's pixels stand twice.
        places -= 2.0 * length * tf.floor(places / (2.0 * length))
        places = tf.minimum(places, 2.0 * last + 1.0 - places)
    if fill in ("reflect", "nearest"):
        places = tf.clip_by_value(places, 0.0, last)
    first = tf.floor(places)
    near = places - first
    pairs = []
    for pixel, weight in ((first, 1.0 - near), (first + 1.0, near)):
        if fill == "wrap":
            pixel -= length * tf.floor(pixel / length)
        elif fill == "constant":
            weight = tf.where((pixel < 0.0) | (pixel > last), 0.0, weight)
        pairs.append((tf.cast(tf.clip_by_value(pixel, 0.0, last), tf.int32), weight))
    return tuple(pairs)
