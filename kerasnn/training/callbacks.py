"""Callbacks that Keras lacks: the record of each epoch, progress, stop on NaN."""

import logging
import math
import sys
import time

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kerasnn.errors import TrainingError
from kerasnn.tracking.tracker import Tracker

log = logging.getLogger(__name__)

LINE_SECONDS = 60  # How long a log without a bar may be silent within an epoch.
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
        self._first: int | None = None
        self._untimed = 0

    def on_train_begin(self, logs=None):
        self._shown = time.perf_counter()
        self._begun = self._begun or self._shown  # A training of several phases counts from the first.
        if sys.stderr.isatty():
            self._open_bar()

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        self._first = epoch if self._first is None else self._first  # Not 0 where the training was resumed.

    def on_train_batch_end(self, batch, logs=None):
        now = time.perf_counter()
        if not self._untimed:  # The first call traces and compiles: the time left is counted from its end.
            self._begun, self._untimed = now, batch + 1
            return
        if now - self._shown < (LOOK_SECONDS if self._bar else LINE_SECONDS):
            return
        self._shown = now
        past = self._first * self.steps
        done = self._epoch * self.steps + batch + 1 - self._untimed - past
        rate = done * self.batch_size / (now - self._begun)
        epoch, facts = (
            f"epoch {self._epoch + 1}/{self.epochs}",
            f"loss {float(logs['loss']):.4f}  {rate:,.0f} examples/s",
        )
        if self._bar:
            self._bar.update(self._task, completed=past + done, epoch=epoch, facts=facts)
        else:
            left = (self.epochs * self.steps - self._untimed - past - done) * (now - self._begun) / done
            log.info("%s  step %d/%d  %s  %s left", epoch, batch + 1, self.steps, facts, _clock(left))

    def on_epoch_end(self, epoch, logs=None):
        left = (time.perf_counter() - self._begun) / (epoch + 1 - self._first) * (self.epochs - epoch - 1)
        average = f", averaged {logs['val_ema_accuracy']:.4f}" if "val_ema_accuracy" in logs else ""
        log.info(
            "epoch %d/%d  loss %.4f, val %.4f  accuracy %.4f, val %.4f%s  %s left",
            epoch + 1, self.epochs, logs["loss"], logs["val_loss"], logs["accuracy"], logs["val_accuracy"],
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
