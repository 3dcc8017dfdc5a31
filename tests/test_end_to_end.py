"""From the command line to MLflow and back: a run, a sweep with a cell that fails, an interruption."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kerasnn.analysis import compare
from kerasnn.tracking.mlflow import read_runs

SMALL = [
    "data=synthetic",
    "data.channels=1",
    "data.image_size=32",
    "data.examples=300",
    "trainer.batch_size=32",
    "data.train_examples=128",
]


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "kerasnn", *arguments],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "80"},
    )  # fmt: skip


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors


def database(folder: Path) -> str:
    return f"sqlite:///{folder / 'runs' / 'mlflow.db'}"


def run_folders(folder: Path) -> list[Path]:
    found = [path.parent for path in (folder / "runs").rglob("result.json")]
    return sorted(path for path in found if "artifacts" not in path.relative_to(folder).parts)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """An empty folder, with a single run, a sweep of three cells and an interrupted run made in it."""
    folder = tmp_path_factory.mktemp("workplace")
    single = start(folder, *SMALL, "trainer.epochs=2", "augment=[flip_crop,noise]", "name=first", "seed=1")
    code, output, errors = finish(single)
    assert code == 0, errors
    (folder / "single.txt").write_text(output + errors, encoding="utf-8")
    # No batch of 400 fits into 128 examples: those cells fail, the others run. One key belongs to a swept group.
    cells = ["-m", *SMALL, "trainer=smoke", "optimizer=sgd,momentum", "optimizer.weight_decay=0.001"]
    cells.append("trainer.batch_size=32,400")
    code, output, errors = finish(start(folder, *cells))
    (folder / "sweep.txt").write_text(f"{code}\n{output}\n{errors}", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def runs(workplace) -> list[dict]:
    return read_runs(database(workplace))


@pytest.fixture(scope="module")
def first(runs) -> dict:
    return next(run for run in runs if run["name"] == "first")


def test_run_says_where_to_look(workplace):
    said = (workplace / "single.txt").read_text(encoding="utf-8")
    assert "test accuracy" in said
    assert "python -m kerasnn compare, or ui" in said
    assert "Traceback" not in said


def test_run_folder_holds_what_the_readme_promises(workplace):
    folder = next(
        path for path in run_folders(workplace) if json.loads((path / "result.json").read_text())["name"] == "first"
    )
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {
        "config.yaml", "result.json", "model_summary.txt", "kerasnn.log", "tracking.jsonl",
        "checkpoints/best.keras", "checkpoints/last.keras",
        "figures/augmented_inputs.png", "figures/confusion.png", "figures/curves.png",
    } <= names  # fmt: skip


def test_run_is_in_mlflow_under_the_documented_names(first):
    assert first["status"] == "FINISHED"
    assert {
        "train/loss", "train/accuracy", "val/loss", "val/accuracy", "train/learning_rate", "train/examples_per_second",
        "best/epoch", "best/val_accuracy", "test/loss", "test/accuracy", "cost/params_total", "cost/params_trainable",
        "cost/flops", "cost/weights_mb", "cost/train_seconds", "cost/latency_ms", "cost/peak_memory_mb",
    } <= set(first["metrics"])  # fmt: skip
    # LeNet-5 at 32×32×1 with 10 classes: 61,706 weights, as the zoo of the lecture counts them.
    assert first["metrics"]["cost/params_total"] == 61_706


def test_params_are_the_choices_and_what_was_changed(first):
    params = first["params"]
    assert (params["model"], params["data"], params["augment"]) == ("lenet5", "synthetic", "flip_crop,noise")
    assert (params["seed"], params["trainer.epochs"], params["data.train_examples"]) == ("1", "2", "128")
    assert "trainer.jit" not in params  # Left at its default.


def test_tags_tell_versions_device_and_hashes(first):
    assert {"keras", "tensorflow", "python", "device", "hash.config", "hash.train", "hash.test"} <= set(first["tags"])


def test_sweep_goes_on_past_a_failing_cell_and_reports_it(workplace, runs):
    code, *said = (workplace / "sweep.txt").read_text(encoding="utf-8").splitlines()
    assert code == "1"
    assert any("a batch of 400 is larger than the 128 training examples" in line for line in said)
    children = [run for run in runs if "mlflow.parentRunId" in run["tags"]]
    # Two optimizers times two batch sizes, of which the larger never fits.
    assert {(run["name"], run["status"]) for run in children} == {
        ("optimizer=sgd trainer.batch_size=32", "FINISHED"),
        ("optimizer=sgd trainer.batch_size=400", "FAILED"),
        ("optimizer=momentum trainer.batch_size=32", "FINISHED"),
        ("optimizer=momentum trainer.batch_size=400", "FAILED"),
    }
    assert len(children) == 4
    assert len({run["tags"]["mlflow.parentRunId"] for run in children}) == 1


def test_same_seed_saw_the_same_data(runs):
    hashes = {run["tags"]["hash.train"] for run in runs if run["status"] == "FINISHED" and "hash.train" in run["tags"]}
    assert len(hashes) == 1


@pytest.mark.parametrize("form", ["table", "csv", "markdown", "json"])
def test_compare_prints_a_row_per_run(workplace, capsys, monkeypatch, form):
    monkeypatch.chdir(workplace)
    assert compare.main(["--format", form]) == 0
    output = capsys.readouterr().out
    assert "first" in output
    if form == "json":
        rows = json.loads(output)
        assert {"model", "data", "params", "flops", "test_accuracy", "run_id"} <= set(rows[0])


def test_model_comes_back_from_mlflow_in_a_fresh_process(workplace, first):
    run_folder = next(
        path
        for path in run_folders(workplace)
        if json.loads((path / "result.json").read_text())["run_id"] == first["run_id"]
    )
    script = (
        "import sys, mlflow, numpy as np\n"
        "mlflow.set_tracking_uri(sys.argv[1])\n"
        "model = mlflow.pyfunc.load_model(f'runs:/{sys.argv[2]}/model')\n"
        "kept = np.load(sys.argv[3])\n"
        "assert model.metadata.signature is not None and model.metadata.saved_input_example_info\n"
        "print(float(np.abs(np.asarray(model.predict(kept['input'])) - kept['output']).max()))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script, database(workplace), first["run_id"], str(run_folder / "model_example.npz")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert float(answer.stdout.splitlines()[-1]) <= 1e-6


def test_interruption_marks_the_run_killed_and_keeps_what_was_reached(tmp_path):
    process = start(tmp_path, *SMALL, "trainer.epochs=10000", "name=endless")
    log_lines = iter(process.stderr.readline, "")
    assert any(line.startswith("epoch 3/") for line in log_lines)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    (folder,) = run_folders(tmp_path)
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "KILLED"
    assert len(result["history"]["val/accuracy"]) >= 3
    assert result["metrics"]["best/epoch"] >= 1
    assert "test/accuracy" not in result["metrics"]
    assert (folder / "checkpoints" / "best.keras").exists()
    (run,) = read_runs(database(tmp_path))
    assert run["status"] == "KILLED"
