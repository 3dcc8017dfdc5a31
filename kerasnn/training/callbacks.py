"""Callbacks that Keras lacks: the record of each epoch, best and last checkpoint, progress, stop on NaN."""

import logging
import math
import sys
import time
from pathlib import Path
from typing import Literal

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kerasnn.errors import TrainingError
from kerasnn.models import heads
from kerasnn.tracking.tracker import Tracker
from kerasnn.training.ema import MovingAverage

log = logging.getLogger(__name__)

LINE_SECONDS = 60  # How long a log without a bar may be silent within an epoch.
WRITE_SECONDS = 10  # At most this much training is lost when the process is killed outright.
LOOK_SECONDS = 0.5  # Reading the loss waits for the device; twice a second costs nothing and misses nothing.


class EpochRecord(keras.callbacks.Callback):
    """Writes `train/loss val/accuracy …`, the learning rate and the examples per second of every epoch.

    Args:
        tracker: where the record goes.
        batch_size: examples per step.

    `history` maps each metric to its values by epoch, `latest` to its value in the last epoch that ended.
    """

    def __init__(self, tracker: Tracker, batch_size: int):
        super().__init__()
        self.tracker = tracker
        self.batch_size = batch_size
        self.history: dict[str, list[float]] = {}
        self.latest: dict[str, float] = {}
        self._begun = self._ended = 0.0
        self._steps = self._untimed = 0
        self._traced = False

    def on_train_begin(self, logs=None):
        self._traced = False

    def on_epoch_begin(self, epoch, logs=None):
        self._begun = time.perf_counter()
        self._ended = 0.0
        self._steps = self._untimed = 0

    def on_train_batch_end(self, batch, logs=None):
        first, self._steps = not self._steps, batch + 1
        if first and not self._traced:
            # The first call of a training traces and compiles it: it says nothing about speed.
            self._begun, self._untimed, self._traced = time.perf_counter(), self._steps, True

    def on_test_begin(self, logs=None):
        self._end_of_training()

    def on_epoch_end(self, epoch, logs=None):
        self._end_of_training()
        timed = self._steps - self._untimed
        record = {_slashed(key): float(value) for key, value in (logs or {}).items()}
        record["train/learning_rate"] = learning_rate(self.model.optimizer)
        if timed:
            record["train/examples_per_second"] = timed * self.batch_size / (self._ended - self._begun)
        self.latest = record
        for key, value in record.items():
            self.history.setdefault(key, []).append(value)
        self.tracker.metrics(record, step=epoch + 1)

    def _end_of_training(self):
        if not self._ended:
            _number(self.model.optimizer.iterations)  # Waits until the device has done the last step.
            self._ended = time.perf_counter()


def learning_rate(optimizer: keras.optimizers.Optimizer) -> float:
    """The rate that the optimizer's next step would use."""
    return _number(optimizer.learning_rate)


def _number(value) -> float:
    """A variable or tensor as a number; a variable may live on several replicas, which all hold the same."""
    value = getattr(value, "value", value)
    return float(value.numpy() if hasattr(value, "numpy") else value)


def _slashed(key: str) -> str:
    return f"val/{key.removeprefix('val_')}" if key.startswith("val_") else f"train/{key}"


class Checkpoints(keras.callbacks.Callback):
    """Keeps `best.keras` (highest validation accuracy, then lowest validation loss) and `last.keras` (with optimizer).

    Args:
        folder: where the files go.
        average: the average of the weights, where one is kept: the better of the two is the best of an epoch.

    `best_epoch` counts from 1; 0 means that no epoch has ended. `best_weights` says whether they are the `raw` ones or
    their `average`. `best.keras` is the bare network, as one hands it on.
    Both are kept in memory and written every ten seconds or so; whoever calls `fit` calls `write` when it has ended.
    """

    def __init__(self, folder: Path, average: MovingAverage | None = None):
        super().__init__()
        self.folder = folder
        self.average = average
        self.best_epoch = 0
        self.best_weights: Literal["raw", "average"] = "raw"
        self._best = (-math.inf, -math.inf)
        self._network: keras.Model | None = None
        self._bare: keras.Model | None = None
        self._written = time.perf_counter()
        self._stale = False

    @property
    def best(self) -> Path:
        """The network of the best epoch."""
        return self.folder / "best.keras"

    @property
    def best_accuracy(self) -> float:
        """What the weights in `best` reached on the validation split."""
        return self._best[0]

    @property
    def last(self) -> Path:
        """The state after the last epoch that ended."""
        return self.folder / "last.keras"

    def on_train_begin(self, logs=None):
        self.folder.mkdir(parents=True, exist_ok=True)
        self._network = heads.main_network(self.model)
        self._bare = bare(self._network)

    def on_epoch_end(self, epoch, logs=None):
        self._offer("raw", epoch, logs["val_accuracy"], logs["val_loss"])
        if self.average:
            self._offer("average", epoch, logs["val_ema_accuracy"], logs["val_ema_loss"])
        if time.perf_counter() - self._written > WRITE_SECONDS:
            self.write()

    def _offer(self, kind: str, epoch: int, accuracy: float, loss: float):
        if (accuracy, -loss) > self._best:
            self._best, self.best_epoch, self.best_weights = (accuracy, -loss), epoch + 1, kind
            raw = kind == "raw"
            self._bare.set_weights(self._network.get_weights() if raw else self.average.weights_of(self._network))
            self._stale = True

    def write(self, last: bool = True):
        """Brings the files up to date; a training whose weights broke keeps the `last` that it has."""
        if self._stale:
            _save(self._bare, self.best)
            self._stale = False
        if last:
            _save(self.model, self.last)
        self._written = time.perf_counter()


