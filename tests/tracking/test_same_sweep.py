"""The same sweep again: found by its digest, and in one process at a time."""

import os

import pytest

from kerasnn.config.schema import Tracking
from kerasnn.errors import ConfigError
from kerasnn.tracking.same_sweep import alone, digest_of, former
from kerasnn.tracking.sweep import open_sweep

SILENT = Tracking("none", None, "tests")


def test_sweep_is_run_by_one_process_at_a_time(tmp_path):
    digest = digest_of(["a", "b"])
    open_sweep(tmp_path / "day" / "mine", ["seed"], SILENT, digest)
    with alone(digest, tmp_path):  # As by another process: who asks does so through a descriptor of its own.
        with pytest.raises(ConfigError) as raised, alone(digest, tmp_path):
            pass
        with alone(digest_of(["b", "a"]), tmp_path):  # Another sweep goes on beside it.
            pass
    said = str(raised.value)
    assert said.startswith(f"this sweep is running already, as process {os.getpid()} on ")
    assert os.path.relpath(tmp_path / "day" / "mine") in said
    assert "\n" not in said
    with alone(digest, tmp_path):  # It has ended.
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["day"]


def test_lock_of_a_process_that_died_holds_nothing(tmp_path):
    digest = digest_of("mine")
    with alone(digest, tmp_path):
        (lock,) = tmp_path.iterdir()
    lock.write_text('{"process": 1, "host": "ada", "since": "a long time ago, and longer than what comes now"}')
    with (
        alone(digest, tmp_path),
        pytest.raises(ConfigError, match=f"process {os.getpid()} on"),
        alone(digest, tmp_path),
    ):
        pass


def test_sweep_is_found_by_its_digest_the_newest_first(tmp_path):
    assert former("abc", tmp_path) is None
    for number, (name, digest) in enumerate([("old", "abc"), ("new", "abc"), ("other", "abd"), ("downloads", "abc")]):
        open_sweep(tmp_path / name, ["seed"], SILENT, digest)
        os.utime(tmp_path / name / "sweep.json", (number, number))
    (tmp_path / "other" / "broken").mkdir()
    (tmp_path / "other" / "broken" / "sweep.json").write_text("{", encoding="utf-8")
    assert former("abc", tmp_path) == tmp_path / "new"
