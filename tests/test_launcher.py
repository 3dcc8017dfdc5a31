"""The launcher: devices are leased to one run at a time, failures are told, and a sweep goes on where it was."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from commands import check_command, commands
from omegaconf import OmegaConf

from hydra_plugins.kerasnn_launcher import leases
from hydra_plugins.kerasnn_launcher.devices import Devices, find_devices
from hydra_plugins.kerasnn_launcher.launcher import KerasnnLauncher
from hydra_plugins.kerasnn_launcher.leases import lease
from hydra_plugins.kerasnn_launcher.pool import Job, Pool
from hydra_plugins.kerasnn_launcher.settings import need
from kerasnn.config.compose import check
from kerasnn.errors import ConfigError, DeviceError
from kerasnn.tracking import spool
from kerasnn.tracking.folders import held, run_folders
from kerasnn.tracking.mlflow import read_runs
from kerasnn.tracking.tracker import MemoryTracker

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
    assert find_devices("auto", 1, {}).names == ("0", "1")
    assert find_devices(1, 1, {}).names == ("0",)
    # Of those that there are the environment names some, and CUDA reads no further than a name of none.
    for visible, names in (("1, 0", ("1", "0")), ("0,0", ("0",)), ("GPU-2,-1,0", ("GPU-2",)), ("1,7,0", ("1",))):
        assert find_devices("auto", 1, {"CUDA_VISIBLE_DEVICES": visible}).names == names
    named = find_devices(["GPU-2", 0], 1, {})
    assert (named.names, named.uuids) == (("GPU-2", "0"), ("GPU-2", "GPU-1"))
    # Hidden, not there, or not wanted: two runs share the cores.
    hidden = [("auto", {"CUDA_VISIBLE_DEVICES": names}) for names in ("", "3")]
    for asked, environment in (*hidden, ([], {})):
        shares = find_devices(asked, 2, environment)
        assert (shares.names, shares.threads) == (("1", "2"), max(1, cores // 2))
        assert shares.environment(["2"])["TF_NUM_INTRAOP_THREADS"] == str(max(1, cores // 2))
        assert shares.environment(["2"])["CUDA_VISIBLE_DEVICES"] == "-1"
    with pytest.raises(DeviceError, match=r"devices=4, but there are 2 GPUs \(nvidia-smi -L lists 0, 1\)"):
        find_devices(4, 1, {})
    with pytest.raises(DeviceError, match=r"are 1 GPUs \(nvidia-smi -L lists 0, 1; CUDA_VISIBLE_DEVICES=1\)"):
        find_devices(2, 1, {"CUDA_VISIBLE_DEVICES": "1"})
    for twice in ([0, 0], [0, "GPU-1"]):  # By one name, and by two.
        with pytest.raises(ConfigError, match="names a device twice"):
            find_devices(twice, 1, {})
    with pytest.raises(DeviceError, match=r"devices=\[0,7\]: 7 is no GPU of this machine \(nvidia-smi -L lists 0, 1\)"):
        find_devices([0, 7], 1, {})
    with pytest.raises(DeviceError, match="GPU- is no GPU"):  # Two begin like this.
        find_devices(["GPU-"], 1, {})
    with pytest.raises(ConfigError, match="must be auto, a number of GPUs, or a list"):
        find_devices("all", 1, {})
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert not find_devices("auto", 1, {}).are_gpus
    with pytest.raises(DeviceError, match=r"0 is no GPU of this machine \(nvidia-smi is not installed\)"):
        find_devices([0], 1, {})  # And no reason for a silent run on the CPU.


def test_parts_of_a_gpu_go_by_their_own_names(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(
        "#!/bin/sh\necho 'GPU 0: NVIDIA A100 (UUID: GPU-1)'\n"
        "echo '  MIG 1g.5gb      Device  0: (UUID: MIG-a)'; echo '  MIG 1g.5gb      Device  1: (UUID: MIG-b)'\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert find_devices(["MIG-a", "MIG-b"], 1, {}).uuids == ("MIG-a", "MIG-b")
    assert find_devices("auto", 1, {"CUDA_VISIBLE_DEVICES": "MIG-b"}).names == ("MIG-b",)


def test_gpu_of_another_sweep_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setenv("KERASNN_LEASES", str(tmp_path))
    other, told = lease("GPU-2"), []

    def waits(job):
        told.append((job.number, job.attempts))
        os.close(other)

    made = jobs(tmp_path, 1, "echo $CUDA_VISIBLE_DEVICES", need=2)
    Pool(Devices(("0", "1"), uuids=("GPU-1", "GPU-2")), waits=waits).run(made)
    assert told == [(0, 0)]
    assert made[0].log.read_text() == "0,1\n"


LAUNCHER = """
import sys
from pathlib import Path
from hydra_plugins.kerasnn_launcher.devices import Devices
from hydra_plugins.kerasnn_launcher.pool import Job, Pool
def began(job):
    print(pool._running[0].process.pid, flush=True)
