"""Runs that nobody will end any more: their process died without a word, and so did the one that writes to MLflow.

A training that dies alone is closed by its writer, and what a writer leaves is replayed by the next training. Here both
are done for whoever asks, and also for runs whose folder is gone. A run of another machine is never touched.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kerasnn.tracking.ending import VANISHED
from kerasnn.tracking.folders import WORK, RunFolder, events, run_folders, starts
from kerasnn.tracking.journal import STATE, StateFile, read_state
from kerasnn.tracking.process import HOST, verdict


@dataclass(frozen=True)
class Left:
    """A run that was found open, or not all of it in the store.

    Args:
        name: the run's name.
        run_id: MLflow's, None where no store has seen it.
        folder: the run's, None where it is not known.
        state: "lost", its process died; "waiting", it ended, and the store does not have all of it; "elsewhere", it
            belongs to another machine; "unknown", nothing says whose it is.
        done: whether it is now closed and all in the store.
        note: the machine it belongs to, or what hindered.
    """

    name: str
    run_id: str | None
    folder: Path | None
    state: Literal["lost", "waiting", "elsewhere", "unknown"]
    done: bool = False
    note: str = ""


def tidy_folders(runs: str | Path, touch: bool = True) -> list[Left]:
    """Brings what lies in run folders below `runs` to the store, and closes those whose process died.

    Args:
        runs: the folder of all runs.
        touch: False only looks.
    """
    from kerasnn.tracking.writer import left_over

    return [found for folder in left_over(runs) if (found := _tidy(folder, touch))]


def tidy_store(uri: str, touch: bool = True) -> list[Left]:
    """Closes the runs in the store that are RUNNING and whose process, one of this machine, is dead.

    Raises:
        DataError: the store cannot be read.
    """
    from kerasnn.tracking.mlflow import read_runs

    running = [run for run in read_runs(uri) if run["status"] == "RUNNING"]
    return [found for run in running if (found := _close(uri, run, touch))]


def _tidy(folder: Path, touch: bool) -> Left | None:
    from kerasnn.tracking.writer import replay

    begun = starts(folder)
    if not begun:
        return None  # A training that was killed before it began; there is nothing to tell.
    name, tags, before = begun[-1]["name"], begun[-1]["tags"], read_state(folder)
    run_id = before.run_id if before else None
    whose = verdict(tags)
    if whose == "alive" or _being_written(folder):  # On a disk without locks, every journal looks abandoned.
        return None
    if whose == "elsewhere":
        return Left(name, run_id, folder, "elsewhere", note=tags.get(HOST, ""))
    state = "waiting" if has_ended(folder) else "lost"
    if not touch:
        return Left(name, run_id, folder, state)
    done = replay(folder)
    after = read_state(folder)
    trouble = (after.error if after else None) or "the store does not answer"
    return Left(name, after.run_id if after else run_id, folder, state, done, "" if done else trouble)


def _being_written(folder: Path) -> bool:
    """Whether a writer is just bringing the run to the store, as it does for a while after its training."""
    if not (folder / STATE).exists():
        return False
    try:
        StateFile(folder).close()
    except BlockingIOError:
        return True
    return False


def has_ended(folder: Path) -> bool:
    """Whether the run in a folder said itself how it ended."""
    last = None
    for event in events(folder):
        last = event["event"]
    return last == "finish"


def unsaid(runs: str | Path) -> list[RunFolder]:
    """Runs of this machine whose folder says RUNNING though nobody is at work in it: no result was written any more."""
    found = [folder for folder in run_folders(runs) if folder.status == "RUNNING" and not folder.at_work]
    return [folder for folder in found if (folder.path / WORK).exists() and _is_ours(folder.path)]


def _is_ours(folder: Path) -> bool:
    """Where nothing is recorded, the lock that its process left behind has to do."""
    begun = starts(folder)
    return not begun or verdict(begun[-1]["tags"]) in ("dead", "unknown")


def _close(uri: str, run: dict, touch: bool) -> Left | None:
    from kerasnn.tracking.mlflow import Recorder

    whose = verdict(run["tags"])
    if whose == "alive":
        return None
    if whose != "dead":
        return Left(run["name"], run["run_id"], None, whose, note=run["tags"].get(HOST, ""))
    if touch:
        recorder = Recorder(uri, "", Path())
        recorder.run_id = run["run_id"]
        recorder.end(VANISHED, time.time_ns() // 1_000_000)
    return Left(run["name"], run["run_id"], None, "lost", done=touch)
