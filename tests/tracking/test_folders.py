"""Run folders: who is at work in one, and what is said on behalf of a process that can no longer say it."""

import json
import os
import subprocess
import sys

import pytest

from kerasnn.errors import DataError
from kerasnn.tracking import folders
from kerasnn.tracking.folders import close, held, is_held, read_folder, run_folders
from kerasnn.tracking.tracker import MemoryTracker

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


def leave(folder, name="mlp", **values):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text("trainer:\n  epochs: 3\n", encoding="utf-8")
    (folder / "result.json").write_text(json.dumps({"name": name, "status": "RUNNING", **values}), encoding="utf-8")


def test_run_that_died_without_a_word_is_closed_on_its_behalf(store):
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


def test_run_that_left_nothing_is_closed_in_its_folder(tmp_path):
    close(tmp_path / "0", "seed=3", "FAILED", "it ended by exit code 1\n")
    assert json.loads((tmp_path / "0" / "result.json").read_text()) == {"name": "seed=3", "status": "FAILED"}


def test_run_that_died_before_its_record_began_is_given_one(tmp_path):
    tracker = MemoryTracker()
    close(tmp_path / "0", "seed=3", "FAILED", "it ended by signal SIGKILL\n", lambda: tracker)
    assert tracker.status == "FAILED"
    assert tracker.tagged == {"error": "it ended by signal SIGKILL"}
    assert tracker.artifacts == [(tmp_path / "0" / "killed.txt", "")]


def test_run_at_work_is_not_closed(tmp_path):
    leave(tmp_path, "mine")
    before = (tmp_path / "result.json").read_bytes()
    with held(tmp_path):  # As by another process: who asks does so through a descriptor of its own.
        close(tmp_path, "mine", "FAILED", "it ended by exit code 2\n", lambda: pytest.fail("it is recorded"))
    assert (tmp_path / "result.json").read_bytes() == before
    assert not (tmp_path / "killed.txt").exists()


def test_lock_whose_file_was_removed_holds_no_folder(tmp_path, monkeypatch):
    # One process opens the file; its owner ends, and removes it, before the lock is taken. It must be taken anew, on
    # the file that others find by its name.
    own, removed = folders.lock, []

    def slow(descriptor):
        if not removed:
            removed.append(os.fstat(descriptor).st_ino)
            (tmp_path / "run.lock").rename(tmp_path / "orphan")  # Kept, so that its number is not given out again.
        return own(descriptor)

    monkeypatch.setattr(folders, "lock", slow)
    with held(tmp_path):
        assert (tmp_path / "run.lock").stat().st_ino != removed[0]
        assert is_held(tmp_path)
        with pytest.raises(DataError, match="another process is training"), held(tmp_path):
            pass
    assert not is_held(tmp_path)


def test_folders_come_newest_first_and_copies_are_no_runs(tmp_path):
    for number, place in enumerate(("a/old", "b/new", "downloads/fetched", "artifacts/1/artifacts")):
        leave(tmp_path / place, place)
        for name in ("config.yaml", "result.json"):
            os.utime(tmp_path / place / name, (number, number))
    (tmp_path / "a" / "broken").mkdir()
    (tmp_path / "a" / "broken" / "result.json").write_text("{", encoding="utf-8")
    assert [run.name for run in run_folders(tmp_path)] == ["b/new", "a/old"]
    assert run_folders(tmp_path)[0].values == {"trainer": {"epochs": 3}}
