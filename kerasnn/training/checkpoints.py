"""Best and last checkpoint: the network that is handed on, and the whole state that a training goes on from."""

import json
import math
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import keras

from kerasnn.errors import DataError
from kerasnn.models import heads
from kerasnn.training.ema import MovingAverage
from kerasnn.training.finetune import dense_layers
from kerasnn.training.resume import Course, attach_state

WRITE_SECONDS = 10  # Killed outright, a process loses the epoch that it was in, and those that ended in this time.


class Checkpoints(keras.callbacks.Callback):
    """Keeps `best.keras` (highest validation accuracy, then lowest validation loss) and `last.keras` (with optimizer).

    Args:
        folder: where the files go.
        average: the average of the weights, where one is kept: the better of the two is the best of an epoch.
        course: tells the state that makes a training go on exactly, which `last.keras` then holds too.

    `best_epoch` counts from 1; 0 means that no epoch has ended. `best_weights` says whether they are the `raw` ones or
    their `average`. `best.keras` is the bare network, as one hands it on.
    Both are kept in memory and written every ten seconds or so; whoever calls `fit` calls `write` when it has ended.
    It must be the last of the callbacks: the state is that after all of them.
    """

    def __init__(self, folder: Path, average: MovingAverage | None = None, course: Course | None = None):
        super().__init__()
        self.folder = folder
        self.average = average
        self.course = course
        self.best_epoch = 0
        self.best_weights: Literal["raw", "average"] = "raw"
        self._best = (-math.inf, -math.inf)
        self._network: keras.Model | None = None
        self._bare: keras.Model | None = None
        self._written = time.perf_counter()
        self._stale = self._amid = False
        self._current = True  # Nothing has happened yet that the files do not hold.
        self._moment: Moment | None = None
        if course and course.resumed:
            self._read_best()

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

    def begin(self, model: keras.Model):
        """Writes `last.keras` before the first epoch: a pre-training is not lost by an epoch that is cut off."""
        model.optimizer.build(model.trainable_variables)
        self.set_model(model)
        self._current = False
        self.write()

    def on_train_begin(self, logs=None):
        self._network = heads.main_network(self.model)
        self._bare = bare(self._network)
        if self.course:
            self.course.remind()

    def on_epoch_begin(self, epoch, logs=None):
        self._amid = True

    def on_epoch_end(self, epoch, logs=None):
        self._offer("raw", epoch, logs["val_accuracy"], logs["val_loss"])
        if self.average:
            self._offer("average", epoch, logs["val_ema_accuracy"], logs["val_ema_loss"])
        self._amid = self._current = False
        self._moment = None
        if time.perf_counter() - self._written > WRITE_SECONDS:
            self.write()
        elif self.course:
            self._moment = Moment(self.model, self.course)

    def _offer(self, kind: str, epoch: int, accuracy: float, loss: float):
        if (accuracy, -loss) > self._best:
            self._best, self.best_epoch, self.best_weights = (accuracy, -loss), epoch + 1, kind
            raw = kind == "raw"
            self._bare.set_weights(self._network.get_weights() if raw else self.average.weights_of(self._network))
            self._stale = True

    def write(self, last: bool = True):
        """Brings the files up to date; a training whose weights broke keeps the `last` that it has.

        Amid an epoch the state that is kept is that at the end of the one before.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._stale:
            _save(self._bare, self.best, self._describe_best)
            self._stale = False
        if last and not self._current and not (self._amid and self._moment is None):
            if self._amid:
                self._moment.bring_back(self.model)
            state = self._moment.state if self._moment else self.course.state(self.model) if self.course else None
            _save(self.model, self.last, partial(attach_state, state=state) if state else None)
            self._current = True
        self._moment = None
        self._written = time.perf_counter()

    def _describe_best(self, path: Path):
        """Writes into `best.keras` whose weights they are: `last.keras` may be of another age after a crash."""
        told = [self.best_epoch, self.best_weights, *self._best]
        with zipfile.ZipFile(path, "a") as archive:
            archive.comment = json.dumps(told).encode()

    def _read_best(self):
        if not self.best.exists():
            return
        try:
            with zipfile.ZipFile(self.best) as archive:
                self.best_epoch, self.best_weights, accuracy, minus_loss = json.loads(archive.comment)
        except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{self.best} does not say what it reached: start anew, or with from={self.last}"
            ) from error
        self._best = (accuracy, minus_loss)


class Moment:
    """A training at the end of an epoch, held in memory until the files are written.

    Args:
        model: its weights and its optimizer's are copied.
        course: tells the rest.
    """

    def __init__(self, model: keras.Model, course: Course):
        self.state = course.state(model)
        self._values = [variable.numpy() for variable in _variables(model)]

    def bring_back(self, model: keras.Model):
        """Makes the model what it was."""
        for variable, value in zip(_variables(model), self._values, strict=True):
            variable.assign(value)


def _variables(model: keras.Model) -> list[keras.Variable]:
    return [*model.variables, *model.optimizer.variables]


def bare(model: keras.Model) -> keras.Model:
    """The same network and weights without optimizer, nothing frozen, and batch norm that synchronises with nobody."""
    copy = type(model).from_config(model.get_config())
    for layer in copy._flatten_layers(include_self=False):
        layer.trainable = True
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = False
    # A layer inside another one, such as a projection of attention, forgets that it learns an update of low rank.
    for trained, fresh in zip(dense_layers(model), dense_layers(copy), strict=True):
        if trained.lora_enabled and not fresh.lora_enabled:
            fresh.enable_lora(trained.lora_rank)
    copy.set_weights(model.get_weights())
    return copy


def _save(model: keras.Model, path: Path, add: Callable[[Path], None] | None = None) -> None:
    """Writes beside the old file and then takes its place, so that a crash leaves one that is whole."""
    fresh = path.with_name(f"new_{path.name}")
    model.save(fresh)
    if add:
        add(fresh)
    fresh.replace(path)
