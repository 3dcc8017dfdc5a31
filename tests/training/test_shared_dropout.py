"""Dropout of replicas: the same noise, bit for bit, as one device draws for the whole batch."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasnn.config.schema import Strategy
from kerasnn.layers.drop_block import DropBlock2D
from kerasnn.training.distribute import open_devices
from kerasnn.training.shared_dropout import rows_of_draw

# Of 12 examples: 3 × 4 × 5 numbers each, so that pieces of 6 and 3 begin at multiples of 4 numbers and of 60.
MAPS = np.random.default_rng(0).normal(size=(12, 3, 4, 5)).astype("float32")

LAYERS = {
    "dropout": lambda: keras.layers.Dropout(0.4, seed=3),
    "stochastic depth": lambda: keras.layers.Dropout(0.4, noise_shape=(None, 1, 1, 1), seed=3),
    "whole maps": lambda: keras.layers.SpatialDropout2D(0.4, seed=3),
    "one mask for all": lambda: keras.layers.Dropout(0.4, noise_shape=(1, None, None, None), seed=3),
    "blocks": lambda: DropBlock2D(0.3, block_size=2, seed=3),
}


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float32, tf.float64])
@pytest.mark.parametrize("piece", [(1, 3), (4, 5), (3, 7), (2, 3, 3, 1), (64, 129)])
def test_pieces_make_up_the_draw_of_the_whole(piece, dtype):
    # Pieces of 3 and 21 numbers begin in the middle of a block of 4 (of float64, of 2).
    whole = tf.random.stateless_uniform((4 * piece[0], *piece[1:]), [7, 9], dtype=dtype)
    parts = [rows_of_draw(tf.constant(piece, tf.int64), dtype, tf.constant([7, 9]), replica) for replica in range(4)]
    assert np.array_equal(tf.concat(parts, axis=0), whole)


def dropped(make, replicas):
    """Two batches, one after the other, through a layer of each replica: `(2, 12, 3, 4, 5)`."""
    devices = open_devices(Strategy("mirrored", devices=replicas))
    with devices.scope():
        layer = make()
        layer.build((None, *MAPS.shape[1:]))
    pieces = tf.data.Dataset.from_tensor_slices(MAPS).batch(12).repeat(2)
    step = tf.function(lambda batch: devices.strategy.run(lambda piece: layer(piece, training=True), (batch,)))
    outputs = [
        np.concatenate([np.asarray(value) for value in devices.strategy.experimental_local_results(step(batch))])
        for batch in devices.strategy.experimental_distribute_dataset(pieces)
    ]
    return np.stack(outputs)


@pytest.mark.parametrize("kind", LAYERS)
def test_replicas_drop_what_one_device_drops(kind):
    one = dropped(LAYERS[kind], 1)
    assert not np.array_equal(one[0], one[1])  # The second batch draws anew.
    for replicas in (2, 4):
        assert np.array_equal(dropped(LAYERS[kind], replicas), one)


def test_examples_of_different_replicas_have_different_noise():
    masks = dropped(LAYERS["dropout"], 4)[0] == 0
    assert len({mask.tobytes() for mask in masks}) == 12


def test_one_device_draws_as_keras_does():
    layer = LAYERS["dropout"]()
    kept = np.asarray(layer(MAPS, training=True))
    # Keras' own is TensorFlow's stateless dropout with the seed (3, 0).
    assert np.array_equal(kept, tf.nn.experimental.stateless_dropout(MAPS, 0.4, [3, 0]))
