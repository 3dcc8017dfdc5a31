import numpy as np
import pytest
import tensorflow as tf

from kerasnn.augment import policy as policy_module
from kerasnn.augment.affine import Rotation, Translation, Zoom
from kerasnn.augment.image import Colour, Flip, Noise
from kerasnn.augment.mix import CutMix, MixUp
from kerasnn.augment.policy import Policy
from kerasnn.errors import ConfigError

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


def test_policy_merges_neighbouring_moves_into_one_sampling(batch, monkeypatch):
    fills = []
    monkeypatch.setattr(policy_module, "warp", lambda images, matrices, fill: (fills.append(fill), images)[1])
    Policy({"shift": Translation(), "turn": Rotation(30.0), "zoom": Zoom()})(*batch, tf.constant(SEED))
    assert fills == ["reflect"]
    Policy({"shift": Translation(), "noise": Noise(0.0), "zoom": Zoom()})(*batch, tf.constant(SEED))
    assert fills == ["reflect"] * 3
    Policy({"shift": Translation(), "turn": Rotation(fill="wrap")})(*batch, tf.constant(SEED))
    assert fills[3:] == ["reflect", "wrap"]


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


def test_policy_is_a_function_of_its_seed_under_parallel_calls(batch):
    policy = Policy({"flip": Flip(), "turn": Rotation(), "colour": Colour(), "noise": Noise()})
    steps = tf.data.Dataset.range(12, output_type=tf.int32)

    def run(parallel):
        augmented = steps.map(lambda step: policy(*batch, tf.stack([0, step])), num_parallel_calls=parallel)
        return np.stack([images.numpy() for images, _ in augmented])

    first, second = run(1), run(8)
    np.testing.assert_array_equal(first, second)
    assert len({images.tobytes() for images in first}) == 12


def test_policy_that_mixes_returns_shares_in_every_epoch(batch):
    # until = 0.5 of three epochs: 1.5, so two are mixed and the third is not.
    policy = Policy({"flip": Flip(), "mixup": MixUp(1.0, until=0.5)}, num_classes=6, epochs=3)
    assert policy.mixes
    whole = np.eye(6, dtype=np.float32)
    for epoch, mixed in enumerate((True, True, False)):
        for run in (policy, tf.function(policy)):
            images, shares = run(*batch, tf.constant(SEED), tf.constant(epoch))
            np.testing.assert_allclose(tf.reduce_sum(shares, axis=1), 1, atol=1e-6)
            assert (not np.array_equal(shares, whole)) is mixed
            flipped, _ = Policy({"flip": Flip()})(*batch, tf.constant(SEED))
            assert (not np.allclose(images, flipped, atol=1e-3)) is mixed


def test_policy_counts_its_mixed_epochs_without_rounding(batch):
    # 0.55 · 20 is 11.000000000000002 in floats: the twelfth epoch is not mixed.
    policy = Policy({"mixup": MixUp(1.0, until=0.55)}, num_classes=6, epochs=20)
    for epoch, mixed in ((10, True), (11, False)):
        _, shares = policy(*batch, tf.constant(SEED), epoch)
        assert (not np.array_equal(shares, np.eye(6))) is mixed


def test_policy_mixes_what_is_mixed_already_by_its_shares():
    # A channel for each class, each picture all in its own: after any mixing the mean of channel c is the share of c.
    images = tf.one_hot(tf.tile(tf.range(4)[:, None, None], (1, 8, 8)), 4)
    policy = Policy({"mixup": MixUp(1.0), "cutmix": CutMix(1.0)}, num_classes=4)
    mixed, shares = policy(images, tf.range(4), tf.constant(SEED))
    np.testing.assert_allclose(tf.reduce_mean(mixed, axis=[1, 2]), shares, atol=1e-5)
    assert (shares.numpy() > 0.01).sum() > 8  # More than two classes in some picture.


def test_policy_that_mixes_needs_the_number_of_classes(batch):
    with pytest.raises(ConfigError, match="of how many classes"):
        Policy({"mixup": MixUp()})(*batch, tf.constant(SEED))


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (lambda images, seed: images * 300, r"augment\.odd made pixels from .* to .*; pictures are from 0 to 1"),
        (lambda images, seed: images - 0.5, r"augment\.odd made pixels from -0"),
        (lambda images, seed: images / 0, r"augment\.odd made pixels that are no finite numbers"),
        (lambda images, seed: tf.where(images > 0.5, float("nan"), images), "no finite numbers"),
        (lambda images, seed: images[:, :8], r"augment\.odd made float32 \(6, 8, 16, 3\) of float32 \(6, 16, 16, 3\)"),
        (lambda images, seed: tf.cast(images, tf.float16), "must keep the pictures' shape and dtype"),
    ],
)
def test_policy_names_the_op_whose_result_is_no_picture(batch, op, message):
    policy = Policy({"flip": Flip(), "odd": op, "noise": Noise()})
    with pytest.raises(ConfigError, match=message) as raised:
        policy(*batch, tf.constant(SEED))
    assert "\n" not in str(raised.value)


def test_policy_names_the_op_whose_shares_do_not_sum_to_one(batch):
    class Odd(MixUp):
        def __call__(self, images, shares, seed):
            return images, 2.0 * shares

    with pytest.raises(ConfigError, match=r"augment\.odd made labels whose shares do not sum to 1"):
        Policy({"odd": Odd()}, num_classes=6)(*batch, tf.constant(SEED))


def test_policy_in_a_graph_is_not_slowed_by_checks(batch):
    graph = tf.function(Policy({"odd": lambda images, seed: images * 300}))
    images, _ = graph(*batch, tf.constant(SEED))
    assert tf.reduce_max(images) > 1
