"""A training that is cut off and goes on is the training that was never cut off."""

import gc
import signal
import subprocess
import sys
import zipfile
from functools import partial
from itertools import count
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from kerasnn.config.compose import compose
from kerasnn.errors import DataError
from kerasnn.tracking.folders import run_folders
from kerasnn.tracking.mlflow import connect, read_runs
from kerasnn.tracking.tracker import MemoryTracker
from kerasnn.training import checkpoints, plateau
from kerasnn.training.callbacks import ProgressLog
from kerasnn.training.resume import read_state
from kerasnn.training.run import run

SMALL = ["data=synthetic", "data.examples=200", "data.train_examples=96", "trainer.batch_size=32", "trainer.epochs=4"]
MLP = ["model=mlp", "model.hidden_widths=[8]", "model.dropout=0.5", *SMALL]
PLATEAU = [f"callbacks.reduce_on_plateau.{option}" for option in ("patience=2", "min_delta=100")]
VGG = ["model=vgg11_bn", "model.widths=[2,2,4,4,4]", "model.hidden_widths=[8]", "model.dropout=0.5", *SMALL]


def train(folder, *overrides):
    folder.mkdir(exist_ok=True)
    tracker = MemoryTracker()
    return run(compose(overrides), tracker, folder), tracker


def interrupted(folder, monkeypatch, *overrides, epoch, at="on_train_batch_end", by=KeyboardInterrupt):
    """The same, stopped by Ctrl-C or as submitit does, within that epoch, counted from 0; what its tracker heard."""
    folder.mkdir(exist_ok=True)
    tracker, own = MemoryTracker(), getattr(ProgressLog, at)

    def stop(self, number, logs=None):
        own(self, number, logs)
        if self._epoch == epoch:
            raise by

    with monkeypatch.context() as patch:
        patch.setattr(ProgressLog, at, stop)
        with pytest.raises(by):
            run(compose(overrides), tracker, folder)
    assert tracker.status == "KILLED"
    gc.collect()  # The stream that was left in its middle may hold threads that later tests wait for.
    return tracker


def values_of(folder):
    """Every number of the last checkpoint: network, optimizer, and what kerasnn adds."""
    model = keras.saving.load_model(folder / "checkpoints" / "last.keras")
    state = read_state(folder / "checkpoints" / "last.keras")
    kept = [*model.weights, *model.optimizer.variables]
    return [value.numpy() for value in kept] + [state.arrays[name] for name in sorted(state.arrays)]


def same(a, b):
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def compared(history):
    """All that does not depend on a clock."""
    return {name: values for name, values in history.items() if name != "train/examples_per_second"}


@pytest.mark.parametrize(
    "overrides",
    [
        # Adam's moments, the statistics of batch norm, dropout's seeds, drawn augmentation, a schedule, an average.
        [*VGG, "augment=[flip_crop,noise]", "schedule=cosine", "callbacks=[default,ema,csv]"],
        # A rate that a callback sets: after two epochs without improvement by 100, thus in the third, then each second.
        [*MLP, "callbacks=reduce_on_plateau", *PLATEAU],
        # The scale of the loss, and gradients that are added up over four steps, one more than an epoch has.
        [*MLP, "trainer.precision=mixed_float16", "optimizer.accumulation_steps=4"],
    ],
)
def test_resumed_training_is_the_undisturbed_one_bit_for_bit(tmp_path, monkeypatch, overrides):
    whole, _ = train(tmp_path / "whole", *overrides)
    first = interrupted(tmp_path / "parts", monkeypatch, *overrides, epoch=2)
    rest, tracker = train(tmp_path / "parts", *overrides, f"resume={tmp_path / 'parts'}")
    assert compared(rest.history) == compared(whole.history)
    assert same(values_of(tmp_path / "parts"), values_of(tmp_path / "whole"))
    for name in ("best/epoch", "best/val_accuracy", "test/loss", "test/accuracy"):
        assert rest.metrics[name] == whole.metrics[name]
    # The record goes on at the next step: two epochs before the interruption, two after it.
    assert [step for step, _ in first.history["val/loss"]] == [1, 2]
    assert [step for step, _ in tracker.history["val/loss"]] == [3, 4]
    if "callbacks=[default,ema,csv]" in overrides:
        rows = [(tmp_path / name / "history.csv").read_text().splitlines() for name in ("whole", "parts")]
        assert len(rows[0]) == len(rows[1]) == 5  # A header, and a row per epoch.


