"""How a run ended whose process died before it could say so: the one rule, and the writing down, for all who find it.

MLflow's words are FAILED for a run that an error ended, and KILLED for one that was stopped from outside. So

- who saw the process end by itself, and not well, says FAILED: an exit code, SIGSEGV, SIGKILL from a kernel that wants
  memory. Only a sweep's launcher sees that.
- who saw it end because it was asked to (Ctrl-C, SIGTERM) says KILLED.
- who merely finds it gone, and knows nothing of why, says KILLED: the writer beside a training, the next training,
  `kerasnn doctor`.
"""

import signal
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasnn.tracking.folders import RESULT, events, is_held, read_result, starts, write_result
from kerasnn.tracking.journal import read_state

if TYPE_CHECKING:
    from kerasnn.tracking.tracker import Status, Tracker

VANISHED: "Status" = "KILLED"
"""The status of a run that is found without its process."""

REASON = "killed.txt"
"""The artifact that tells how a process died, where somebody saw it."""

BLANK = {
    "name": "",
    "choices": {},
    "seed": None,
    "status": VANISHED,
    "metrics": {},
    "history": {},
    "hashes": {},
    "facts": {},
    "run_id": None,
    "digest": "",
}
"""A result (`kerasnn.training.result`) of which nothing is known. Its digest only a run that began its training says:
by that it can be gone on with."""

NO_CHOICES = ("seed", "name", "resume", "from", "finetune")
"""Parameters without a dot that are keys of a config, and no choices in its groups."""

ASKING = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))


def status_of(code: int | None, asked: bool = False) -> "Status":
    """How a run ended whose process did not say so.

    Args:
        code: the process' exit code, below 0 the number of a signal; None where nobody saw it.
        asked: whether it was asked to end, which it may have done in any way.

    Example:
        >>> status_of(-signal.SIGSEGV), status_of(-signal.SIGTERM), status_of(None)
        ('FAILED', 'KILLED', 'KILLED')
    """
    if code is None:
        return VANISHED
    # A program that ends in order at a signal returns 128 and the signal's number, as shells have it.
    return "KILLED" if asked or code in {sign for one in ASKING for sign in (-one, 128 + one)} else "FAILED"


def say(path: Path, name: str, status: "Status") -> None:
    """Writes a run's result on behalf of its process: what it said before, and what its journal and record tell.

    Args:
        path: the run's folder.
        name: the run's, where its folder does not say.
        status: how it ended.
    """
    state = read_state(path)
    told = {"run_id": state.run_id if state else None, **_told(events(path))}
    told = {key: value for key, value in told.items() if value != BLANK[key]}
    write_result(path / RESULT, {**BLANK, "name": name, **read_result(path), **told, "status": status})


def close(path: Path, name: str, status: "Status", reason: str, begin: Callable[[], "Tracker"] | None = None) -> None:
    """Says of a run whose process can no longer do so how it ended: in its folder and, where it is recorded, in MLflow.

    A folder in which a process is at work is left to that.

    Args:
        path: the run's folder.
        name: the run's, where its folder does not say.
        status: how it ended, by `status_of`.
        reason: kept as the artifact `killed.txt`, such as the end of its log.
        begin: starts the record of a run that died before it did so itself; without, it gets none.
    """
    if is_held(path):
        return
    path.mkdir(parents=True, exist_ok=True)
    say(path, name, status)
    (path / REASON).write_text(reason, encoding="utf-8")
    if begun := starts(path):
        from kerasnn.tracking.spool import SpoolTracker  # Imports NumPy, which an answer to a typo must not wait for.

        tracker = SpoolTracker(path, begun[0]["uri"], begun[0]["artifacts"])
    elif begin:
        tracker = begin()
    else:
        return
    tracker.artifact(path / REASON)
    tracker.tags({"error": reason.splitlines()[0] if reason else status})
    tracker.finish(status)


def _told(journal: Iterable[Mapping]) -> dict[str, Any]:
    """What a journal tells (`kerasnn.tracking.journal`) of a result (`kerasnn.training.result`)."""
    result: dict[str, Any] = {"metrics": {}, "hashes": {}}
    history: dict[str, dict[int, float]] = {}
    for event in journal:
        match event["event"]:
            case "start":
                params = event["params"]
                choices = {key: value for key, value in params.items() if key not in NO_CHOICES and "." not in key}
                seed = int(params["seed"]) if "seed" in params else None
                result |= {"name": event["name"], "choices": choices, "seed": seed}
            case "metrics" if event["step"] is None:
                result["metrics"] |= event["values"]
            case "metrics":
                # A resumed run tells the epochs after its checkpoint twice: the later hold.
                for name, value in event["values"].items():
                    history.setdefault(name, {})[event["step"]] = value
            case "tags":
                told = {key: value for key, value in event["values"].items() if key.startswith("hash.")}
                result["hashes"] |= {key.removeprefix("hash."): value for key, value in told.items()}
    return {**result, "history": {name: [values[step] for step in sorted(values)] for name, values in history.items()}}
