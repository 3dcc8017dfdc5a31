"""Every preset in conf/augment composes, builds and runs; the names of their ops never collide."""

from pathlib import Path

import pytest
import tensorflow as tf

from kerasnn.augment.policy import Policy
from kerasnn.config.compose import compose

FOLDER = Path(__file__).resolve().parents[2] / "conf" / "augment"
PRESETS = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def policy_of(*presets: str) -> Policy:
    config = compose([f"augment=[{','.join(presets)}]"])
    return Policy({name: recipe() for name, recipe in config.augment.items()})


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("preset", PRESETS)
def test_preset_augments_gray_and_colour(preset, channels):
    images = tf.random.stateless_uniform((4, 16, 16, channels), (1, 2))
    augmented, labels = policy_of(preset)(images, tf.range(4), tf.constant([3, 4]))
    assert augmented.shape == images.shape
    assert tf.reduce_all((augmented >= 0) & (augmented <= 1))
    assert tf.reduce_all(labels == tf.range(4))
    assert bool(tf.reduce_any(augmented != images)) is (preset != "none")


def test_presets_have_distinct_names_for_their_ops():
    names = [name for preset in PRESETS for name in policy_of(preset).ops]
    assert len(names) == len(set(names))


def test_presets_compose_in_the_order_given():
    ops = policy_of("geometric", "colour", "noise").ops
    assert list(ops) == ["shift", "turn", "scale", "colour", "noise"]


def test_preset_for_digits_does_not_flip():
    # A mirrored 2 is no 2.
    assert not any("Flip" in type(op).__name__ for op in policy_of("geometric").ops.values())