def test_state_and_weights_that_the_clock_has_written_are_of_one_age(tmp_path, monkeypatch):
    # Every look at the clock takes six seconds: the first epoch ends after six, and stays in memory; the second after
    # twelve, and is written. What is written is of the second alone.
    whole, _ = train(tmp_path / "whole", *MLP)
    seconds = count(step=6)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "time", SimpleNamespace(perf_counter=lambda: next(seconds)))
        interrupted(tmp_path / "parts", patch, *MLP, epoch=2)
    assert read_state(tmp_path / "parts" / "checkpoints" / "last.keras").done == 2
    rest, _ = train(tmp_path / "parts", *MLP, f"resume={tmp_path / 'parts'}")
    assert compared(rest.history) == compared(whole.history)


def test_patience_goes_on_where_it_was(tmp_path, monkeypatch):
    # No epoch is better than the first by 1: with a patience of 3 the fourth of ten ends the training.
    options = ["patience=3", "min_delta=1.0"]
    stopping = [*MLP, "trainer.epochs=10", "callbacks=early_stopping"]
    stopping += [f"callbacks.early_stopping.{option}" for option in options]
    whole, _ = train(tmp_path / "whole", *stopping)
    interrupted(tmp_path / "parts", monkeypatch, *stopping, epoch=2)
    rest, _ = train(tmp_path / "parts", *stopping, f"resume={tmp_path / 'parts'}")
    assert len(whole.history["val/loss"]) == len(rest.history["val/loss"]) == 4
    # And once it has ended, it is not begun again: only the test is left.
    again, tracker = train(tmp_path / "parts", *stopping, f"resume={tmp_path / 'parts'}")
    assert "val/loss" not in tracker.history
    assert again.metrics["test/loss"] == rest.metrics["test/loss"]


def test_epochs_may_grow(tmp_path):
    train(tmp_path, *MLP, "trainer.epochs=2")
    rest, _ = train(tmp_path, *MLP, "trainer.epochs=3", f"resume={tmp_path}")
    assert len(rest.history["val/loss"]) == 3


def test_fine_tuning_goes_on_in_the_right_phase(tmp_path, monkeypatch):
    small, source = [*MLP, "model.hidden_widths=[8,8]"], tmp_path / "source"
    train(source, *small, "trainer.epochs=1")
    tuning = [*small, "trainer=finetune", f"from={source / 'checkpoints' / 'best.keras'}", "trainer.epochs=6"]
    tuning += ["finetune.head_epochs=2", "finetune.unfreeze=[hidden2,all]", "finetune.layer_decay=0.5"]
    whole, _ = train(tmp_path / "whole", *tuning)
    # Amid the second phase, and in the first epoch of the third.
    for epoch, by in ((3, KeyboardInterrupt), (4, SystemExit)):
        parts = tmp_path / f"parts{epoch}"
        interrupted(parts, monkeypatch, *tuning, epoch=epoch, by=by)
        rest, _ = train(parts, *tuning, f"resume={parts}")
        assert rest.history["finetune/phase"] == [1, 1, 2, 2, 3, 3]
        assert compared(rest.history) == compared(whole.history)
        assert same(values_of(parts), values_of(tmp_path / "whole"))


def test_weights_that_a_callback_keeps_are_kept_for_it(tmp_path, monkeypatch):
    # A callback without `get_state`, as a plug-in's may be: the best weights are a list of arrays among its attributes.
    # Nothing is better than the first epoch by 1: with a patience of 2 the third ends the training, with the first's
    # weights.
    stopping = partial(keras.callbacks.EarlyStopping, "val_loss", 1.0, 2, restore_best_weights=True)
    monkeypatch.setattr(plateau, "early_stopping", lambda **_: stopping())
    words = [*MLP, "callbacks=early_stopping"]
    whole, _ = train(tmp_path / "whole", *words)
    assert len(whole.history["train/loss"]) == 3
    interrupted(tmp_path / "parts", monkeypatch, *words, epoch=1)
    rest, _ = train(tmp_path / "parts", *words, f"resume={tmp_path / 'parts'}")
    assert compared(rest.history) == compared(whole.history)
    assert same(values_of(tmp_path / "parts"), values_of(tmp_path / "whole"))


def test_updates_of_low_rank_are_kept_apart_from_their_kernels(tmp_path, monkeypatch):
    source = tmp_path / "source"
    train(source, *MLP, "trainer.epochs=1")
    tuning = [*MLP, "trainer=finetune", f"from={source / 'checkpoints' / 'best.keras'}", "finetune.lora_rank=2"]
    tuning += ["finetune.head_epochs=1", "trainer.epochs=4"]
    whole, _ = train(tmp_path / "whole", *tuning)
    interrupted(tmp_path / "parts", monkeypatch, *tuning, epoch=2)
    rest, _ = train(tmp_path / "parts", *tuning, f"resume={tmp_path / 'parts'}")
    assert compared(rest.history) == compared(whole.history)
    state = read_state(tmp_path / "parts" / "checkpoints" / "last.keras")
    # Kernel, bias and the two factors of the one hidden layer.
    assert len([name for name in state.arrays if name.startswith("lora")]) == 4


