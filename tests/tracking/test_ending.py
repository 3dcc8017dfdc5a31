"""How a run ended whose process could not say so: the rule, and what is written on its behalf."""

import json
import signal
import subprocess
import sys
from dataclasses import asdict

import pytest

from kerasnn.config import schema
from kerasnn.config.folders import groups
from kerasnn.errors import DataError
from kerasnn.tracking.ending import BLANK, NO_CHOICES, close, say, status_of
from kerasnn.tracking.folders import held, read_folder, read_result
from kerasnn.tracking.journal import Journal
from kerasnn.tracking.tracker import MemoryTracker
from kerasnn.training.result import Result

DIES = """
import os, signal, sys
from pathlib import Path
from kerasnn.tracking.folders import held
from kerasnn.tracking.spool import SpoolTracker
from kerasnn.tracking.store import artifact_root
folder, uri = Path(sys.argv[1]), sys.argv[2]
tracker = SpoolTracker(folder, uri, artifact_root(uri))
tracker.start("out of memory", "tests", {}, {"model": "gpt3"})
with held(folder):
    print("at work", flush=True)
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("code", "asked", "status"),
    [
        # An error of its own, a crash, the kernel's want of memory.
        (1, False, "FAILED"),
        (-signal.SIGSEGV, False, "FAILED"),
        (-signal.SIGKILL, False, "FAILED"),
        # Stopped from outside; after that it may have died in any way.
        (-signal.SIGTERM, False, "KILLED"),
        (128 + signal.SIGINT, False, "KILLED"),
        (-signal.SIGKILL, True, "KILLED"),
        # Nobody saw it.
        (None, False, "KILLED"),
    ],
)
def test_error_failed_a_run_and_what_came_from_outside_killed_it(code, asked, status):
    assert status_of(code, asked) == status


def test_run_that_died_without_a_word_is_closed_on_its_behalf(store, leave):
    folder = store.runs / "oom"
    leave(folder, "out of memory", digest="abc")
    child = subprocess.Popen(
        [sys.executable, "-c", DIES, str(folder), store.uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout.readline() == "at work\n"
        assert read_folder(folder).at_work
        with pytest.raises(DataError, match="another process is training in"), held(folder):
            pass
        child.communicate("die\n")
    assert not read_folder(folder).at_work
    close(folder, "unused", "FAILED", "it ended by signal SIGKILL\n\nepoch 1/3\n")
    found = read_folder(folder)
    assert (found.name, found.status, found.digest) == ("out of memory", "FAILED", "abc")
    (run,) = store.find("out of memory")
    assert (run["status"], run["run_id"]) == ("FAILED", found.run_id)
    assert run["tags"]["error"] == "it ended by signal SIGKILL"
    assert [file.path for file in store.client.list_artifacts(run["run_id"])] == ["killed.txt"]
    again = store.tracker("oom")  # Resumed, it is no run that ended by an error any more.
    again.start("out of memory", "tests", {}, {"model": "gpt3"})
    again.finish()
    (run,) = store.find("out of memory")
    assert (run["run_id"], run["status"], run["tags"].get("error")) == (found.run_id, "FINISHED", None)


def test_run_that_left_nothing_is_closed_in_its_folder(tmp_path):
    close(tmp_path / "0", "seed=3", "FAILED", "it ended by exit code 1\n")
    assert json.loads((tmp_path / "0" / "result.json").read_text()) == BLANK | {"name": "seed=3", "status": "FAILED"}


def test_result_that_is_written_on_a_runs_behalf_has_what_a_result_has():
    own = asdict(Result("", {}, 0))
    assert set(own) == set(BLANK)
    differ = {key for key in own if own[key] != BLANK[key]}
    assert differ == {"seed", "status"}  # Nobody knows the one; the other is why it is written.
    assert set(schema.defaults()) - set(groups()) == set(NO_CHOICES)


def test_run_that_died_before_its_record_began_is_given_one(tmp_path):
    tracker = MemoryTracker()
    close(tmp_path / "0", "seed=3", "FAILED", "it ended by signal SIGKILL\n", lambda: tracker)
    assert tracker.status == "FAILED"
    assert tracker.tagged == {"error": "it ended by signal SIGKILL"}
    assert tracker.artifacts == [(tmp_path / "0" / "killed.txt", "")]


def test_run_at_work_is_not_closed(tmp_path, leave):
    leave(tmp_path, "mine")
    before = (tmp_path / "result.json").read_bytes()
    with held(tmp_path):  # As by another process: who asks does so through a descriptor of its own.
        close(tmp_path, "mine", "FAILED", "it ended by exit code 2\n", lambda: pytest.fail("it is recorded"))
    assert (tmp_path / "result.json").read_bytes() == before
    assert not (tmp_path / "killed.txt").exists()


def test_what_the_journal_tells_is_in_the_result_whoever_closes_the_run(tmp_path, monkeypatch, leave):
    monkeypatch.setattr("kerasnn.tracking.spool.SpoolTracker", lambda *_: MemoryTracker())
    for name in ("seen", "found"):
        leave(tmp_path / name, "mlp", digest="abc", facts={"input": "pictures"})
        journal, store = Journal(tmp_path / name), {"uri": "-", "artifacts": "-"}
        params = {"model": "mlp", "seed": "0", "trainer.epochs": "3", "from": "mine"}
        journal.append({"event": "start", "name": "mlp", "params": params, **store})
        journal.append({"event": "metrics", "values": {"train/loss": float("nan")}, "step": 1})
        journal.close()
        (tmp_path / name / "tracking.state").write_text('{"run_id": "77"}')
    close(tmp_path / "seen", "unused", "FAILED", "it ended by exit code 1\n")
    say(tmp_path / "found", "unused", "KILLED")
    told = BLANK | {"name": "mlp", "digest": "abc", "run_id": "77", "facts": {"input": "pictures"}}
    told |= {"choices": {"model": "mlp"}, "seed": 0, "history": {"train/loss": [None]}}
    assert read_result(tmp_path / "seen") == told | {"status": "FAILED"}
    assert read_result(tmp_path / "found") == told | {"status": "KILLED"}
