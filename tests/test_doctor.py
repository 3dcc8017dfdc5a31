"""`kerasnn doctor`: what it says of a machine that is made up, of its own, and how it says what is broken."""

import json
import os
import socket
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from kerasnn import doctor
from kerasnn.errors import ConfigError
from kerasnn.tracking.abandoned import Left
from kerasnn.tracking.folders import WORK, held
from kerasnn.tracking.journal import Journal
from kerasnn.training import gpu
from kerasnn.training.gpu import Facts
from kerasnn.training.nvidia import Card

BUILD = {"is_cuda_build": True, "cuda_version": "12.5.1", "cudnn_version": "9", "cuda_compute_capabilities": ["sm_60"]}
H100 = Card("NVIDIA H100 80GB HBM3", "81559 MiB", "550.54.15", "9.0")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder on a machine without GPUs; TensorFlow is not asked, `answer` is what it would say."""
    monkeypatch.chdir(tmp_path)
    machine = Namespace(answer={"build": BUILD, "gpus": [], "onednn": True}, facts=Facts(smi="absent", cuda="12.5.1"))
    monkeypatch.setattr(doctor, "start_probe", lambda: None)
    monkeypatch.setattr(doctor, "hear", lambda probe: machine.answer)
    monkeypatch.setattr(gpu, "look", lambda build: machine.facts)
    return machine


def examine(**options) -> doctor.Report:
    return doctor.examine(Namespace(**{"uri": None, "dry_run": False, "format": "table", **options}))


def test_well_machine_is_described_within_80_columns(place, capsys):
    assert doctor.main([]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    for words in ("built for CUDA 12.5.1, cuDNN 9; oneDNN on", "no NVIDIA driver: nvidia-smi", "none yet", "cores for"):
        assert words in said
    assert said.endswith("Nothing is broken.\n")
    assert list(Path().iterdir()) == []  # Looking leaves nothing behind, no new database above all.


def test_json_carries_the_same(place, capsys):
    assert doctor.main(["--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"versions", "devices", "disk", "store", "broken"}
    assert {"what": "keras-cv", "is": "0.9.0"} in told["versions"]
    assert told["broken"] == []


def test_gpu_that_tensorflow_does_not_see_is_broken_and_why_is_said(place):
    place.facts = Facts(cards=(H100,), cuda="12.5.1", absent=("nvidia-cudnn-cu12",))
    report = examine()
    assert ("GPU", "NVIDIA H100 80GB HBM3, 81559 MiB, driver 550.54.15, compute capability 9.0") in (
        report.sections["devices"]
    )
    (broken,) = report.broken
    assert broken.startswith("there is a GPU, and TensorFlow does not see it: CUDA's libraries are not installed")


def test_gpu_that_was_hidden_on_purpose_is_not_broken(place):
    place.facts = Facts(cards=(H100,), cuda="12.5.1", visible="-1")
    report = examine()
    assert report.broken == []
    assert "hides every GPU" in dict(report.sections["devices"])["no GPU"]


def test_gpus_in_use_are_named(place):
    place.facts, place.answer["gpus"] = Facts(cards=(H100, H100), cuda="12.5.1"), ["NVIDIA H100 80GB HBM3"]
    said = dict(examine().sections["devices"])
    assert said["TensorFlow"] == "sees 1 of 2 GPUs: NVIDIA H100 80GB HBM3"
    assert said["XLA"] == "trainer.jit=auto: on, with one GPU"


def test_tensorflow_that_cannot_be_imported_is_a_line(place):
    place.answer = "ImportError: libcudart.so.12: cannot open shared object file"
    assert examine().broken == [f"TensorFlow cannot be imported: {place.answer}"]


def test_store_that_is_away_is_a_line_within_seconds(place):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # Bound and not listening: nobody answers there.
        port = taken.getsockname()[1]
        (broken,) = examine(uri=f"postgresql+psycopg://ada:secret@127.0.0.1:{port}/mlflow").broken
    assert broken.startswith(f"the store cannot be reached (127.0.0.1:{port}: ")


def test_password_is_not_shown(place, monkeypatch):
    monkeypatch.setattr(doctor, "reachable", lambda uri: "away")
    told = dict(examine(uri="postgresql://ada:secret@db/mlflow").sections["store"])
    assert told["uri"] == "postgresql://ada:…@db/mlflow"


def test_database_that_is_none_is_a_line(place):
    Path("other.db").write_text("this is no database")
    (broken,) = examine(uri="sqlite:///other.db").broken
    assert broken.startswith("the store cannot be read: ")
    assert "\n" not in broken


def test_store_that_cannot_be_meant_is_a_line(place):
    (broken,) = examine(uri="file:///tmp/mlruns").broken
    assert "MLflow no longer keeps runs in folders" in broken


def test_full_disk_is_broken(place, monkeypatch):
    usage = doctor.shutil.disk_usage(".")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage._replace(free=200_000_000))
    (broken,) = examine().broken
    assert "has 0.20 GB left" in broken


def test_what_became_of_left_runs_is_said(place):
    report = doctor.Report()
    for left in (
        Left("vgg16", "abcdef0123", Path("runs/day/lost"), "lost", done=True),
        Left("lenet5", "fedcba9876", None, "elsewhere", note="far-away"),
        Left("perceptron", "0123456789", None, "unknown"),
        Left("mlp", None, Path("runs/day/other"), "waiting", note="no answer"),
    ):
        doctor._left(report, left)
    said = dict(report.sections["store"])
    assert said["vgg16 (abcdef0)"].endswith("closed as KILLED")
    assert said["lenet5 (fedcba9)"].startswith("RUNNING on far-away")
    assert said["perceptron (0123456)"].endswith("left alone")
    assert said["mlp (runs/day/other)"].endswith("in MLflow: not yet")
    assert report.broken == ["mlp (runs/day/other): no answer"]


def leave(name: str, tags: dict | None = None) -> Path:
    """The folder of a run that was killed in its third epoch, resumed after its first, and killed again."""
    folder = Path("runs/day", name)
    journal, numbers = Journal(folder), {"event": "metrics", "time": 0}
    params = {"model": "vgg16", "seed": "3", "trainer.epochs": "9"}
    journal.append({"event": "start", "name": "vgg16", "params": params, "tags": tags or {}})
    journal.append({"event": "tags", "values": {"hash.train": "abc", "device": "1 CPU"}})
    journal.append(numbers | {"values": {"cost/flops": 10.0}, "step": None})
    for step, loss in ((1, 0.5), (2, 0.25), (2, 0.125)):
        journal.append(numbers | {"values": {"train/loss": loss}, "step": step})
    journal.close()
    said = {"name": "vgg16", "choices": {"model": "vgg16"}, "seed": 3, "status": "RUNNING", "run_id": None}
    (folder / "result.json").write_text(json.dumps({**said, "digest": "d", "facts": {"a": 1}}))
    (folder / "config.yaml").write_text("seed: 3")
    (folder / WORK).touch()
    return folder / "result.json"


def test_result_of_a_dead_run_is_completed_from_its_journal(place):
    path = leave("lost")
    assert examine(dry_run=True).sections["disk"][-1][1].endswith("said RUNNING of a process which is dead")
    assert json.loads(path.read_text())["status"] == "RUNNING"
    assert examine().sections["disk"][-1][1].endswith("now it says KILLED")
    assert json.loads(path.read_text()) == {
        "name": "vgg16", "choices": {"model": "vgg16"}, "seed": 3, "status": "KILLED", "digest": "d", "facts": {"a": 1},
        "metrics": {"cost/flops": 10.0}, "history": {"train/loss": [0.5, 0.125]}, "hashes": {"train": "abc"},
        "run_id": None,
    }  # fmt: skip
    assert len(examine().sections["disk"]) == 1  # A second look finds nothing to do.


def test_result_of_a_run_at_work_or_of_another_machine_is_left_alone(place):
    away = leave("away", {"host": "far-away", "process": "1 2 pid:[3]", "process.boot": "another"})
    busy = leave("busy")
    with held(busy.parent):
        examine()
    assert {json.loads(path.read_text())["status"] for path in (away, busy)} == {"RUNNING"}


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("import os; os.kill(os.getpid(), 4)", "importing it kills the process (signal 4)"),
        ("import absent_package", "ModuleNotFoundError: No module named 'absent_package'"),
        ("print('chatter'); print('{\"gpus\": []}')", {"gpus": []}),
    ],
)
def test_probe_that_dies_is_a_line(program, line):
    pipe = subprocess.PIPE
    heard = doctor.hear(subprocess.Popen([sys.executable, "-c", program], stdout=pipe, stderr=pipe, text=True))
    assert heard == line or heard.startswith(line)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "jsn"], "unknown --format 'jsn': did you mean 'json'?"),
        (["--dyr-run"], "unrecognized arguments: --dyr-run: did you mean '--dry-run'?"),
    ],
)
def test_mistake_is_one_line(arguments, message):
    with pytest.raises(ConfigError) as raised:
        doctor.main(arguments)
    assert message in str(raised.value)


def test_doctor_asks_the_real_tensorflow(tmp_path):
    answer = subprocess.run(
        [sys.executable, "-m", "kerasnn", "doctor"],
        cwd=tmp_path, env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "built for CUDA" in answer.stdout or "built without CUDA" in answer.stdout
    assert "trainer.jit=auto: off" in answer.stdout
    assert answer.stderr == ""
    assert list(tmp_path.iterdir()) == []