def bare(model: keras.Model) -> keras.Model:
    """The same network and weights without optimizer, nothing frozen, and batch norm that synchronises with nobody."""
    copy = type(model).from_config(model.get_config())
    for layer in copy._flatten_layers(include_self=False):
        layer.trainable = True
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = False
    copy.set_weights(model.get_weights())
    return copy


def _save(model: keras.Model, path: Path) -> None:
    """Writes beside the old file and then takes its place, so that a crash leaves one that is whole."""
    fresh = path.with_name(f"new_{path.name}")
    model.save(fresh)
    fresh.replace(path)


class StopOnNaN(keras.callbacks.Callback):
    """Ends a training whose loss is no number any more.

    Raises:
        TrainingError: where it happened, and what usually helps.
    """

    def __init__(self):
        super().__init__()
        self._epoch = 0
        self._looked = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch, logs=None):
        if time.perf_counter() - self._looked > LOOK_SECONDS:
            self._looked = time.perf_counter()
            self._look(logs["loss"], f"step {batch + 1}")

    def on_epoch_end(self, epoch, logs=None):
        self._look(logs["loss"], "its end")

    def _look(self, loss, place: str):
        if not math.isfinite(float(loss)):
            rate = learning_rate(self.model.optimizer)
            raise TrainingError(
                f"the loss became {float(loss)} in epoch {self._epoch} by {place}: lower optimizer.learning_rate "
                f"({rate:g} now), clip gradients with optimizer.clipnorm=1, or train in trainer.precision=float32"
            )


class ProgressLog(keras.callbacks.Callback):
    """A line per epoch in the log; on a terminal also a bar with rate and time left, elsewhere a line per minute."""

    def __init__(self, epochs: int, steps: int, batch_size: int):
        super().__init__()
        self.epochs, self.steps, self.batch_size = epochs, steps, batch_size
        self._bar: Progress | None = None
        self._streams: list[tuple[logging.StreamHandler, object]] = []
        self._begun = self._shown = 0.0
        self._epoch = 0
        self._untimed = 0

    def on_train_begin(self, logs=None):
        self._shown = time.perf_counter()
        self._begun = self._begun or self._shown  # A training of several phases counts from the first.
        if sys.stderr.isatty():
            self._open_bar()

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        now = time.perf_counter()
        if not self._untimed:  # The first call traces and compiles: the time left is counted from its end.
            self._begun, self._untimed = now, batch + 1
            return
        if now - self._shown < (LOOK_SECONDS if self._bar else LINE_SECONDS):
            return
        self._shown = now
        done = self._epoch * self.steps + batch + 1 - self._untimed
        rate = done * self.batch_size / (now - self._begun)
        epoch, facts = (
            f"epoch {self._epoch + 1}/{self.epochs}",
            f"loss {float(logs['loss']):.4f}  {rate:,.0f} examples/s",
        )
        if self._bar:
            self._bar.update(self._task, completed=done, epoch=epoch, facts=facts)
        else:
            left = (self.epochs * self.steps - self._untimed - done) * (now - self._begun) / done
            log.info("%s  step %d/%d  %s  %s left", epoch, batch + 1, self.steps, facts, _clock(left))

    def on_epoch_end(self, epoch, logs=None):
        left = (time.perf_counter() - self._begun) / (epoch + 1) * (self.epochs - epoch - 1)
        average = f"  of the average {logs['val_ema_accuracy']:.4f}" if "val_ema_accuracy" in logs else ""
        log.info(
            "epoch %d/%d  loss %.4f  accuracy %.4f  val loss %.4f  val accuracy %.4f%s  %s left",
            epoch + 1, self.epochs, logs["loss"], logs["accuracy"], logs["val_loss"], logs["val_accuracy"],
            average, _clock(left),
        )  # fmt: skip

    def on_train_end(self, logs=None):
        self.close()

    def close(self):
        """Takes the bar off the terminal, however the training ended."""
        if self._bar:
            for handler, stream in self._streams:
                handler.setStream(stream)
            self._bar.stop()
            self._bar = None

    def _open_bar(self):
        self._bar = Progress(
            TextColumn("{task.fields[epoch]}"), BarColumn(bar_width=20), MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"), TimeRemainingColumn(),
            console=Console(stderr=True), transient=True, refresh_per_second=4,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=self.epochs * self.steps, epoch="epoch 1", facts="tracing")
        self._bar.start()
        # While the bar lives, sys.stderr is rich's: log lines sent there are printed above the bar, not through it.
        for handler in logging.getLogger().handlers:
            if type(handler) is logging.StreamHandler and getattr(handler.stream, "isatty", bool)():
                self._streams.append((handler, handler.setStream(sys.stderr)))


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
