"""The tracker that runs use: every event is appended to `tracking.jsonl`; a process of its own brings them to MLflow.

MLflow takes seconds to import and more to open a new database. Here that happens beside the training, not in it, and
when the store cannot be reached the events wait in the run folder until it can.
"""

import atexit
import contextlib
import getpass
import json
import logging
import math
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from uuid import uuid4

import numpy as np

from kerasnn.tracking.journal import REFUSED, Journal, read_state
from kerasnn.tracking.store import RUNS, artifact_root, resolve_uri
from kerasnn.tracking.tracker import NoTracker, Tracker

log = logging.getLogger(__name__)

EXAMPLE = "model_example.npz"

PATIENCE_SECONDS = 60.0
PATIENCE_IN_TROUBLE_SECONDS = 10.0  # The writer has said that the store cannot be reached: no use in waiting long.

MOST_RESTARTS = 3


def open_tracker(backend: Literal["mlflow", "none"], uri: str | None, folder: str | Path) -> Tracker:
    """The tracker that a config asks for.

    Args:
        backend: "mlflow", or "none" for no record.
        uri: the tracking URI; None takes `MLFLOW_TRACKING_URI`, else SQLite at runs/mlflow.db.
        folder: the run folder.

    Raises:
        ConfigError: a tracking URI that MLflow cannot open.
    """
    if backend == "none":
        return NoTracker()
    uri, runs = resolve_uri(uri), Path(RUNS).absolute()
    inside = Path(folder).absolute().is_relative_to(runs)
    return SpoolTracker(folder, uri, artifact_root(uri), runs if inside else Path(folder).absolute().parent)