def test_pretraining_is_not_done_twice(tmp_path, monkeypatch):
    belief = ["model=dbn", "model.hidden_widths=[8,8]", "model.pretrain.epochs=1", *SMALL, "trainer.epochs=2"]
    whole, _ = train(tmp_path / "whole", *belief)
    interrupted(tmp_path / "parts", monkeypatch, *belief, epoch=0)  # No epoch has ended; the pre-training has.
    rest, tracker = train(tmp_path / "parts", *belief, f"resume={tmp_path / 'parts'}")
    assert not [name for name in tracker.history if name.startswith("pretrain")]
    assert compared(rest.history) == compared(whole.history)
    assert rest.metrics["cost/pretrain_seconds"] > 0


def test_replicas_resume_too(tmp_path, monkeypatch):
    two = [*MLP, "strategy=mirrored", "strategy.devices=2", "callbacks=ema", "trainer.epochs=2"]
    whole, _ = train(tmp_path / "whole", *two)
    interrupted(tmp_path / "parts", monkeypatch, *two, epoch=1)
    rest, _ = train(tmp_path / "parts", *two, f"resume={tmp_path / 'parts'}")
    np.testing.assert_allclose(rest.history["train/loss"], whole.history["train/loss"], rtol=1e-6)
    np.testing.assert_allclose(rest.history["val/ema_loss"], whole.history["val/ema_loss"], rtol=1e-6)


def test_last_checkpoint_stays_a_model_and_a_damaged_one_says_so(tmp_path):
    train(tmp_path, *MLP, "trainer.epochs=1")
    last = tmp_path / "checkpoints" / "last.keras"
    assert keras.saving.load_model(last).name == "mlp"
    with zipfile.ZipFile(last) as archive:
        assert archive.testzip() is None
    best = tmp_path / "checkpoints" / "best.keras"
    kept = best.read_bytes()
    keras.saving.load_model(best).save(best)  # Whole, and without a word on what it reached.
    for _ in range(2):
        with pytest.raises(DataError, match="best.keras does not say what it reached: start anew, or with from="):
            train(tmp_path, *MLP, "trainer.epochs=2", f"resume={tmp_path}")
        best.write_bytes(kept[:1000])
    best.write_bytes(kept)
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(DataError, match="does not hold a training to resume: start anew, or with from=.*best.keras"):
        train(tmp_path, *MLP, f"resume={tmp_path}")


SUDDEN = """
import os, signal, sys
from kerasnn.training.lean_import import import_keras
import_keras()
from kerasnn.training import callbacks, checkpoints
checkpoints.WRITE_SECONDS = 0
def die(self, batch, logs=None):
    if self._epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)
callbacks.ProgressLog.on_train_batch_end = die
from kerasnn.cli import main
main(sys.argv[1:])
"""


def test_killed_run_goes_on_in_its_folder_and_in_its_mlflow_run(tmp_path):
    words = ["model=mlp", "model.hidden_widths=[8]", "model.dropout=0.5", "trainer.epochs=4", "name=sudden"]

    def child(*command):
        return subprocess.run(
            [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
        )

    assert child("-c", SUDDEN, *words).returncode == -signal.SIGKILL
    (killed,) = run_folders(tmp_path / "runs")
    assert (killed.status, killed.at_work) == ("RUNNING", False)
    refused = child("-m", "kerasnn", "resume=sudden", "optimizer.learning_rate=0.5")
    assert refused.returncode == 2
    assert "optimizer.learning_rate (was 0.0003, now 0.5)" in refused.stderr
    done = child("-m", "kerasnn", "resume=auto", *words)
    assert done.returncode == 0, done.stderr
    (resumed,) = run_folders(tmp_path / "runs")
    assert (resumed.path, resumed.status) == (killed.path, "FINISHED")
    (row,) = read_runs(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    assert (row["run_id"], row["status"], row["name"]) == (resumed.run_id, "FINISHED", "sudden")
    points = connect(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}").get_metric_history(row["run_id"], "val/loss")
    assert [point.step for point in points] == [1, 2, 3, 4]
    train(tmp_path / "whole", *words)  # In this process, undisturbed.
    assert same(values_of(tmp_path / "whole"), values_of(killed.path))
    again = child("-m", "kerasnn", f"resume={resumed.run_id[:7]}")
    assert again.returncode == 2
    assert "is finished" in again.stderr
