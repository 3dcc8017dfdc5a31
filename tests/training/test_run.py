"""The one path from config to result, in this process, with the record kept in memory."""

import json
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import pytest

from kerasnn.config.compose import compose
from kerasnn.config.recipe import Recipe
from kerasnn.errors import DataError, ModelError, TrainingError
from kerasnn.tracking.tracker import MemoryTracker
from kerasnn.training.run import run

SMALL = ["data=synthetic", "data.examples=200", "data.train_examples=96", "trainer.batch_size=32", "trainer.epochs=2"]
TINY_VGG = ["model=vgg11_bn", "model.widths=[2,2,4,4,4]", "model.hidden_widths=[8]", "model.dropout=0", *SMALL]
TINY_MLP = ["model=mlp", "model.hidden_widths=[8]", *SMALL]


def result_of(folder, *overrides):
    """The result and the record of a run in `folder`."""
    folder.mkdir(exist_ok=True)
    tracker = MemoryTracker()
    return run(compose(overrides), tracker, folder), tracker


def test_replicas_agree_from_stream_to_test_loss(tmp_path):
    losses = {}
    for count in (1, 2):  # Four are in test_distribute, on a network that traces faster.
        devices = ["strategy=mirrored", f"strategy.devices={count}"]
        result, tracker = result_of(tmp_path / str(count), *TINY_VGG, *devices, "augment=flip_crop", "trainer.epochs=1")
        losses[count] = [*result.history["train/loss"], *result.history["val/loss"], result.metrics["test/loss"]]
        assert tracker.tagged["device"].startswith(str(count))
    np.testing.assert_allclose(losses[2], losses[1], atol=1e-5)


def test_run_repeats_itself_and_another_seed_does_not(tmp_path):
    runs = [result_of(tmp_path / f"{i}", *TINY_MLP, f"seed={seed}")[0] for i, seed in enumerate((3, 3, 4))]
    first, same, other = (result.history["train/loss"] for result in runs)
    assert first == same
    assert first != other


def test_best_weights_are_those_that_are_tested_and_kept(tmp_path):
    result, tracker = result_of(tmp_path, *TINY_MLP, "trainer.epochs=4")
    (kept,) = tracker.models
    model = keras.saving.load_model(kept["path"])
    np.testing.assert_allclose(model(kept["input_example"]), kept["output_example"], atol=1e-6)
    assert result.metrics["best/val_accuracy"] == max(result.history["val/accuracy"])
    assert result.history["val/accuracy"][int(result.metrics["best/epoch"]) - 1] == result.metrics["best/val_accuracy"]
    assert getattr(model, "optimizer", None) is None  # The network, not the state of its training.


def test_broken_training_is_failed_and_says_what_helps(tmp_path):
    tracker = MemoryTracker()
    with pytest.raises(TrainingError, match=r"the loss became .* lower optimizer.learning_rate"):
        run(compose([*TINY_MLP, "optimizer=sgd", "optimizer.learning_rate=1e30"]), tracker, tmp_path)
    assert tracker.status == "FAILED"
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "FAILED"
    assert "TrainingError" in (tmp_path / "traceback.txt").read_text()


@dataclass(frozen=True)
class Faulty(Recipe):
    """A plug-in's function that returns what it should not."""

    returned: Any = None

    def __call__(self, **supplied):
        return self.returned


@pytest.mark.parametrize(
    ("part", "returned", "error", "line"),
    [
        ("data", None, DataError, "rude.make returned None: a data source must return a kerasnn.data.bundle.Source"),
        ("data", {}, DataError, "rude.make returned an object of the class dict: a data source must return a kerasnn"),
        ("model", None, ModelError, "rude.make returned None: a model's builder must return a keras.Model"),
        ("model", keras.layers.Dense(2), ModelError, "rude.make returned an object of the class Dense: a model's"),
    ],
)
def test_plugin_that_returns_what_it_should_not_is_named_in_one_line(tmp_path, part, returned, error, line):
    config = replace(compose(TINY_MLP), **{part: Faulty("rude.make", returned=returned)})
    tracker = MemoryTracker()
    with pytest.raises(error) as raised:
        run(config, tracker, tmp_path)
    assert str(raised.value).startswith(line)
    assert tracker.status == "FAILED"


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_and_answers_in_float32(tmp_path, precision):
    result, tracker = result_of(tmp_path, "model=lenet5", *SMALL, f"trainer.precision={precision}", "trainer.epochs=1")
    assert np.isfinite(result.metrics["test/loss"])
    assert tracker.models[0]["output_example"].dtype == np.float32


def test_every_option_of_the_recipe_reaches_keras(tmp_path):
    options = [
        "optimizer=nesterov",
        "optimizer.weight_decay=0.001",
        "schedule=warmup_cosine",
        "callbacks=early_stopping",
    ]
    trainer = ["trainer.label_smoothing=0.1", "trainer.jit=true", "trainer.steps_per_epoch=2"]
    result, _ = result_of(tmp_path, *TINY_MLP, *options, *trainer)
    # Two epochs of two steps, half of them warm-up: the peak after the first epoch, nothing after the last.
    assert result.history["train/learning_rate"] == pytest.approx([0.01, 0.0], abs=1e-8)


def test_rosenblatts_rule_learns_stripes(tmp_path):
    recipe = ["trainer.loss=perceptron", "optimizer=sgd", "optimizer.learning_rate=0.01", "trainer.epochs=5"]
    result, _ = result_of(tmp_path, "model=perceptron", *SMALL, *recipe, "data.num_classes=2")
    assert result.history["train/loss"][-1] < result.history["train/loss"][0]
