"""Draws that TensorFlow's stateless ops lack: beta and Dirichlet, exact for small parameters too."""

import tensorflow as tf


def beta(batch: tf.Tensor, alpha: float, seed: tf.Tensor) -> tf.Tensor:
    """Draws from Beta(alpha, alpha), `(batch,)` in [0, 1]: near 0 and 1 for a small alpha, near a half for a large one.

    Example:
        >>> beta(tf.constant(128), 0.2, seed=tf.constant([0, 1]))
    """
    first, second = tf.unstack(_log_gamma([2, batch], alpha, seed))
    return tf.sigmoid(first - second)


def dirichlet(parts: int, batch: tf.Tensor, alpha: float, seed: tf.Tensor) -> tf.Tensor:
    """Draws from Dirichlet(alpha, …, alpha): `(parts, batch)`, each column sums to 1."""
    return tf.nn.softmax(_log_gamma([parts, batch], alpha, seed), axis=0)


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
