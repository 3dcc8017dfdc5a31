"""The callbacks of every run, on a network of one layer."""

import logging

import keras
import numpy as np
import pytest

from kerasnn.errors import TrainingError
from kerasnn.tracking.tracker import MemoryTracker
from kerasnn.training.callbacks import EpochRecord, ProgressLog, StopOnNaN
from kerasnn.training.checkpoints import Checkpoints

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(64, 4)).astype("float32")
LABELS = (INPUTS[:, 0] > 0).astype("int32")


def fit(*callbacks, epochs=3, learning_rate=0.1, inputs=INPUTS, steps_per_call=1):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    metrics = [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
    model.compile(
        keras.optimizers.SGD(learning_rate), loss, metrics=metrics, jit_compile=False,
        steps_per_execution=steps_per_call,
    )  # fmt: skip
    model.fit(
        inputs, LABELS, batch_size=16, epochs=epochs, validation_data=(INPUTS, LABELS),
        callbacks=list(callbacks), verbose=0, shuffle=False,
    )  # fmt: skip
    return model


def test_epoch_record_names_every_metric_as_documented():
    tracker = MemoryTracker()
    record = EpochRecord(tracker, batch_size=16)
    fit(record)
    assert set(record.history) == {
        "train/loss", "train/accuracy", "val/loss", "val/accuracy", "train/learning_rate", "train/examples_per_second"
    }  # fmt: skip
    # Three epochs, numbered from 1 as a person counts them.
    assert [step for step, _ in tracker.history["val/loss"]] == [1, 2, 3]
    assert record.history["train/learning_rate"] == pytest.approx([0.1] * 3)
    assert min(record.history["train/examples_per_second"]) > 0


def test_epoch_record_counts_steps_that_python_does_not_see(monkeypatch):
    # A clock that ticks once per look. Epoch 1: four steps in two calls, of which the first is for tracing: two steps
    # of 16 are timed. Epoch 2: all four are. Between begin and end there is one tick each.
    ticks = iter(range(100))
    monkeypatch.setattr("kerasnn.training.callbacks.time.perf_counter", lambda: float(next(ticks)))
    record = EpochRecord(MemoryTracker(), batch_size=16)
    fit(record, epochs=2, steps_per_call=2)
    assert record.history["train/examples_per_second"] == [2 * 16, 4 * 16]


def test_checkpoints_keep_the_epoch_with_the_highest_validation_accuracy(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.set_model(fit(epochs=1))
    checkpoints.on_train_begin()
    # Accuracy decides; between equals the lower loss does; a later, worse epoch does not.
    for epoch, (accuracy, loss) in enumerate([(0.5, 0.9), (0.8, 0.7), (0.8, 0.6), (0.7, 0.1)]):
        checkpoints.model.layers[0].bias.assign([float(epoch), 0.0])
        checkpoints.on_epoch_end(epoch, {"val_accuracy": accuracy, "val_loss": loss})
    checkpoints.write()
    assert checkpoints.best_epoch == 3
    assert float(keras.saving.load_model(checkpoints.best).layers[0].bias[0]) == 2.0
    assert float(keras.saving.load_model(checkpoints.last).layers[0].bias[0]) == 3.0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.keras", "last.keras"]


def test_checkpoints_are_written_while_a_long_training_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("kerasnn.training.checkpoints.WRITE_SECONDS", 0)
    fit(Checkpoints(tmp_path), epochs=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.keras", "last.keras"]


def test_checkpoints_of_broken_weights_keep_the_last_that_was_whole(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    model = fit(checkpoints, epochs=1)
    checkpoints.write()
    model.layers[0].bias.assign([np.nan, np.nan])
    checkpoints.write(last=False)
    assert np.isfinite(keras.saving.load_model(checkpoints.last).layers[0].bias).all()


def test_last_checkpoint_carries_the_optimizer(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    fit(checkpoints, epochs=2)
    checkpoints.write()
    # 64 examples in batches of 16: four steps an epoch.
    assert int(keras.saving.load_model(checkpoints.last).optimizer.iterations) == 8


def test_stop_on_nan_says_where_and_what_helps():
    with pytest.raises(
        TrainingError, match=r"the loss became nan in epoch 1 by .*: lower optimizer.learning_rate \(0.1"
    ):
        fit(StopOnNaN(), inputs=np.full_like(INPUTS, np.nan))


def test_stop_on_nan_lets_a_healthy_training_pass():
    fit(StopOnNaN())


def test_progress_log_is_never_silent_for_long(caplog, monkeypatch):
    monkeypatch.setattr("kerasnn.training.callbacks.LINE_SECONDS", 0)
    with caplog.at_level(logging.INFO, logger="kerasnn"):
        fit(ProgressLog(epochs=1, steps=4, batch_size=16), epochs=1)
    lines = [record.getMessage() for record in caplog.records]
    # The first step is for tracing; three more, then the epoch's own line.
    assert [line.split("  ")[1] for line in lines[:3]] == ["step 2/4", "step 3/4", "step 4/4"]
    assert "examples/s" in lines[0]
    assert len(lines) == 4


def test_progress_log_counts_steps_that_python_does_not_see(caplog, monkeypatch):
    monkeypatch.setattr("kerasnn.training.callbacks.LINE_SECONDS", 0)
    with caplog.at_level(logging.INFO, logger="kerasnn"):
        fit(ProgressLog(epochs=1, steps=4, batch_size=16), epochs=1, steps_per_call=2)
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0].split("  ")[1] == "step 4/4"
    assert lines[0].endswith("0:00 left")


def test_progress_log_writes_a_plain_line_per_epoch(caplog):
    with caplog.at_level(logging.INFO, logger="kerasnn"):
        fit(ProgressLog(epochs=3, steps=4, batch_size=16))
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert "accuracy" in lines[0]
    # Of a long training, on a terminal of 80 columns: two digits more before the slash, and three behind it.
    assert max(map(len, lines)) + 5 <= 80
    assert lines[-1].endswith("0:00 left")
