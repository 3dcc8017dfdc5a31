"""The writer process: brings events from journals to MLflow while the training goes on, and replays what was left over.

It reads one JSON line per piece of news on stdin, and answers `{"done": run, …}` or `{"trouble": run, …}` on stdout;
it ends when stdin does: either everything is written then, or it waits in the run folders for the next writer.
"""

import json
import logging
import os
import select
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from kerasnn.tracking.ending import VANISHED
from kerasnn.tracking.journal import JOURNAL, REFUSED, StateFile, is_abandoned, read_events, read_state
from kerasnn.tracking.mlflow import Recorder, connect
from kerasnn.tracking.refusal import Refused

log = logging.getLogger(__name__)

LOG = "tracking.log"
DEPTH = 4  # runs/<date>/<sweep>/<child>, and one to spare.
BATCH = 200  # Events per call: at ten metrics an event, well above a training's pace, and short to repeat.
LONGEST_PAUSE_SECONDS = 5.0
AFTERLIFE_SECONDS = 60.0  # How long to go on trying when the training has ended.
PARENT_PATIENCE_SECONDS = 60.0


class Waiting(Exception):
    """Something that will be there later is not there yet, such as the parent's run."""


class Delivery:
    """One run folder's events on their way to MLflow.

    Args:
        folder: the run folder.
        fallback: the opening message of the live training, whose store is tried for a run that no store has seen yet.
    """

    def __init__(self, folder: Path, fallback: dict | None = None):
        self.folder = folder
        self.journal = folder / JOURNAL
        self.fallback = fallback
        self.news = True
        self.retry_at = 0.0
        self.failures = 0
        self.trouble: str | None = None
        self.since = time.monotonic()
        self._state: StateFile | None = None
        self._recorder: Recorder | None = None

    @property
    def state(self):
        """What is known of the journal so far, None before it could be opened."""
        return self._state.value if self._state else None

    @property
    def complete(self) -> bool:
        """Whether the run is closed and all its events are applied."""
        if self.state is None or not self.state.ended:
            return False
        try:
            return self.state.offset == self.journal.stat().st_size
        except OSError:  # The user has removed the run folder: there is nothing more to bring.
            return True

    def advance(self) -> None:
        """Applies what is new, if it is time to; a failure is kept in `trouble` and tried again later."""
        if not self.news or time.monotonic() < self.retry_at:
            return
        try:
            while self._step():
                pass
            self.news, self.failures, self.trouble = False, 0, None
        except Exception as error:
            trouble, self.trouble = self.trouble, _one_line(error)
            self.failures += 1
            if self.trouble != trouble and not isinstance(error, Waiting | BlockingIOError):
                log.warning("%s: attempt %d: %s", self.folder, self.failures, self.trouble)
            self.retry_at = time.monotonic() + min(0.2 * 2**self.failures, LONGEST_PAUSE_SECONDS)
            self._note(self.trouble)

    def _step(self) -> bool:
        """Applies one batch; False when there was none."""
        if not self.journal.exists():
            return False
        if self._state is None:
            self._state = StateFile(self.folder)
        state = self._state.value
        batch = _take(read_events(self.journal, state.offset), BATCH)
        if not batch:
            return False
        self._recorder = self._recorder or self._open()
        if state.run_id and self._recorder.run_id is None and not self._recorder.resume(state.run_id):
            # The database was removed or replaced since: everything is told again, from the journal's first line.
            state.run_id, state.applied, state.offset = None, 0, 0
            return True
        for group in _groups(batch):
            self._apply([event for event, _ in group])
            state.run_id, state.experiment_id = self._recorder.run_id, self._recorder.experiment_id
            state.applied += len(group)
            state.offset = group[-1][1]
            self._state.save()
        return True

    def _apply(self, events: list[dict]) -> None:
        """Brings events to MLflow, or passes over them where it has refused their run."""
        state = self._state.value
        if state.status == REFUSED and events[0]["event"] != "start":
            return
        try:
            for refused in self._recorder.apply(events, self._parent):
                log.warning("%s: MLflow does not take %s", self.folder, refused)
        except Refused as error:
            log.warning("%s: MLflow will never take this run: %s", self.folder, error)
            state.status, state.error = REFUSED, str(error)[:200]
            return
        state.uri, state.error = self._recorder.uri, None
        state.status = events[-1]["status"] if events[-1]["event"] == "finish" else "RUNNING"

    def _open(self) -> Recorder:
        state = self._state.value
        start = next(event for event, _ in read_events(self.journal) if event["event"] == "start")
        try:
            recorder = Recorder(state.uri or start["uri"], start["artifacts"], self.folder)
        except Exception:
            if state.run_id or not self.fallback or self.fallback["uri"] == start["uri"]:
                raise
            recorder = Recorder(self.fallback["uri"], self.fallback["artifacts"], self.folder)
        return recorder

    def _parent(self, folder: str) -> str | None:
        parent = read_state(folder)
        if parent and (parent.run_id or parent.status == REFUSED):
            return parent.run_id
        if time.monotonic() - self.since < PARENT_PATIENCE_SECONDS and Path(folder, JOURNAL).exists():
            raise Waiting(f"the sweep in {folder} has no run yet")
        return None

    def kill(self) -> None:
        """Closes a run whose training ended without a word, such as by SIGKILL."""
        if self.trouble or not self.state or not self.state.run_id or self.state.ended:
            return
        try:
            self._recorder = self._recorder or self._open()
            self._recorder.run_id = self.state.run_id
            self._recorder.end(VANISHED, self.journal.stat().st_mtime_ns // 1_000_000)
            self.state.status = VANISHED
            self._state.save()
        except Exception as error:
            self.failures += 1
            log.warning("%s: could not be marked as killed: %s", self.folder, _one_line(error))

    def _note(self, error: str) -> None:
        if self._state:
            self._state.value.error = error
            self._state.save()

    def close(self) -> None:
        """Gives the state file back."""
        if self._state:
            self._state.close()
            self._state = None


def _take(events: Iterator, count: int) -> list:
    return [pair for pair, _ in zip(events, range(count), strict=False)]


def _groups(batch: list) -> Iterator[list]:
    """Runs of numbers and tags go together, as one call; every other event goes alone."""
    group = []
    for pair in batch:
        if pair[0]["event"] not in ("metrics", "tags"):
            if group:
                yield group
            group = []
            yield [pair]
        else:
            group.append(pair)
    if group:
        yield group


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


class Writer:
    """The process' loop: one delivery after the other, the live training's runs before the left-over ones."""

    def __init__(self, source: int, answers: int):
        self._source = source
        self._answers = answers
        self._text = b""
        self._deliveries: dict[str, Delivery] = {}
        self._told: dict[str, object] = {}
        self._left_over: list[Path] | None = None
        self._opening: dict | None = None

    @property
    def folder(self) -> Path | None:
        """The run folder of the live training, None before the first news."""
        return Path(self._opening["run"]) if self._opening else None

    def run(self) -> None:
        """Serves until the training ends, then brings what is left to MLflow, within `AFTERLIFE_SECONDS`."""
        while self._listen():
            self._advance()
        deadline = time.monotonic() + AFTERLIFE_SECONDS
        while time.monotonic() < deadline and any(delivery.news for delivery in self._deliveries.values()):
            self._advance()
            time.sleep(0.05)
        for delivery in self._deliveries.values():
            delivery.kill()
        while time.monotonic() < deadline and self._replay_one():
            pass

    def _listen(self) -> bool:
        """Waits for news, for the time of the next attempt, or not at all while there is replaying to do."""
        if not select.select([self._source], [], [], self._pause())[0]:
            return True
        text = os.read(self._source, 1 << 16)
        *lines, self._text = (self._text + text).split(b"\n")
        for opening in map(json.loads, lines):
            self._opening = opening
            if opening["run"] not in self._deliveries:
                self._deliveries[opening["run"]] = Delivery(Path(opening["run"]), opening)
        for delivery in self._deliveries.values():
            delivery.news = True
        return bool(text)

    def _pause(self) -> float | None:
        waiting = [delivery.retry_at for delivery in self._deliveries.values() if delivery.news]
        if waiting:
            return max(0.0, min(waiting) - time.monotonic())
        return 0.0 if self._replay_one() else None

    def _advance(self) -> None:
        if self._opening and self._left_over is None:
            _warm(self._opening)
        for run, delivery in list(self._deliveries.items()):
            delivery.advance()
            if delivery.complete and not delivery.news:
                offset = delivery.state.offset
                delivery.close()  # First: who hears that it is done may want the state file.
                del self._deliveries[run]
                self._answer({"done": run, "offset": offset})
            elif delivery.trouble != self._told.get(run):
                self._told[run] = delivery.trouble
                self._answer({"trouble": run, "message": delivery.trouble})

    def _answer(self, answer: dict) -> None:
        with suppress(OSError):  # Nobody reads it: the training is gone, or far too busy to care.
            os.write(self._answers, json.dumps(answer).encode() + b"\n")

    def _replay_one(self) -> bool:
        """Replays one run that an earlier process left unfinished; False when there is none (any more)."""
        if not self._opening:
            return False
        if self._left_over is None:
            self._left_over = [
                folder for folder in left_over(self._opening["runs"]) if str(folder) not in self._deliveries
            ]
        if not self._left_over:
            return False
        with suppress(OSError):  # The folder may have been removed since it was found.
            replay(self._left_over.pop(), self._opening)
        return True


def left_over(runs: str | Path) -> list[Path]:
    """Run folders below `runs` with events that no living process is going to bring to MLflow."""
    if not Path(runs).is_dir():
        return []
    tops = [top for top in Path(runs).iterdir() if top.is_dir() and top.name != "artifacts"]
    journals = [journal for top in tops for depth in range(DEPTH) for journal in top.glob("*/" * depth + JOURNAL)]
    found = []
    for journal in journals:
        state, size = read_state(journal.parent), journal.stat().st_size
        if size and not (state and state.ended and state.offset == size) and is_abandoned(journal):
            found.append(journal.parent)
    return found


def replay(folder: Path, fallback: dict | None = None) -> bool:
    """Brings a left-over run to MLflow, closed as `VANISHED` where its training did not say how it ended."""
    delivery = Delivery(folder, fallback)
    try:
        delivery.advance()
        delivery.kill()
        return delivery.complete
    finally:
        delivery.close()


def _warm(opening: dict) -> None:
    """Imports MLflow and opens the store before the first event, while the training is still importing TensorFlow."""
    try:
        connect(opening["uri"])
    except Exception as error:  # The first event will meet it again, and say so.
        log.warning("%s: %s", opening["uri"], _one_line(error))


class _FirstRunLog(logging.Handler):
    """Writes warnings to `tracking.log` in the folder of the live run; no warning, no file."""

    def __init__(self, writer: Writer):
        super().__init__(logging.WARNING)
        self._writer = writer
        self.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Appends one line."""
        folder = self._writer.folder
        if folder:
            with open(folder / LOG, "a", encoding="utf-8") as file:
                file.write(self.format(record) + "\n")


def main() -> None:
    """The process' entry: stdin brings news, stdout takes answers, warnings go to `tracking.log` in the run folder."""
    answers = os.dup(1)
    os.dup2(2, 1)  # Whatever a library prints must not be taken for an answer.
    os.set_blocking(answers, False)
    writer = Writer(0, answers)
    logging.getLogger("kerasnn").addHandler(_FirstRunLog(writer))
    try:
        writer.run()
    except Exception:
        log.exception("the writer ends")
        os._exit(1)
    os._exit(0)  # Everything is written: no need to wait for libraries to tidy up.
