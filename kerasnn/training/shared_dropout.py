"""Dropout that is the same whatever the number of replicas: each takes its rows of the whole batch's draw.

Keras gives the replicas one seed, so that all of them drop the same numbers of their own pieces (seen in Keras 3.15):
2 replicas of 32 examples have half of the noise that one device has on 64, and another result.

Here a replica draws as if it began in the middle of the batch. Philox (Salmon et al. 2011, Parallel Random Numbers: As
Easy as 1, 2, 3) makes this free: its numbers come in blocks, each a function of the seed and of the block's place.
"""

from collections.abc import Callable

import tensorflow as tf
from keras.src.backend.tensorflow import random
from tensorflow.python.ops import random_ops_util

BLOCK = {"float64": 2}
"""How many numbers of a dtype come of one block of 128 bits; of all others 4 do, one for each 32 bits."""


def shared(alone: Callable) -> Callable:
    """Keras' `dropout(inputs, rate, noise_shape, seed)` for replicas, by its own where there is one device alone.

    Args:
        alone: Keras' own.

    Example:
        >>> random.dropout = shared(random.dropout)
    """

    def dropout(inputs, rate, noise_shape=None, seed=None):
        context = tf.distribute.get_replica_context()
        apart = context and context.num_replicas_in_sync > 1 and not _is_tpu(context.strategy)
        # A noise of one row is the whole batch's, on any number of devices.
        if not apart or rate in (0.0, 1.0) or (noise_shape is not None and noise_shape[0] == 1):
            return alone(inputs, rate, noise_shape, seed)
        shape = tf.shape(inputs) if noise_shape is None else random._get_concrete_noise_shape(inputs, noise_shape)
        draws = rows_of_draw(
            tf.cast(shape, tf.int64), inputs.dtype, random._cast_seed(random.draw_seed(seed)),
            context.replica_id_in_sync_group,
        )  # fmt: skip
        kept = tf.where(draws >= rate, inputs * tf.cast(1 / (1 - rate), inputs.dtype), tf.zeros((), inputs.dtype))
        return tf.ensure_shape(kept, inputs.shape)

    return dropout


def rows_of_draw(shape: tf.Tensor, dtype: tf.DType, seed: tf.Tensor, replica: tf.Tensor | int) -> tf.Tensor:
    """What `tf.random.stateless_uniform` draws for several pieces of `shape` together, from row `replica * shape[0]`.

    Args:
        shape: int64, of this replica's piece; all replicas have as many rows.
        dtype: a float.
        seed: int32 `(2,)`.
        replica: whose rows.

    Returns:
        Uniform numbers in [0, 1), of `shape`.

    Example:
        >>> rows_of_draw(tf.constant([2, 5], tf.int64), tf.float32, [0, 1], 1)      # rows 2 and 3 of a draw of (4, 5)
    """
    block = BLOCK.get(dtype.name, 4)
    key, counter, algorithm = random_ops_util.get_key_counter_alg(seed, "auto_select")
    count = tf.reduce_prod(shape)
    before = tf.cast(replica, tf.int64) * count
    begun = tf.cast(tf.stack([before // block, 0]), tf.uint64)
    over = before % block  # Numbers of the first block that are another replica's.
    draws = tf.raw_ops.StatelessRandomUniformV2(
        shape=tf.reshape(over + count, [1]), key=key, counter=counter + begun, alg=algorithm, dtype=dtype
    )
    return tf.reshape(draws[over:], shape)


def _is_tpu(strategy: tf.distribute.Strategy) -> bool:
    """There the numbers are of another kind, and begin elsewhere."""
    return isinstance(strategy, tf.distribute.TPUStrategy)
