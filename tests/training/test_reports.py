"""The table of epochs, and TensorBoard's files where the package is there."""

import csv
from importlib.util import find_spec

import pytest

from kerasnn.config.compose import compose
from kerasnn.errors import ConfigError
from kerasnn.tracking.tracker import MemoryTracker
from kerasnn.training.run import run

SMALL = ["model=mlp", "model.hidden_widths=[8]", "data=synthetic", "data.examples=200", "data.train_examples=96"]
SMALL += ["trainer.batch_size=32", "trainer.epochs=3"]


def run_in(folder, *overrides):
    tracker = MemoryTracker()
    return run(compose([*SMALL, *overrides]), tracker, folder), tracker


def test_table_has_a_row_per_epoch_with_all_that_was_recorded(tmp_path):
    # Named before the average: its numbers are there all the same.
    result, tracker = run_in(tmp_path, "callbacks=[csv,ema]")
    with open(tmp_path / "history.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    for name in ("train/loss", "train/accuracy", "train/learning_rate", "val/loss", "val/accuracy", "val/ema_accuracy"):
        assert [float(row[name]) for row in rows] == result.history[name]
    assert (tmp_path / "history.csv", "") in tracker.artifacts


def test_tensorboard_that_is_not_installed_is_one_line_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr("kerasnn.config.recipe.find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"reports.tensorboard needs the package tensorboard, .*: pip install tensorb"
    ):
        run_in(tmp_path, "callbacks=tensorboard")
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="needs the package tensorboard")
def test_tensorboard_writes_into_the_folder_of_the_run(tmp_path):
    run_in(tmp_path, "callbacks=tensorboard", "callbacks.tensorboard.histograms=true")
    kinds = {path.parent.name for path in (tmp_path / "tensorboard").rglob("events.out.tfevents.*")}
    assert {"train", "validation"} <= kinds
