"""The two files that let a record survive: `tracking.jsonl`, written by the training, `tracking.state`, by the writer.

A journal line is one event. The state says how far the writer has brought the events to MLflow, so that none is applied
twice. Each file is locked by its writer while that one lives, which is how others learn that it is gone.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock

JOURNAL = "tracking.jsonl"
STATE = "tracking.state"

REFUSED = "REFUSED"
"""The status of a run that the store will never take."""

ENDED = ("FINISHED", "FAILED", "KILLED", REFUSED)


def lock(descriptor: int) -> bool:
    """Takes the file's lock without waiting; False where another process has it. It ends with this process."""
    try:
        import fcntl
    except ImportError:  # Windows has no flock: there a journal is only replayed by its own training.
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # A file system without locks.
        return True
    return True


class Journal:
    """The training's side: appends events and never raises. What the disk refuses is kept and written later.

    Args:
        folder: the run folder; it is made.
    """

    def __init__(self, folder: str | Path):
        self.path = Path(folder).absolute() / JOURNAL
        self._waiting = b""
        self._guard = Lock()
        self._descriptor: int | None = None
        self._open()

    def _open(self) -> bool:
        if self._descriptor is None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
                _claim(self._descriptor)
                _drop_torn_line(self._descriptor)
            except OSError:
                return False
        return True

    def append(self, event: Mapping[str, object]) -> bool:
        """Adds one event; False where it could not be written yet (disk full) and is kept in memory."""
        line = json.dumps(event, separators=(",", ":"), default=str).encode() + b"\n"
        with self._guard:
            self._waiting += line
            return self._open() and self._write()

    def _write(self) -> bool:
        size = os.fstat(self._descriptor).st_size
        try:
            while self._waiting:
                count = os.write(self._descriptor, self._waiting)
                self._waiting = self._waiting[count:]
                size += count
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Closes the file and gives its lock back."""
        with self._guard:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None


def _claim(descriptor: int) -> None:
    """Takes the lock; who merely asks whether a journal is abandoned holds it for an instant."""
    for _ in range(10):
        if lock(descriptor):
            return
        time.sleep(0.005)


def _drop_torn_line(descriptor: int) -> None:
    """Cuts off what a killed training left of its last line, so that the next event starts on a line of its own."""
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, 1 << 20, max(0, size - (1 << 20)))
    if tail and not tail.endswith(b"\n"):
        os.ftruncate(descriptor, size - len(tail) + tail.rfind(b"\n") + 1)


def read_events(path: Path, start: int = 0) -> Iterator[tuple[dict, int]]:
    """The events of a journal from byte `start`, each with the byte where the next one starts. A torn line is left."""
    with open(path, "rb") as file:
        file.seek(start)
        for line in file:
            if not line.endswith(b"\n"):
                return
            start += len(line)
            try:
                event = json.loads(line)
            except ValueError:  # A line that a broken disk spoiled must not hold up those after it.
                event = {"event": "unreadable"}
            yield event, start


def is_abandoned(path: Path) -> bool:
    """Whether no process is writing this journal any more."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        return lock(descriptor)
    finally:
        os.close(descriptor)


@dataclass
class State:
    """How far a journal has been applied.

    Args:
        run_id: MLflow's id of the run, None before it exists.
        uri: the store that the run is in.
        experiment_id: MLflow's id of the experiment.
        applied: number of events applied.
        offset: the byte of the journal up to which they reach.
        status: "RUNNING", or how the run ended; "REFUSED" where the store does not take it.
        error: what hindered the last attempt, in one line; None where nothing did.
    """

    run_id: str | None = None
    uri: str | None = None
    experiment_id: str | None = None
    applied: int = 0
    offset: int = 0
    status: str = "RUNNING"
    error: str | None = None

    @property
    def ended(self) -> bool:
        """Whether the run was closed."""
        return self.status in ENDED


def read_state(folder: str | Path) -> State | None:
    """The state of a run folder, None where there is none."""
    try:
        return State(**json.loads(Path(folder, STATE).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


class StateFile:
    """The writer's side of `tracking.state`: locked while it is open, replaced in one write that cannot be torn.

    Raises:
        BlockingIOError: another writer has it.
    """

    def __init__(self, folder: Path):
        self._descriptor = os.open(folder / STATE, os.O_RDWR | os.O_CREAT, 0o644)
        if not lock(self._descriptor):
            os.close(self._descriptor)
            raise BlockingIOError(f"{folder / STATE} is in another writer's hands")
        self.value = read_state(folder) or State()

    def save(self) -> None:
        """Writes `value`."""
        text = json.dumps(asdict(self.value)).encode()
        # One write in place: a new file by rename would lose the lock. Blanks cover a longer text from before.
        os.pwrite(self._descriptor, text.ljust(os.fstat(self._descriptor).st_size - 1) + b"\n", 0)

    def close(self) -> None:
        """Gives the lock back."""
        os.close(self._descriptor)
