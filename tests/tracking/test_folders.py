"""Run folders: what each holds, and who is at work in one."""

import os

import pytest

from kerasnn.errors import DataError
from kerasnn.tracking import folders
from kerasnn.tracking.folders import held, is_held, run_folders


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


def test_folders_come_newest_first_and_copies_are_no_runs(tmp_path, leave):
    for number, place in enumerate(("a/old", "b/new", "downloads/fetched", "artifacts/1/artifacts")):
        leave(tmp_path / place, place)
        for name in ("config.yaml", "result.json"):
            os.utime(tmp_path / place / name, (number, number))
    (tmp_path / "a" / "broken").mkdir()
    (tmp_path / "a" / "broken" / "result.json").write_text("{", encoding="utf-8")
    assert [run.name for run in run_folders(tmp_path)] == ["b/new", "a/old"]
    assert run_folders(tmp_path)[0].values == {"trainer": {"epochs": 3}}
