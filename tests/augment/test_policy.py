import numpy as np
import pytest
import tensorflow as tf

from kerasnn.augment.affine import Rotation, Translation, Zoom, warp
from kerasnn.augment.image import Colour, Flip, Noise
from kerasnn.augment.policy import Policy

SEED = (1, 2)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    images = tf.image.resize(rng.random((6, 5, 5, 3), np.float32), (16, 16))
    return tf.clip_by_value(images, 0, 1), tf.range(6)


def test_policy_without_ops_changes_nothing(batch):
    images, labels = Policy({})(*batch, tf.constant(SEED))
    assert images is batch[0]
    assert labels is batch[1]


def test_policy_applies_its_ops_in_order(batch):
    # Add, then double: (0.1 + 0.2) × 2; the other order would give 0.1 × 2 + 0.2.
    ops = {"add": lambda images, seed: images + 0.2, "double": lambda images, seed: images * 2}
    images, _ = Policy(ops)(tf.fill((1, 2, 2, 1), 0.1), tf.zeros(1, tf.int32), tf.constant(SEED))
    np.testing.assert_allclose(images, 0.6, rtol=1e-6)


def test_policy_gives_each_op_its_own_seed_by_name(batch):
    seen = {}

    def note(name):
        def op(images, seed):
            seen.setdefault(name, []).append(tuple(seed.numpy()))
            return images

        return op

    Policy({"a": note("a"), "b": note("b")})(*batch, tf.constant(SEED))
    Policy({"b": note("b")})(*batch, tf.constant(SEED))
    assert seen["a"] != seen["b"][:1]
    assert seen["b"][0] == seen["b"][1]


def test_policy_merges_neighbouring_moves_into_one_sampling(batch):
    ops = {"shift": Translation(), "turn": Rotation(30.0), "zoom": Zoom()}
    calls = tf.function(Policy(ops)).get_concrete_function(*batch, tf.constant(SEED)).graph.get_operations()
    assert sum(call.type == "ImageProjectiveTransformV3" for call in calls) == 1
    apart = {"shift": Translation(), "noise": Noise(0.0), "zoom": Zoom()}
    calls = tf.function(Policy(apart)).get_concrete_function(*batch, tf.constant(SEED)).graph.get_operations()
    assert sum(call.type == "ImageProjectiveTransformV3" for call in calls) == 2


def test_policy_merged_moves_land_where_single_ones_do():
    # A wide soft blob near the middle: sampling twice blurs it, but its centre of mass lands at the same point.
    y, x = np.mgrid[:41, :41]
    blob = np.exp(-((x - 25) ** 2 + (y - 18) ** 2) / 18).astype(np.float32)[None, :, :, None]
    images = tf.repeat(tf.constant(blob), 8, axis=0)
    ops = {"shift": Translation(0.1, 0.1, "constant"), "turn": Rotation(40.0, "constant")}
    merged, _ = Policy(ops)(images, tf.zeros(8), tf.constant(SEED))
    single = images
    for name, op in ops.items():
        single, _ = Policy({name: op})(single, tf.zeros(8), tf.constant(SEED))

    def centres(pictures):
        mass = pictures.numpy()[..., 0]
        total = mass.sum(axis=(1, 2))
        return np.stack([(mass * x).sum(axis=(1, 2)) / total, (mass * y).sum(axis=(1, 2)) / total])

    np.testing.assert_allclose(centres(merged), centres(single), atol=0.05)


def test_warp_by_the_unit_matrix_changes_nothing(batch):
    images, _ = batch
    np.testing.assert_array_equal(warp(images, tf.eye(3, batch_shape=[6]), "reflect"), images)


def test_policy_is_a_function_of_its_seed_under_parallel_calls(batch):
    policy = Policy({"flip": Flip(), "turn": Rotation(), "colour": Colour(), "noise": Noise()})
    steps = tf.data.Dataset.range(12, output_type=tf.int32)

    def run(parallel):
        augmented = steps.map(lambda step: policy(*batch, tf.stack([0, step])), num_parallel_calls=parallel)
        return np.stack([images.numpy() for images, _ in augmented])

    first, second = run(1), run(8)
    np.testing.assert_array_equal(first, second)
    assert len({images.tobytes() for images in first}) == 12
