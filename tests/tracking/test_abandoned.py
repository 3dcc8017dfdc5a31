"""Runs that died without a word: closed when their process was one of this machine, left alone otherwise."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from kerasnn.tracking import abandoned
from kerasnn.tracking.journal import JOURNAL, Journal, StateFile, read_state

TRAINING = """
import sys
from kerasnn.tracking import spool
from kerasnn.tracking.process import process_tags
runs, uri, artifacts = sys.argv[1:]
far = {"host": "far-away", "process.boot": "another"}
for name, tags in {"lost": {}, "gone": {}, "away": {}, "far": far}.items():
    tracker = spool.SpoolTracker(f"{runs}/{name}", uri, artifacts)
    tracker.start(f"abandoned_{name}", "tests", process_tags() | tags, {"model": "lenet5", "seed": 3})
    tracker.metrics({"train/loss": 0.5}, step=1)
print(spool._link()._process.pid, flush=True)
input()
"""


@pytest.fixture(scope="module")
def runs(store, wait_until):
    """Four runs of one training whose process and writer were killed.

    "lost" just so; the folder of "gone" was removed; "away" had ended while the store was away; "far" was another
    machine's.
    """
    runs = store.runs / "abandoned"
    command = [sys.executable, "-c", TRAINING, str(runs), store.uri, str(store.runs / "artifacts")]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    writer = int(child.stdout.readline())
    known = [runs / name for name in ("lost", "gone", "away", "far")]
    assert wait_until(lambda: all((state := read_state(folder)) and state.applied >= 2 for folder in known), 60)
    os.kill(writer, signal.SIGKILL)  # First: it would close the runs when it saw the training end.
    child.kill()
    child.communicate()
    shutil.rmtree(runs / "gone")
    with open(runs / "away" / JOURNAL, "a") as journal:
        ended = {"event": "finish", "status": "FINISHED", "time": time.time_ns() // 1_000_000}
        journal.write(json.dumps(ended) + "\n")
    assert wait_until(lambda: len(abandoned.tidy_folders(runs, touch=False)) == 3)  # The kernel takes the locks back.
    return runs


def status(store, name: str) -> str:
    (run,) = store.find(f"abandoned_{name}")
    return run["status"]


def test_looking_changes_nothing(store, runs):
    found = {left.name: left for left in abandoned.tidy_folders(runs, touch=False)}
    states = {name: left.state for name, left in found.items()}
    assert states == {"abandoned_lost": "lost", "abandoned_away": "waiting", "abandoned_far": "elsewhere"}
    assert not any(left.done for left in found.values())
    in_store = {left.name: left.state for left in abandoned.tidy_store(store.uri, touch=False)}
    # "away" ended, which the store does not know yet; its process is dead, as the others' is.
    assert {name: in_store[f"abandoned_{name}"] for name in ("lost", "gone", "away", "far")} == {
        "lost": "lost", "gone": "lost", "away": "lost", "far": "elsewhere",
    }  # fmt: skip
    assert {status(store, name) for name in ("lost", "gone", "away", "far")} == {"RUNNING"}


def test_dead_runs_are_closed_and_others_left_alone(store, runs):
    found = {left.name: left for left in abandoned.tidy_folders(runs)}
    assert found["abandoned_lost"].done
    assert found["abandoned_away"].done
    assert found["abandoned_far"].note == "far-away"
    assert not found["abandoned_far"].done
    in_store = {left.name: left for left in abandoned.tidy_store(store.uri) if left.name.startswith("abandoned_")}
    # What the folders told is closed already; the removed one is known to the store alone.
    assert {name: left.done for name, left in in_store.items()} == {"abandoned_gone": True, "abandoned_far": False}
    assert [status(store, name) for name in ("lost", "gone", "away", "far")] == [
        "KILLED", "KILLED", "FINISHED", "RUNNING",
    ]  # fmt: skip
    (lost,) = store.find("abandoned_lost")
    assert lost["end_time"] >= lost["start_time"]
    assert store.history(lost["run_id"], "train/loss") == [(1, 0.5)]
    # A second look finds nothing to do.
    assert [left.name for left in abandoned.tidy_folders(runs)] == ["abandoned_far"]


def test_run_that_a_writer_has_in_its_hands_is_left_to_it(store):
    folder = store.runs / "abandoned_busy" / "ended"
    journal = Journal(folder)
    journal.append({"event": "start", "name": "ended", "tags": {}})
    journal.append({"event": "finish", "status": "FINISHED"})
    journal.close()
    writer = StateFile(folder)
    assert abandoned.tidy_folders(folder.parent) == []
    writer.close()
    (found,) = abandoned.tidy_folders(folder.parent, touch=False)
    assert (found.name, found.state) == ("ended", "waiting")
    shutil.rmtree(folder)


def test_run_that_lives_is_not_mentioned(store):
    from kerasnn.tracking.process import process_tags

    tracker = store.tracker("abandoned_not/alive")
    tracker.start("abandoned_not", "tests", process_tags(), {})
    try:
        assert abandoned.tidy_folders(store.runs / "abandoned_not") == []
        assert not [left for left in abandoned.tidy_store(store.uri) if left.name == "abandoned_not"]
    finally:
        tracker.finish()
    assert status(store, "not") == "FINISHED"
