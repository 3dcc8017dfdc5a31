"""The launcher: devices are leased to one run at a time, failures are told, and a sweep goes on where it was."""

import os
import re
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from commands import check_command, commands

from hydra_plugins.kerasnn_launcher import devices as found
from hydra_plugins.kerasnn_launcher.devices import Devices, find_devices
from hydra_plugins.kerasnn_launcher.pool import Job, Pool
from kerasnn.config.compose import check
from kerasnn.errors import ConfigError, DeviceError
from kerasnn.tracking.folders import run_folders
from kerasnn.tracking.mlflow import read_runs

TWO = Devices(("a", "b"))


def jobs(folder: Path, count: int, script: str, **options) -> list[Job]:
    """Jobs that run a shell script, in which $1 is the job's number."""
    return [
        Job(number, f"job {number}", folder / str(number), ["sh", "-c", script, "sh", str(number)], **options)
        for number in range(count)
    ]


@pytest.mark.parametrize(("need", "most"), [(1, 2), (2, 1)])
def test_no_device_has_two_runs_at_a_time(tmp_path, need, most):
    log = tmp_path / "log"
    script = f'echo "begin $CUDA_VISIBLE_DEVICES" >>{log}; sleep 0.2; echo "end $CUDA_VISIBLE_DEVICES" >>{log}'
    Pool(TWO).run(jobs(tmp_path, 5, script, need=need))
    lines = [line.split() for line in log.read_text().splitlines()]
    at_work, peak = set(), 0
    for word, names in lines:
        taken = set(names.split(","))
        assert len(taken) == need
        assert at_work.isdisjoint(taken) if word == "begin" else taken <= at_work
        at_work = at_work | taken if word == "begin" else at_work - taken
        peak = max(peak, len(at_work) // need)
    assert len(lines) == 10
    assert peak == most


@pytest.mark.parametrize(
    ("on_error", "attempts"),
    [
        # Job 1 fails at its first attempt, and would succeed at its second.
        ("continue", [1, 1, 1, 1]),
        ("retry", [1, 2, 1, 1]),
        ("stop", [1, 1, 0, 0]),
    ],
)
def test_failure_means_what_was_asked_for(tmp_path, on_error, attempts):
    script = f'test "$1" != 1 || {{ test -e {tmp_path}/tried || {{ touch {tmp_path}/tried; echo no; exit 3; }}; }}'
    made, finals = jobs(tmp_path, 4, script), []
    Pool(Devices(("a",)), on_error, retries=2, ended=lambda job, final: finals.append((job.number, final))).run(made)
    assert [job.attempts for job in made] == attempts
    assert made[1].code == (0 if on_error == "retry" else 3)
    assert ((1, False) in finals) == (on_error == "retry")
    assert made[1].log.read_text() == "no\n"


def test_interruption_ends_what_is_at_work_and_begins_nothing_more(tmp_path):
    made = jobs(tmp_path, 3, "exec sleep 60")

    def began(job):
        if job.number == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Pool(TWO, "retry", began=began).run(made)
    assert [(job.attempts, job.code, job.stopped) for job in made] == [
        (1, -signal.SIGTERM, True), (1, -signal.SIGTERM, True), (0, None, False),
    ]  # fmt: skip


def test_devices_are_those_of_the_environment_or_of_nvidia_smi(tmp_path, monkeypatch):
    cores = len(os.sched_getaffinity(0))
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H100 (UUID: GPU-1)'; echo 'GPU 1: NVIDIA H100 (UUID: GPU-2)'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert find_devices("auto", 1, {}) == Devices(("0", "1"))
    assert find_devices(1, 1, {}) == Devices(("0",))
    assert find_devices("auto", 1, {"CUDA_VISIBLE_DEVICES": "3, 5"}) == Devices(("3", "5"))
    assert find_devices(["GPU-2"], 1, {}) == Devices(("GPU-2",))
    # Hidden, or not wanted: two runs share the cores.
    for asked, environment in (("auto", {"CUDA_VISIBLE_DEVICES": ""}), ([], {})):
        shares = find_devices(asked, 2, environment)
        assert shares == Devices(("1", "2"), max(1, cores // 2))
        assert shares.environment(["2"])["TF_NUM_INTRAOP_THREADS"] == str(max(1, cores // 2))
        assert shares.environment(["2"])["CUDA_VISIBLE_DEVICES"] == "-1"
    with pytest.raises(DeviceError, match=r"hydra.launcher.devices=4, but there are 2 GPUs"):
        find_devices(4, 1, {})
    with pytest.raises(ConfigError, match="names a device twice"):
        find_devices([0, 0], 1, {})
    with pytest.raises(ConfigError, match="must be auto, a number of GPUs, or a list"):
        find_devices("all", 1, {})
    monkeypatch.setattr(found.subprocess, "run", lambda *_, **__: (_ for _ in ()).throw(FileNotFoundError()))
    assert not find_devices("auto", 1, {}).are_gpus


def test_setting_that_the_launcher_does_not_have_is_refused():
    assert check(["hydra/launcher=kerasnn", "hydra.launcher.on_error=retry", "hydra.launcher.devices=[0,1]"])
    with pytest.raises(ConfigError, match="on_eror"):
        check(["hydra/launcher=kerasnn", "hydra.launcher.on_eror=retry"])


def sweep(folder: Path, *further: str) -> subprocess.CompletedProcess:
    """Three cells on two devices that are names alone: the machine's CPU does the work."""
    words = ["-m", "model=mlp", "model.hidden_widths=[8]", "trainer.epochs=1", "optimizer=sgd"]
    words += ["optimizer.learning_rate=0.01,1e30,0.02", "hydra/launcher=kerasnn", "hydra.launcher.devices=[a,b]"]
    return subprocess.run(
        [sys.executable, "-m", "kerasnn", *words, *further],
        cwd=folder, capture_output=True, text=True, check=False, timeout=300, env={**os.environ, "COLUMNS": "80"},
    )  # fmt: skip


def test_sweep_goes_on_past_a_failure_and_its_restart_does_only_what_is_left(tmp_path):
    first = sweep(tmp_path)
    assert first.returncode == 1, first.stderr
    begun = re.findall(r"run (\d) (begins|finished|failed) on GPU ([ab])", first.stderr)
    assert [(number, word) for number, word, _ in begun[:2]] == [("0", "begins"), ("1", "begins")]
    for device in "ab":
        words = [word for _, word, name in begun if name == device]
        assert all((one == "begins") != (next == "begins") for one, next in pairwise(words))
    assert "the loss became" in first.stderr
    assert max(map(len, first.stdout.splitlines())) <= 80
    rows = {row["name"]: row for row in read_runs(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")}
    parent = rows.pop("sweep of optimizer.learning_rate")
    statuses = {name.removeprefix("optimizer.learning_rate="): row["status"] for name, row in rows.items()}
    assert statuses == {"0.01": "FINISHED", "1e+30": "FAILED", "0.02": "FINISHED"}
    assert {row["parent"] for row in rows.values()} == {parent["run_id"]}
    assert parent["metrics"]["children/failed"] == 1
    again = sweep(tmp_path)
    assert again.returncode == 1
    # The two that are finished are left out; the third is tried again, in the run that it had.
    assert set(re.findall(r"run (\d) begins", again.stderr)) == {"1"}
    assert again.stdout.count("finished before") == 2
    assert "2 of 3 runs finished" in again.stdout
    assert len(run_folders(tmp_path / "runs")) == 3
    failed = [row for row in read_runs(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}") if row["status"] == "FAILED"]
    assert [row["run_id"] for row in failed] == [rows["optimizer.learning_rate=1e+30"]["run_id"]]


def test_commands_of_the_page_compose(root):
    page = (root / "docs" / "sweeps.md").read_text(encoding="utf-8").replace("\\\n", " ")
    found = [line for line in commands(page) if "RUN_ID" not in line]
    ours = [line for line in found if "submitit" not in line and "ray" not in line]  # Those need other packages.
    assert (len(found), len(ours)) == (5, 3)
    for command in ours:
        check_command(command)
