import csv
import json
import math

import pytest
from omegaconf import OmegaConf

from kerasnn.config.schema import Tracking
from kerasnn.errors import DataError
from kerasnn.tracking.spool import open_tracker
from kerasnn.tracking.sweep import child_name, keep_cells, metric_name, open_sweep

SILENT = Tracking("none", None, "tests")


def write_overrides(folder, overrides: list[str]) -> None:
    """What Hydra leaves in a child's folder, written as Hydra writes it."""
    (folder / ".hydra").mkdir(parents=True)
    OmegaConf.save(OmegaConf.create(overrides), folder / ".hydra" / "overrides.yaml")


def run_child(sweep, index: int, overrides: list[str], accuracy: float | None, status: str = "FINISHED") -> str | None:
    """What a training leaves behind in a sweep's folder."""
    folder = sweep.folder / str(index)
    write_overrides(folder, overrides)
    name = child_name(sweep.folder, overrides)
    metrics = {} if accuracy is None else {"test/accuracy": accuracy, "cost/train_seconds": 2.0}
    (folder / "result.json").write_text(
        json.dumps({"name": name, "status": status, "metrics": metrics, "run_id": f"id{index}"})
    )
    return name


def table(path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_child_name_says_what_varies(tmp_path):
    open_sweep(tmp_path, ["model", "seed"], SILENT)
    assert child_name(tmp_path, ["model=vgg16", "seed=3", "trainer.epochs=2"]) == "model=vgg16 seed=3"
    assert child_name(tmp_path / "elsewhere", ["model=vgg16", "+trainer.epochs=2"]) == "model=vgg16 trainer.epochs=2"


def test_sweep_sums_up_its_children_over_seeds(tmp_path):
    """vgg16 reached 0.8 and 0.9: mean 0.85, sample standard deviation sqrt(2 · 0.05²) = 0.0707, of 2 runs."""
    sweep = open_sweep(tmp_path, ["model", "seed"], SILENT)
    cells = [("lenet5", 0, 0.7), ("lenet5", 1, 0.7), ("vgg16", 0, 0.8), ("vgg16", 1, 0.9)]
    for index, (model, seed, accuracy) in enumerate(cells):
        run_child(sweep, index, [f"model={model}", f"seed={seed}", "trainer.epochs=1"], accuracy)
    run_child(sweep, 10, ["model=vgg19", "seed=0"], None, "FAILED")
    assert sweep.finish() == 1
    rows = table(tmp_path / "sweep.csv")
    assert [(row["model"], row["seed"], row["status"]) for row in rows[3:]] == [
        ("vgg16", "1", "FINISHED"),
        ("vgg19", "0", "FAILED"),
    ]
    assert rows[3]["run"] == "model=vgg16 seed=1"
    means = {row["model"]: row for row in table(tmp_path / "sweep_means.csv")}
    assert float(means["vgg16"]["test/accuracy/mean"]) == pytest.approx(0.85)
    assert float(means["vgg16"]["test/accuracy/std"]) == pytest.approx(math.sqrt(2 * 0.05**2))
    assert means["vgg16"]["test/accuracy/n"] == "2"
    assert means["lenet5"]["test/accuracy/std"] == "0.0"


def test_sweep_reads_values_with_commas_quotes_and_length(tmp_path):
    long = " ".join(["word"] * 40)  # YAML breaks it over several lines.
    varied = {"augment": "[geometric,colour]", "data.names": "['a, b','c']", "note": long, "seed": "'3'"}
    sweep = open_sweep(tmp_path, list(varied), SILENT)
    run_child(sweep, 0, [f"++{key}={value}" for key, value in varied.items()], 0.5)
    (child,) = sweep.children()
    assert child.varied == varied


def test_sweep_names_a_run_that_it_took_over_by_what_it_asked_for(tmp_path):
    sweep = open_sweep(tmp_path, ["augment", "seed"], SILENT)
    keep_cells(tmp_path, {"0": ["augment=none", "seed=0", "data=digits"]})
    keep_cells(tmp_path, {"1": ["augment=none", "seed=5", "data=digits"]})  # As a search does, one by one.
    run_child(sweep, 0, ["data=digits"], 0.5)  # The same by default, which another command left unsaid.
    run_child(sweep, 1, ["augment=none", "seed=5", "data=digits"], 0.7)
    assert sweep.finish() == 0
    assert [row["run"] for row in table(tmp_path / "sweep.csv")] == ["augment=none seed=0", "augment=none seed=5"]
    (row,) = table(tmp_path / "sweep_means.csv")
    assert (row["augment"], row["test/accuracy/n"]) == ("none", "2")


def test_sweep_counts_a_child_that_left_no_result_as_failed(tmp_path):
    sweep = open_sweep(tmp_path, ["model"], SILENT)
    (tmp_path / "0" / ".hydra").mkdir(parents=True)
    assert sweep.finish() == 1
    assert table(tmp_path / "sweep.csv")[0]["status"] == "FAILED"


def test_sweep_is_a_parent_run_with_named_children(store, monkeypatch):
    monkeypatch.chdir(store.runs.parent)
    sweep = open_sweep(store.runs / "grid", ["seed"], Tracking("mlflow", store.uri, "tests"))
    for seed, accuracy in ((0, 0.5), (1, 0.7)):
        tracker = open_tracker("mlflow", store.uri, sweep.folder / str(seed))
        name = child_name(sweep.folder, [f"seed={seed}"])
        tracker.start(name, "tests", {}, {"model": "lenet5", "seed": seed}, str(sweep.folder))
        write_overrides(sweep.folder / str(seed), [f"seed={seed}"])
        assert run_child_result(sweep.folder / str(seed), name, accuracy, tracker.finish())
    assert sweep.finish() == 0

    (parent,) = store.find("sweep of seed")
    children = [run for run in store.find("seed=0") + store.find("seed=1") if run["parent"] == parent["run_id"]]
    assert len(children) == 2
    assert parent["status"] == "FINISHED"
    assert parent["metrics"]["children/finished"] == 2
    assert parent["metrics"]["children/failed"] == 0
    assert parent["metrics"]["best/test_accuracy"] == 0.7
    assert parent["metrics"]["test/accuracy/mean"] == pytest.approx(0.6)
    assert parent["metrics"]["test/accuracy/n"] == 2
    assert parent["tags"]["best.child"] == "seed=1"
    assert parent["tags"]["best.run_id"] in {run["run_id"] for run in children}
    assert parent["tags"]["sweep.seed"] == "0, 1"
    artifacts = {file.path for file in store.client.list_artifacts(parent["run_id"])}
    assert artifacts == {"sweep.csv", "sweep_means.csv"}


def test_compare_reads_the_store(store, capsys):
    from kerasnn.analysis import compare

    tracker = store.start("compared", {"model": "vgg16", "data": "cifar10"})
    tracker.metrics({"cost/params_total": 15_000_000, "test/accuracy": 0.9})
    tracker.finish()
    compare.main(["--uri", store.uri, "--experiment", "tests", "--format", "json", "--where", "name == 'compared'"])
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["model"], row["params"], row["test_accuracy"]) == ("vgg16", 15_000_000, 0.9)
    with pytest.raises(DataError, match="unknown experiment 'test': did you mean 'tests'"):
        compare.main(["--uri", store.uri, "--experiment", "test"])


def run_child_result(folder, name: str, accuracy: float, run_id: str | None) -> str | None:
    metrics = {"test/accuracy": accuracy}
    result = {"name": name, "status": "FINISHED", "metrics": metrics, "run_id": run_id}
    (folder / "result.json").write_text(json.dumps(result))
    return run_id


def test_metric_name_has_only_what_mlflow_allows():
    assert metric_name("vgg16 lr=0.1") == "vgg16 lr_0.1"
    assert metric_name("[a,b]") == "_a_b_"