class SpoolTracker(Tracker):
    """Records a run in `<run_dir>/tracking.jsonl` and, through the writer process, in MLflow.

    The writer is started by the constructor: made before TensorFlow is imported, the two imports overlap.
    A second `SpoolTracker` on the same folder continues the same MLflow run.

    Args:
        run_dir: the run folder.
        uri: a resolved tracking URI (`kerasnn.tracking.store.resolve_uri`).
        artifact_root: where artifacts of new experiments go, unless the store is a server.
        runs: the folder under which runs that an earlier process left unfinished are looked for, to replay them.
        patience_seconds: how long `finish` waits for MLflow to have everything.

    Example:
        >>> tracker = SpoolTracker("runs/a", uri := resolve_uri(), artifact_root(uri))
    """

    def __init__(
        self,
        run_dir: str | Path,
        uri: str,
        artifact_root: str | Path,
        runs: str | Path | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ):
        self.run_dir = Path(run_dir).absolute()
        self.uri = uri
        self.artifact_root = Path(artifact_root).absolute()
        self.patience_seconds = patience_seconds
        self._warned = False
        self._journal = Journal(self.run_dir)
        runs = Path(runs).absolute() if runs else self.artifact_root.parent
        self._opening = {"run": str(self.run_dir), "uri": uri, "artifacts": str(self.artifact_root), "runs": str(runs)}
        self._tell()

    def start(self, name, experiment, tags, params, parent=None):
        """Opens the run; `parent` is the sweep's folder."""
        self._append(
            "start",
            id=uuid4().hex,
            uri=self.uri,
            artifacts=str(self.artifact_root),
            name=name,
            experiment=experiment,
            user=_user(),
            tags=_texts(tags),
            params=_texts(params),
            parent=str(Path(parent).absolute()) if parent else None,
        )

    def metrics(self, values, step=None):
        """Appends the numbers; what is not finite is recorded as it is."""
        numbers = {}
        for name, value in values.items():
            try:
                numbers[str(name)] = float(value)
            except (TypeError, ValueError):
                self._warn(f"metric {name} is not a number and was not recorded: {value!r:.80}")
        self._append("metrics", values=numbers, step=None if step is None else int(step))

    def tags(self, values):
        """Appends the tags."""
        self._append("tags", values=_texts(values))

    def artifact(self, path, folder=""):
        """Appends the file's name; the file itself is copied soon after and must stay."""
        self._append("artifact", path=self._relative(path), folder=folder)

    def dataset(
        self, name, context, digest, source, examples, input_shape, num_classes, input_dtype="float32", label_shape=()
    ):
        """Appends the facts of one split."""
        self._append(
            "dataset",
            name=name,
            context=context,
            digest=digest,
            source=source,
            examples=int(examples),
            input_shape=[int(size) for size in input_shape],
            num_classes=int(num_classes),
            input_dtype=input_dtype,
            label_shape=[int(size) for size in label_shape],
        )

    def model(self, path, input_example, output_example, metadata=None):
        """Appends the file's name, and keeps the examples beside the journal."""
        example = self.run_dir / EXAMPLE
        try:
            np.savez(example, input=np.asarray(input_example), output=np.asarray(output_example))
        except OSError as error:
            self._warn(f"the model's examples could not be kept: {error}")
        self._append("model", path=self._relative(path), example=self._relative(example), metadata=dict(metadata or {}))

    def finish(self, status="FINISHED"):
        """Closes the run and waits, within reason, until MLflow has everything; returns MLflow's run id if it has."""
        self._append("finish", status=status)
        self._journal.close()
        done, trouble = self._wait()
        state = read_state(self.run_dir)
        if not done:
            log.warning(
                "tracking: MLflow at %s does not have everything yet (%s); nothing is lost: it is in %s and will be "
                "replayed at the next run",
                self.uri,
                trouble or (state.error if state else None) or "still writing",
                self._journal.path,
            )
        elif state and state.status == REFUSED:
            log.warning(
                "tracking: MLflow does not take this run (%s); its record is in %s", state.error, self._journal.path
            )
        return state.run_id if state else None

    def _wait(self) -> tuple[bool, str | None]:
        try:
            return _link().wait(str(self.run_dir), self._journal.path.stat().st_size, self.patience_seconds)
        except Exception as error:
            return False, repr(error)

    def _append(self, kind: str, **facts) -> None:
        try:
            if not self._journal.append({"event": kind, "time": time.time_ns() // 1_000_000, **facts}):
                self._warn(f"{self._journal.path} cannot be written now; its events are kept in memory and tried again")
        except Exception as error:  # Whatever it is, it is not worth a training.
            self._warn(f"an event could not be recorded: {error!r}")
        self._tell()

    def _tell(self) -> None:
        try:
            _link().tell(self._opening)
        except Exception as error:
            self._warn(f"the writer process cannot be reached, events wait in {self._journal.path}: {error!r}")

    def _warn(self, message: str) -> None:
        if not self._warned:  # Once is enough: a warning per step would bury the training's own lines.
            log.warning("tracking: %s", message)
        self._warned = True

    def _relative(self, path: str | Path) -> str:
        path = Path(path).absolute()
        return str(path.relative_to(self.run_dir) if path.is_relative_to(self.run_dir) else path)


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    return {str(name): str(value) for name, value in values.items()}


def _user() -> str:
    with contextlib.suppress(KeyError, OSError):  # A container may run under a number that has no name.
        return getpass.getuser()
    return "unknown"


class Link:
    """The pipe to the writer process, which is started at first use and again if it dies. Telling it never blocks."""

    def __init__(self):
        self.owner = os.getpid()
        self._process: subprocess.Popen | None = None
        self._former: list[subprocess.Popen] = []
        self._starts = 0
        self._answers = b""
        self._openings: dict[str, dict] = {}
        self._done: dict[str, int] = {}
        self._trouble: dict[str, str | None] = {}
        atexit.register(self.close)

    def tell(self, opening: dict) -> None:
        """Says that a journal has news."""
        self._openings[opening["run"]] = opening
        if self._running():
            self._send(opening)
            self._listen(0)

    def _send(self, opening: dict) -> None:
        # A full pipe is no loss: the writer then has something to wake up to, and looks at every journal.
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._process.stdin.fileno(), json.dumps(opening).encode() + b"\n")

    def wait(self, run: str, size: int, seconds: float) -> tuple[bool, str | None]:
        """Waits until all `size` bytes of the journal of `run` are applied: (whether they are, what hinders it)."""
        begin = time.monotonic()
        while self._done.get(run, -1) < size:
            limit = PATIENCE_IN_TROUBLE_SECONDS if self._trouble.get(run) else math.inf
            left = min(seconds, limit) - (time.monotonic() - begin)
            if left <= 0:
                return False, self._trouble.get(run)
            if not self._running():
                return False, "the writer process does not stay alive"
            self._listen(min(left, 1.0))
        self._openings.pop(run, None)
        return True, None

    def _listen(self, seconds: float) -> None:
        output = self._process.stdout.fileno()
        if not select.select([output], [], [], seconds)[0]:
            return
        *lines, self._answers = (self._answers + os.read(output, 1 << 16)).split(b"\n")
        for line in lines:
            answer = json.loads(line)
            if "done" in answer:
                self._done[answer["done"]] = answer["offset"]
            else:
                self._trouble[answer["trouble"]] = answer["message"]

    def _running(self) -> bool:
        if self._process is not None and self._process.poll() is None:
            return True
        if self._starts > MOST_RESTARTS:
            return False
        self._discard()
        self._starts += 1
        self._process = _start_writer()
        for opening in self._openings.values():  # A fresh writer knows of nothing yet.
            self._send(opening)
        return True

    def _discard(self) -> None:
        if self._process is not None:
            self._process.stdin.close()
            self._process.stdout.close()
            self._former.append(self._process)  # It may still be replaying; Python would complain of a lost child.
        self._process, self._answers = None, b""

    def close(self) -> None:
        """Closes the pipe: the writer takes it as the training's end, and ends when it has brought all to MLflow."""
        if self._process is None or self.owner != os.getpid():
            return
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)
        self._discard()


def _start_writer() -> subprocess.Popen:
    # The writer sees the same packages as this process, however this process came by them.
    program = f"import sys; sys.path[:] = {sys.path!r}; from kerasnn.tracking.writer import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the training; the writer still has to write how it ended.
    )
    os.set_blocking(process.stdin.fileno(), False)
    return process


_current: Link | None = None


def _link() -> Link:
    """This process' link; a forked child makes its own."""
    global _current
    if _current is None or _current.owner != os.getpid():
        _current = Link()
    return _current