def waits(job):
    print("waits", flush=True)
pool = Pool(Devices(("0",), uuids=("GPU-1",)), began=began, waits=waits)
pool.run([Job(0, "job", Path(sys.argv[1]), ["sleep", "60"])])
"""


def launcher_of(user: Path, shared: Path) -> subprocess.Popen:
    """A launcher whose home and temporary files are its own, as in a container; it says the process that it began."""
    (user / "tmp").mkdir(parents=True)
    own = {"HOME": str(user), "TMPDIR": str(user / "tmp"), "KERASNN_LEASES": str(shared)}
    command = [sys.executable, "-c", LAUNCHER, str(user / "0")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **own})


def test_lease_is_the_runs_own_and_outlives_a_launcher_that_is_killed(tmp_path):
    shared, runs = tmp_path / "made" / "leases", []
    with launcher_of(tmp_path / "ada", shared) as first:
        runs.append(int(first.stdout.readline()))
        first.kill()
    with launcher_of(tmp_path / "bob", shared) as second:
        try:
            assert second.stdout.readline() == "waits\n"
            os.kill(runs[0], signal.SIGKILL)
            runs.append(int(second.stdout.readline()))
        finally:
            second.kill()
            os.kill(runs[-1], signal.SIGKILL)


def test_leases_of_a_machine_are_in_one_place_wherever_temporary_files_are(tmp_path, monkeypatch):
    monkeypatch.delenv("KERASNN_LEASES", raising=False)
    device = f"GPU-of-a-test-{os.getpid()}"
    for name in ("ada", "bob"):
        monkeypatch.setenv("TMPDIR", str(tmp_path / name))
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / name))
        assert leases._folder() == Path("/tmp/kerasnn-devices")
    taken = lease(device)
    try:
        assert lease(device) is None
    finally:
        os.close(taken)
        (leases._folder() / device).unlink()


def test_lease_that_holds_nobody_off_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("KERASNN_LEASES", str(tmp_path))
    monkeypatch.setattr(leases, "lock", lambda descriptor: True)  # What a disk without locks comes to.
    with pytest.raises(DeviceError, match=f"{tmp_path} is on a disk without locks, let KERASNN_LEASES name another"):
        lease("GPU-1")
    monkeypatch.setenv("KERASNN_LEASES", str(tmp_path / "GPU-1"))
    with pytest.raises(DeviceError, match="let KERASNN_LEASES name a folder that can be written"):
        lease("GPU-1")


def test_run_that_another_process_trains_is_not_closed_by_the_one_that_was_refused(tmp_path, monkeypatch):
    job = Job(0, "mine", tmp_path / "run", [], code=2)
    job.folder.mkdir()
    (job.folder / "config.yaml").touch()
    (job.folder / "result.json").write_text('{"name": "mine", "status": "RUNNING"}', encoding="utf-8")
    launcher, closed = KerasnnLauncher([], 1, "continue", 1, True), []
    monkeypatch.setattr(launcher, "_close", lambda job, reason: closed.append(reason.splitlines()[0]))
    with held(job.folder):
        launcher._ended(job, True)
    assert closed == []
    launcher._ended(job, False)  # It is tried again, and may itself say how it ends.
    assert closed == []
    launcher._ended(job, True)
    assert closed == ["it ended by exit code 2"]


@pytest.mark.parametrize(
    ("told", "status", "closed"),
    [
        (["start", "finish"], "FAILED", False),
        (["start", "finish", "start", "tags"], "FAILED", True),  # It died while it imported TensorFlow.
        (["start", "finish", "start"], "KILLED", True),
        (["start", "metrics"], "RUNNING", True),
        ([], "FAILED", False),  # It is not recorded.
    ],
)
def test_run_that_began_once_more_and_died_is_closed_whatever_it_said_before(
    tmp_path, monkeypatch, told, status, closed
):
    launcher, reasons = KerasnnLauncher([], 1, "continue", 1, True), []
    monkeypatch.setattr(launcher, "_close", lambda job, reason: reasons.append(reason))
    (tmp_path / "result.json").write_text(json.dumps({"name": "mine", "status": status}), encoding="utf-8")
    (tmp_path / "tracking.jsonl").write_text("".join(json.dumps({"event": event}) + "\n" for event in told))
    launcher._ended(Job(0, "mine", tmp_path, [], code=-signal.SIGKILL), True)
    assert bool(reasons) == closed


@pytest.mark.parametrize(("sign", "status"), [(signal.SIGKILL, "FAILED"), (signal.SIGTERM, "KILLED")])
def test_run_that_never_came_to_its_training_is_recorded_on_its_behalf(tmp_path, monkeypatch, sign, status):
    tracker = MemoryTracker()
    monkeypatch.setattr(spool, "open_tracker", lambda *_: tracker)
    launcher = KerasnnLauncher([], 1, "continue", 1, True)
    launcher.config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    launcher._words[0], launcher._closing = ["model=mlp", "seed=3", "hydra/launcher=kerasnn"], ThreadPoolExecutor(1)
    launcher._ended(Job(0, "seed=3", tmp_path / "0", [], code=-sign), True)
    launcher._closing.shutdown()
    assert tracker.started == {"name": "seed=3", "experiment": "kerasnn", "parent": str(tmp_path)}
    assert (tracker.params["model"], tracker.params["seed"], tracker.status) == ("mlp", 3, status)
    assert tracker.tagged["error"] == f"it ended by signal {sign.name}"
    assert [path.name for path, _ in tracker.artifacts] == ["killed.txt"]


@pytest.mark.parametrize(
    ("code", "words"),
    [(1, "kerasnn: the loss became NaN"), (-signal.SIGSEGV, "it ended by signal SIGSEGV"), (-40, "by signal 40")],
)
def test_reason_of_a_failure_is_the_last_word_or_the_signal(tmp_path, caplog, code, words):
    launcher, job = KerasnnLauncher([], 1, "retry", 1, True), Job(0, "mine", tmp_path, [], code=code)
    job.log.write_text("epoch 1/3  loss 0.5\nkerasnn: the loss became NaN\n")
    launcher._ended(job, False)
    assert caplog.messages[0].startswith("run 0 failed on")
    assert caplog.messages[0].endswith(words)
    caplog.clear()
    job.stopped = True
    with caplog.at_level("INFO"):
        launcher._ended(job, False)
    assert caplog.messages[0].startswith("run 0 stopped on")


def test_run_with_gpus_insists_on_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    launcher = KerasnnLauncher([], 1, "continue", 1, True)
    launcher.config = OmegaConf.create({"hydra": {"overrides": {"hydra": []}}})
    monkeypatch.setattr(launcher, "_subdir", lambda cell, number: str(number))
    cells = [["model=mlp"], ["model=mlp", "strategy.kind=CPU"]]
    for devices, kinds in ((TWO, (True, False)), (Devices(("1",), 2), (False, False))):
        launcher.devices = devices
        made, _ = launcher._jobs(cells, 0, tmp_path)
        assert tuple("strategy.kind=GPU" in job.words for job in made) == kinds


def test_run_that_wants_more_than_all_runs_are_given_is_refused_before_it_begins():
    config = check(["model=mlp", "strategy.devices=2"])
    assert need(config, TWO) == 2
    assert need(config, Devices(("1",), 2)) == 1
    with pytest.raises(DeviceError, match="strategy.devices=2, but hydra.launcher.devices gives 1 to all runs"):
        need(config, Devices(("0",)))


def leave(folder: Path, config, status: str, age: int = 0) -> None:
    """A run of a config, begun so many seconds before another."""
    folder.mkdir(parents=True)
    result = {"name": folder.name, "status": status, "digest": config.digest}
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    (folder / "config.yaml").write_text(config.yaml, encoding="utf-8")
    os.utime(folder / "config.yaml", (1e9 - age, 1e9 - age))


def test_sweep_goes_on_with_its_own_runs_first(tmp_path):
    launcher, config = KerasnnLauncher([], 1, "continue", 1, True), check(["model=mlp"])
    for age, (place, status) in enumerate([("alone", "FINISHED"), ("sweep/0", "FAILED"), ("sweep/1", "FINISHED")]):
        leave(tmp_path / place, config, status, age)
    known = run_folders(tmp_path)
    for own, expected in (("sweep/0", "sweep/0"), ("sweep/1", "sweep/1"), ("other/0", "alone")):
        assert launcher._before(config, known, tmp_path / own).path == tmp_path / expected


def test_links_of_a_sweep_lead_to_the_runs_that_it_takes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    launcher, runs, link = KerasnnLauncher([], 1, "continue", 1, True), tmp_path / "runs", tmp_path / "runs/sweep/0"
    launcher.devices, launcher.config = Devices(("1",), 2), OmegaConf.create({"hydra": {"overrides": {"hydra": []}}})
    monkeypatch.setattr(launcher, "_subdir", lambda cell, number: str(number))

    def goes():
        """Where the one cell goes, and whether it is left alone."""
        made, skipped = launcher._jobs([["model=mlp"]], 0, link.parent)
        (job,) = made + skipped
        assert link.resolve() == job.folder
        return job.folder.relative_to(runs).as_posix(), bool(skipped)

    config = check(["model=mlp"])
    leave(runs / "killed", config, "KILLED", age=3)
    assert goes() == ("killed", False)
    assert launcher._cells == {"0": ["model=mlp"]}
    leave(runs / "second", config, "KILLED", age=2)
    assert goes() == ("killed", False)  # Rather than the newer one, since the sweep has that already.
    leave(runs / "done", config, "FINISHED", age=1)
    assert goes() == ("done", True)
    leave(runs / "done again", config, "FINISHED")
    assert goes() == ("done", True)
    shutil.rmtree(runs / "done")
    assert goes() == ("done again", True)
    for name in ("killed", "second", "done again"):
        shutil.rmtree(runs / name)
    assert goes() == ("sweep/0", False)
    assert not link.is_symlink()  # So that a folder can be made there.
    leave(runs / "other", check(["model=mlp", "seed=1"]), "KILLED")
    link.symlink_to("../other")
    assert goes() == ("sweep/0", False)  # And not into the run of another config.


def test_run_on_other_pictures_of_the_users_own_is_not_taken_for_this_one(tmp_path):
    launcher = KerasnnLauncher([], 1, "continue", 1, True)
    words = ["model=mlp", "data=image_folder"]
    cats, dogs = (check([*words, f"data.dir={name}"]) for name in ("cats", "dogs"))
    assert cats.digest == dogs.digest  # It does not tell where data lies.
    leave(tmp_path / "cats", cats, "FINISHED")
    known = run_folders(tmp_path)
    assert launcher._before(cats, known, tmp_path / "0").path == tmp_path / "cats"
    assert launcher._before(dogs, known, tmp_path / "0") is None
    # One that does not tell what it was trained on any more is nobody's, and stops no sweep.
    (tmp_path / "cats" / "config.yaml").unlink()
    assert launcher._before(cats, known, tmp_path / "0") is None
    # A published set is the same wherever it lies.
    here, there = check(["model=mlp", "data=cifar10"]), check(["model=mlp", "data=cifar10", "data.dir=/data"])
    leave(tmp_path / "cifar", here, "FINISHED")
    assert launcher._before(there, run_folders(tmp_path), tmp_path / "0").path == tmp_path / "cifar"


def test_setting_that_the_launcher_does_not_have_is_refused():
    assert check(["hydra/launcher=kerasnn", "hydra.launcher.on_error=retry", "hydra.launcher.devices=[0,1]"])
    with pytest.raises(ConfigError, match="on_eror"):
        check(["hydra/launcher=kerasnn", "hydra.launcher.on_eror=retry"])


def begin(folder: Path, *further: str) -> subprocess.Popen:
    """Three cells on two shares of the CPU."""
    words = ["-m", "model=mlp", "model.hidden_widths=[8]", "trainer.epochs=1", "optimizer=sgd"]
    words += ["optimizer.learning_rate=0.01,1e30,0.02", "hydra/launcher=kerasnn", "hydra.launcher.processes=2"]
    return subprocess.Popen(
        [sys.executable, "-m", "kerasnn", *words, *further],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "80"},
    )  # fmt: skip


def end(child: subprocess.Popen) -> subprocess.CompletedProcess:
    with child:
        stdout, stderr = child.communicate(timeout=300)
    return subprocess.CompletedProcess(child.args, child.returncode, stdout, stderr)


def test_sweep_goes_on_past_a_failure_and_its_restart_does_only_what_is_left(tmp_path):
    child, until = begin(tmp_path), time.monotonic() + 60
    while not list(tmp_path.glob("runs/*/*/sweep.json")) and time.monotonic() < until:
        time.sleep(0.1)
    twice = end(begin(tmp_path))  # The same sweep beside it would make each of its runs twice.
    assert (twice.returncode, twice.stdout) == (2, "")
    assert f"this sweep is running already, as process {child.pid} on " in twice.stderr
    assert twice.stderr.count("\n") == 1
    first = end(child)
    assert first.returncode == 1, first.stderr
    begun = re.findall(r"run (\d) (begins|finished|failed) on CPU ([12]) of 2", first.stderr)
    assert [(number, word) for number, word, _ in begun[:2]] == [("0", "begins"), ("1", "begins")]
    for device in "12":
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
    (third,) = [run for run in run_folders(tmp_path / "runs") if run.status == "FAILED"]
    with held(third.path):  # As a run is that outlived its launcher.
        beside = end(begin(tmp_path))
    assert (beside.returncode, beside.stdout.count("at work elsewhere")) == (1, 1)
    assert "begins" not in beside.stderr
    again = end(begin(tmp_path))
    assert again.returncode == 1
    # The two that are finished are left out; the third is tried again, in the run that it had.
    assert set(re.findall(r"run (\d) begins", again.stderr)) == {"1"}
    assert again.stdout.count("finished before") == 2
    assert "2 of 3 runs finished" in again.stdout
    assert len(run_folders(tmp_path / "runs")) == 3
    found = read_runs(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    failed = [row for row in found if row["status"] == "FAILED"]
    assert [row["run_id"] for row in failed] == [rows["optimizer.learning_rate=1e+30"]["run_id"]]
    # Three starts are one sweep: in one folder, and below one run, which is closed.
    assert len(list(tmp_path.glob("runs/*/*-sweep"))) == 1
    (one,) = [row for row in found if row["name"] == parent["name"]]
    assert (one["run_id"], one["status"], one["metrics"]["children/failed"]) == (parent["run_id"], "FINISHED", 1)
    assert {row["parent"] for row in found if row is not one} == {parent["run_id"]}


def test_commands_of_the_page_compose(root):
    page = (root / "docs" / "sweeps.md").read_text(encoding="utf-8").replace("\\\n", " ")
    found = [line for line in commands(page) if "RUN_ID" not in line]
    ours = [line for line in found if not re.search(r"launcher=(slurm|ray)", line)]  # Those need other packages.
    assert (len(found), len(ours)) == (5, 3)
    for command in ours:
        check_command(command)
