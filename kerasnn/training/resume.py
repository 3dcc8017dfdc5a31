"""A training that was cut off goes on from its last checkpoint, bit for bit where it is deterministic.

`resume=auto`, or `resume=RUN`, finds the run's folder (`kerasnn.config.resume`). There `checkpoints/last.keras` is the
whole state between two epochs: network and optimizer, as Keras keeps them, and, as two more members of the same file,
what Keras leaves out: where the training was, its history, the seed generators of the layers, and what its callbacks
remember (patience, best value, moving average). One file, because two could be of different ages after a crash.
The stream needs nothing of the sort: its batches follow from (seed, epoch, step).

With several workers the chief alone writes. Each of them reads the chief's file, so the folder `runs` must be one that
all of them see.
"""

import inspect
import json
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kerasnn.errors import DataError
from kerasnn.training.finetune import dense_layers, has_lora

if TYPE_CHECKING:
    from kerasnn.training.callbacks import EpochRecord
    from kerasnn.training.finetune import Phase
    from kerasnn.training.result import Result

STATE, ARRAYS = "kerasnn.json", "kerasnn.npz"
LAST = "checkpoints/last.keras"
ARRAY = "array of the checkpoint"  # Stands, with its name, where a callback's memory has an array.


@dataclass
class State:
    """A training between two epochs, without its network and optimizer.

    Args:
        phase: the number of the phase that it was in, from 1.
        done: how many epochs of that phase had ended.
        stopped: whether a callback ended that phase, such as early stopping.
        seconds: of training so far.
        history: every epoch's numbers, by name.
        before: the history and the numbers of what came before the first epoch, such as a pre-training.
        callbacks: what each remembers, in their order.
        arrays: of the callbacks and the layers, by name.
    """

    phase: int
    done: int
    stopped: bool
    seconds: float
    history: dict[str, list[float]]
    before: dict[str, dict[str, Any]]
    callbacks: list[dict[str, Any]]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def read_state(path: Path) -> State | None:
    """The state in a `last.keras`; None where there is no such file: the run ended before its first epoch did.

    Raises:
        DataError: the file is damaged, or of a run that could not be resumed yet.
    """
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            values = json.loads(archive.read(STATE))
            with np.load(BytesIO(archive.read(ARRAYS))) as arrays:
                return State(**values, arrays=dict(arrays))
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        best = path.with_name("best.keras")
        raise DataError(f"{path} does not hold a training to resume: start anew, or with from={best}") from error


def attach_state(path: Path, state: State) -> None:
    """Adds the state to a `.keras` file, which stays one for everybody else."""
    values = asdict(state)
    arrays, packed = values.pop("arrays"), BytesIO()
    np.savez(packed, **arrays)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(STATE, json.dumps(values))
        archive.writestr(ARRAYS, packed.getvalue())


def open_start(named: str | None) -> tuple[Path, State] | None:
    """What a run folder holds to go on from; None where there is nothing yet, or no folder is named."""
    path = Path(named) / LAST if named else None
    state = read_state(path) if path else None
    return (path, state) if state else None


