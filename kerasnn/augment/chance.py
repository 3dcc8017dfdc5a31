"""Draws that TensorFlow's stateless ops lack (beta, Dirichlet) or make slowly (normal), and a first use."""

import math

import tensorflow as tf

from kerasnn.augment.rows import like, to_rows
from kerasnn.ranges import Probability


class Occasional:
    """An op that changes some pictures and does no work on the others.

    A subclass has a field `probability`: of being changed, drawn for each example.
    """

    probability: Probability

    def change(self, images: tf.Tensor) -> tf.Tensor:
        """What becomes of the pictures that are chosen; shape, dtype and range stay."""
        raise NotImplementedError

    def __call__(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Change some of the pictures; shape, dtype and range stay."""
        if self.probability == 1:
            return self.change(images)
        chosen = tf.reshape(tf.where(happens(tf.shape(images)[0], self.probability, seed)), [-1])
        changed = to_rows(self.change(tf.gather(images, chosen)))
        return like(tf.tensor_scatter_nd_update(to_rows(images), chosen[:, None], changed), images)


def beta(even: tf.Tensor, alpha: float) -> tf.Tensor:
    """Draws from Beta(alpha, alpha), `(batch,)` in [0, 1]: near 0 and 1 for a small alpha, near a half for a large one.

    Args:
        even: four draws for each, uniform in [0, 1), `(4, batch)`.
        alpha: above 0.

    Example:
        >>> beta(tf.random.stateless_uniform([4, 128], seed=[0, 1]), 0.2)
    """
    # X = G / (G + H) of two draws from Gamma(alpha), so log(X / (1 - X)) = log G - log H. Each is a draw from
    # Gamma(alpha + 1) times U^(1 / alpha), as below, and the share of two such draws, from Beta(alpha + 1, alpha + 1),
    # is (1 + c) / 2 of Ulrich 1984: nothing to reject.
    radius, turn, first, second = tf.unstack(1.0 - even)  # of (0, 1], where log is finite
    c = tf.cos(2.0 * math.pi * turn) * tf.sqrt(1.0 - radius ** (2.0 / (2.0 * alpha + 1.0)))
    return tf.sigmoid(2.0 * tf.atanh(c) + (tf.math.log(first) - tf.math.log(second)) / alpha)


def dirichlet(parts: int, batch: tf.Tensor, alpha: float, seed: tf.Tensor) -> tf.Tensor:
    """Draws from Dirichlet(alpha, …, alpha): `(parts, batch)`, each column sums to 1."""
    return tf.nn.softmax(_log_gamma([parts, batch], alpha, seed), axis=0)


def normal(shape: list, seed: tf.Tensor) -> tf.Tensor:
    """Draws of mean 0 and deviation 1, the first axis of even length: by Box and Muller 1958, from pairs of draws.

    `tf.random.stateless_normal` has the same method and takes twice as long, since it goes number by number.
    """
    first, second = tf.unstack(tf.random.stateless_uniform([2, shape[0] // 2, *shape[1:]], seed))
    length, angle = tf.sqrt(-2.0 * tf.math.log(1.0 - first)), 2.0 * math.pi * second
    return tf.concat([length * tf.cos(angle), length * tf.sin(angle)], axis=0)


def happens(batch: tf.Tensor, probability: float, seed: tf.Tensor) -> tf.Tensor:
    """Whether an event of this probability happens, drawn for each example: bool `(batch,)`."""
    return tf.random.stateless_uniform([batch], seed) < probability


def _log_gamma(shape: list, alpha: float, seed: tf.Tensor) -> tf.Tensor:
    """Logarithms of draws from Gamma(alpha, 1).

    For an alpha of 0.05 one draw in a hundred is too small for a float, and 0 / (0 + 0) would follow. G(a) is
    distributed as G(a + 1) · U^(1/a), whose logarithm is always finite.
    """
    larger, uniform = tf.unstack(tf.random.split(seed, 2))
    power = tf.math.log(1.0 - tf.random.stateless_uniform(shape, uniform)) / alpha  # of (0, 1], where log is finite
    return tf.math.log(tf.random.stateless_gamma(shape, larger, alpha + 1.0)) + power
