"""Pictures as long rows of numbers: a last axis of 3 channels is broadcast and summed several times more slowly."""

import math
from collections.abc import Callable

import tensorflow as tf


def to_rows(images: tf.Tensor) -> tf.Tensor:
    """Pictures `(batch, height, width, channels)` as `(batch, height · width · channels)`.

    Example:
        >>> dimmed = like(to_rows(images) * factors[:, None], images)
    """
    return tf.reshape(images, (-1, math.prod(images.shape[1:])))


def to_lines(images: tf.Tensor) -> tf.Tensor:
    """Pictures `(batch, height, width, channels)` as `(batch, height, width · channels)`."""
    height, width, channels = images.shape[1:]
    return tf.reshape(images, (-1, height, width * channels))


def like(rows: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Rows or lines back in the shape of the images that they come from."""
    return tf.ensure_shape(tf.reshape(rows, (-1, *images.shape[1:])), images.shape)


def over_pixels(reduce: Callable, images: tf.Tensor) -> tf.Tensor:
    """A reduction of every channel, such as `tf.reduce_max`, one line after the other: `(batch, channels)`."""
    width, channels = images.shape[2:]
    return reduce(tf.reshape(reduce(to_lines(images), axis=1), (-1, width, channels)), axis=1)


def over_lines(channels: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """A number for each channel, `(batch, channels)`, along a line: `(batch, 1, width · channels)`."""
    return tf.tile(channels, (1, images.shape[2]))[:, None]