class Course:
    """Where a training is, from which its state is told, and to which a state brings it.

    Args:
        record: its history.
        callbacks: those whose memory counts: with `get_state` and `set_state`, dictionaries of plain values and arrays,
            or else whatever of the kind their attributes hold, but for those that their constructor is given.
        result: of what came before the first epoch.
        start: the `last.keras` to go on from, and its state; None is a new training.
    """

    def __init__(
        self,
        record: "EpochRecord",
        callbacks: Sequence[keras.callbacks.Callback],
        result: "Result",
        start: tuple[Path, State] | None = None,
    ):
        self.record = record
        self._callbacks = callbacks
        self._path, self._start = start or (None, None)
        self._memory: State | None = None
        self._number = self._first = self._length = 0
        self._begun = time.perf_counter()
        if self._start:
            record.history.update(self._start.history)
            result.history |= self._start.before["history"]
            result.metrics |= self._start.before["metrics"]
        told = {key: value for key, value in result.metrics.items() if key.startswith("cost/pretrain")}
        self._before = {"history": dict(result.history), "metrics": told}

    @property
    def resumed(self) -> bool:
        """Whether an earlier process began this training."""
        return self._start is not None

    @property
    def epochs(self) -> int:
        """How many have ended, in all phases."""
        return len(self.record.history.get("train/loss", ()))

    @property
    def seconds(self) -> float:
        """Of training, those of earlier processes included."""
        return time.perf_counter() - self._begun + (self._start.seconds if self._start else 0.0)

    def passed(self, number: int) -> bool:
        """Whether an earlier process did the whole phase, and another after it."""
        return self._start is not None and number < self._start.phase

    def begin(self, number: int, phase: "Phase", model: keras.Model) -> bool:
        """Enters a phase; False where an earlier process has come to its end.

        Args:
            number: of the phase, from 1.
            phase: how many epochs it has.
            model: compiled for the phase. It gets back what it was, if the earlier process ended in this phase.
        """
        state = self._start if self._start and number == self._start.phase else None
        done = state.done if state else 0
        self._number, self._first, self._length = number, self.epochs - done, phase.epochs
        if state is None:
            return True
        model.optimizer.build(model.trainable_variables)
        model.load_weights(self._path)
        for name, variable in _beside(model):
            variable.assign(state.arrays[name])
        self._memory = state
        over = done >= phase.epochs or state.stopped
        if done == 0 or over:  # Callbacks begin the next phase with what they keep from one to another.
            self.remind()
        return not over

    @property
    def last_epoch(self) -> int:
        """The epoch to stop before, as in `Model.fit`."""
        return self._first + self._length

    def remind(self) -> None:
        """Gives the callbacks back what they remembered, once; those that forget when a training begins, after that."""
        state, self._memory = self._memory, None
        for number, callback in enumerate(self._callbacks if state else ()):
            known = _unpacked(state.callbacks[number], state.arrays)
            if hasattr(callback, "set_state"):
                callback.set_state(known)
            else:
                vars(callback).update(known)

    def state(self, model: keras.Model) -> State:
        """The state at the end of an epoch, after all that the callbacks do there."""
        done = self.epochs - self._first
        memories, arrays = [], {name: variable.numpy() for name, variable in _beside(model)}
        for number, callback in enumerate(self._callbacks):
            kept = {key: _packed(value, f"callback{number}/{key}") for key, value in _memory(callback).items()}
            memories.append({key: value for key, (value, _) in kept.items() if value is not ...})
            arrays |= {name: value for _, found in kept.values() for name, value in found.items()}
        history = {key: list(values) for key, values in self.record.history.items()}
        stopped = bool(getattr(model, "stop_training", False))
        return State(max(self._number, 1), done, stopped, self.seconds, history, self._before, memories, arrays)


def _beside(model: keras.Model) -> Iterator[tuple[str, keras.Variable]]:
    """The variables that a `.keras` file lacks: of seed generators, and of updates of low rank, which it adds up."""
    weights = set(map(id, model.weights))
    for number, variable in enumerate(variable for variable in model.variables if id(variable) not in weights):
        yield f"seed{number}", variable
    for number, layer in enumerate(layer for layer in dense_layers(model) if has_lora(layer)):
        for place, variable in enumerate(layer.weights):
            yield f"lora{number}/{place}", variable


def _memory(callback: keras.callbacks.Callback) -> dict[str, Any]:
    if hasattr(callback, "get_state"):
        return callback.get_state()
    given = {"params", *inspect.signature(type(callback).__init__).parameters}
    return {key: value for key, value in vars(callback).items() if key not in given}


def _packed(value: Any, name: str) -> tuple[Any, dict[str, np.ndarray]]:
    """The value as JSON has it, and the arrays that it holds, by names that stand for them.

    It is `...` where JSON cannot have it: such things belong to the process, not to the training.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value, {}
    if isinstance(value, np.ndarray) and value.dtype != object:
        return {ARRAY: name}, {name: value.copy()}
    if isinstance(value, list | tuple):
        items = [_packed(item, f"{name}/{place}") for place, item in enumerate(value)]
        packed: Any = [item for item, _ in items]
    elif isinstance(value, dict) and all(isinstance(key, str) for key in value):
        items = [_packed(item, f"{name}/{key}") for key, item in value.items()]
        packed = dict(zip(value, [item for item, _ in items], strict=True))
    else:
        return ..., {}
    if any(item is ... for item, _ in items):
        return ..., {}
    return packed, {place: array for _, arrays in items for place, array in arrays.items()}


def _unpacked(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_unpacked(item, arrays) for item in value]
    if isinstance(value, dict):
        return arrays[value[ARRAY]] if set(value) == {ARRAY} else {k: _unpacked(v, arrays) for k, v in value.items()}
    return value
