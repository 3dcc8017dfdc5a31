"""A run with mixed labels, from config to result."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasnn.augment.mix import MixUp
from kerasnn.augment.policy import Policy
from kerasnn.config.compose import compose
from kerasnn.data.bundle import make_bundle
from kerasnn.data.stream import batch_at, train_stream
from kerasnn.data.synthetic import synthetic
from kerasnn.errors import ConfigError
from kerasnn.tracking.tracker import MemoryTracker
from kerasnn.training.losses import CrossEntropy
from kerasnn.training.run import run

SMALL = ["data=synthetic", "data.examples=200", "data.train_examples=96", "trainer.batch_size=32", "trainer.epochs=2"]
TINY = ["model=mlp", "model.hidden_widths=[8]", *SMALL]


def result_of(folder, *overrides):
    folder.mkdir(exist_ok=True)
    return run(compose(overrides), MemoryTracker(), folder)


def test_run_with_mixed_labels_trains_and_judges_by_whole_ones(tmp_path):
    # Two epochs, mixed until 0.5 of them: the first is, the second is not.
    mixed = result_of(tmp_path / "a", *TINY, "augment=[mixup,cutmix]", "augment.mixup.until=0.5")
    again = result_of(tmp_path / "b", *TINY, "augment=[mixup,cutmix]", "augment.mixup.until=0.5")
    plain = result_of(tmp_path / "c", *TINY)
    assert np.isfinite(mixed.history["train/loss"]).all()
    assert mixed.history["train/loss"] == again.history["train/loss"]
    assert mixed.history["train/loss"] != plain.history["train/loss"]
    assert 0 <= mixed.metrics["test/accuracy"] <= 1
    assert (tmp_path / "a" / "figures" / "augmented_inputs.png").exists()


def test_run_with_mixed_labels_on_two_devices_agrees_with_one(tmp_path):
    losses = [
        result_of(tmp_path / str(count), *TINY, "augment=mixup", "strategy=mirrored", f"strategy.devices={count}")
        for count in (1, 2)
    ]
    np.testing.assert_allclose(losses[0].history["train/loss"], losses[1].history["train/loss"], atol=1e-5)


def test_perceptron_loss_refuses_mixed_labels(tmp_path):
    overrides = ["model=perceptron", "trainer.loss=perceptron", *SMALL, "augment=mixup"]
    with pytest.raises(ConfigError, match=r"trainer\.loss=perceptron needs whole labels, but augment=mixup mixes them"):
        result_of(tmp_path, *overrides)


def test_stream_of_mixed_batches_is_a_function_of_seed_epoch_and_step():
    # 48 examples in batches of 16: three steps an epoch; of four epochs the last is not mixed.
    bundle = make_bundle(synthetic(examples=80), validation_fraction=0.25)
    policy = Policy({"mixup": MixUp(1.0, until=0.75)}, bundle.num_classes, epochs=4)
    common = {"seed": 5, "batch_size": 16, "augment": policy}
    stream = train_stream(bundle, epochs=4, **common)
    assert stream.element_spec[1] == tf.TensorSpec((16, bundle.num_classes), tf.float32)
    batches = list(stream)
    steps = len(batches) // 4
    for epoch, step in ((0, 0), (2, 1), (3, 1)):
        images, shares = batch_at(bundle, epoch=epoch, step=step, **common)
        np.testing.assert_array_equal(batches[epoch * steps + step][0], images)
        np.testing.assert_array_equal(batches[epoch * steps + step][1], shares)
    for number, (_, shares) in enumerate(batches):
        np.testing.assert_allclose(tf.reduce_sum(shares, axis=1), 1, atol=1e-5)
        whole = set(np.unique(shares)) <= {0.0, 1.0}
        assert whole is (number // steps == 3)


def test_shares_of_one_class_cost_what_its_label_costs():
    # The last epochs have shares of 0 and 1, validation has labels: one loss must mean the same for both.
    logits = keras.random.normal((5, 4), seed=0)
    labels = np.array([0, 3, 1, 1, 2])
    for smoothing in (0.0, 0.1):
        loss = CrossEntropy(smoothing)
        np.testing.assert_allclose(loss(keras.ops.one_hot(labels, 4), logits), loss(labels, logits), rtol=1e-6)
