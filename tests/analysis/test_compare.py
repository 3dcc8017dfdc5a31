import csv
import io
import json
import re

import pytest
from PIL import Image

from kerasnn.analysis import compare, tables
from kerasnn.errors import ConfigError, DataError


def run(name: str, accuracy: float | None = None, status: str = "FINISHED", **facts) -> dict:
    """A run as `read_runs` gives it."""
    metrics = {
        "cost/params_total": 61_706.0,
        "cost/flops": 846_000.0,
        "best/val_accuracy": accuracy,
        "test/accuracy": accuracy,
        "cost/train_seconds": 12.34,
        "train/examples_per_second": 11_000.0,
        **facts.pop("metrics", {}),
    }
    return {
        "run_id": facts.pop("run_id", f"{name:0<32.32}"),
        "name": name,
        "experiment": "kerasnn",
        "status": status,
        "start_time": 1_795_444_618_668,
        "end_time": None,
        "parent": facts.pop("parent", None),
        "params": {"model": name, "data": "cifar10", "seed": "3", **facts.pop("params", {})},
        "metrics": {key: value for key, value in metrics.items() if value is not None},
        "tags": facts.pop("tags", {}),
    }


RUNS = [
    run("lenet5", 0.65),
    run("vgg16", 0.9, metrics={"cost/params_total": 138_357_544.0, "cost/flops": 4.2e8, "cost/train_seconds": 900.0}),
    run("alexnet", None, "RUNNING", metrics={"cost/params_total": 2e6}),
    run("vgg11", 0.1, "FAILED"),
]


@pytest.fixture
def recorded(monkeypatch, tmp_path):
    """`main` over RUNS instead of a store, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compare, "_read", lambda uri, experiment: RUNS)
    return tmp_path


def names(text: str) -> list[str]:
    return [row["name"] for row in json.loads(text)]


def test_compare_sorts_the_best_accuracy_first_and_costs_ascending(recorded, capsys):
    compare.main(["--format", "json"])
    assert names(capsys.readouterr().out) == ["vgg16", "lenet5", "vgg11", "alexnet"]
    compare.main(["--format", "json", "--sort", "params"])
    assert names(capsys.readouterr().out) == ["lenet5", "vgg11", "alexnet", "vgg16"]


def test_compare_adds_the_seconds_of_pretraining(monkeypatch):
    (row,) = compare.tabulate([run("dbn", 0.9, metrics={"cost/train_seconds": 10.0, "cost/pretrain_seconds": 25.0})])
    assert row["train_seconds"] == 35


def test_compare_json_and_csv_carry_exact_numbers_under_machine_names(recorded, capsys):
    compare.main(["--format", "json"])
    row = json.loads(capsys.readouterr().out)[0]
    assert list(row) == list(compare.COLUMNS)
    assert row["params"] == 138_357_544
    assert row["train_seconds"] == 900
    assert row["seed"] == 3
    assert len(row["run_id"]) == 32
    compare.main(["--format", "csv"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert rows[0]["params"] == "138357544"
    assert rows[1]["train_seconds"] == "12.34"
    assert rows[3]["test_accuracy"] == ""
    assert not (recorded / "runs").exists()


def test_compare_table_fits_80_columns_without_colour_codes(recorded, capsys):
    compare.main([])
    text = capsys.readouterr().out
    assert "\x1b" not in text
    table = text.split("accuracy against")[0]
    assert max(map(len, table.splitlines())) <= 80
    assert re.search(r"vgg16 +cifar10 +138\.4M +0\.42G +0\.9000 +0\.9000 +900 +11\.0k +vgg1600", table)
    assert "alexnet (running)" in table
    assert "vgg11 (failed)" in table


def test_compare_table_fits_with_long_names_too(monkeypatch, capsys, tmp_path):
    long = [run("model=efficientnet_b7 seed=12", 0.5, params={"model": "efficientnet_b7", "data": "fashion_mnist"})]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compare, "_read", lambda uri, experiment: long)
    compare.main([])
    table = capsys.readouterr().out.split("accuracy against")[0]
    assert max(map(len, table.splitlines())) <= 80
    for part in ("efficientnet_b7", "seed=12", "fashion_mnist", "61.7k", "11.0k"):
        assert part in table


def test_compare_draws_the_scatter_of_finished_runs_and_says_where(recorded, capsys):
    compare.main([])
    assert "runs/compare.png" in capsys.readouterr().out
    with Image.open(recorded / "runs" / "compare.png") as image:
        assert image.width > 800
    compare.main(["--format", "csv", "--figure", "out/a.png"])
    captured = capsys.readouterr()
    assert "a.png" in captured.err
    assert "a.png" not in captured.out
    assert (recorded / "out" / "a.png").exists()


def test_compare_markdown_can_be_pasted(recorded, capsys):
    compare.main(["--format", "markdown"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| run | data | params |")
    assert set(lines[1]) <= set("|-: ")
    assert {line.count("|") for line in lines} == {len(compare.SHOWN) + 1}


@pytest.mark.parametrize(
    ("where", "left"),
    [
        ("test_accuracy > 0.6", ["vgg16", "lenet5"]),
        ("test_accuracy > 0.6 and model == 'vgg16'", ["vgg16"]),
        ("status == 'RUNNING'", ["alexnet"]),
        ("model in ['vgg11', 'lenet5'] or params > 1e8", ["vgg16", "lenet5", "vgg11"]),
        ("model.str.startswith('vgg')", ["vgg16", "vgg11"]),
        ("not (seed == 3 and train_seconds < 100)", ["vgg16"]),
    ],
)
def test_compare_where_keeps_what_fits(recorded, capsys, where, left):
    compare.main(["--format", "json", "--where", where])
    assert names(capsys.readouterr().out) == left


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sort", "test_acuracy"], "unknown column in --sort 'test_acuracy': did you mean 'test_accuracy'"),
        (["--where", "modl == 'vgg16'"], "unknown column in --where 'modl': did you mean 'model'"),
        (["--where", "model =="], r'--where "model ==" cannot be read \(.*\): write a condition'),
        (["--where", "params + 1"], "not true or false for each run"),
        (["--where", "model > 3"], "cannot be read"),
        (["--where", "__import__('os')"], "unknown column in --where '__import__'"),
        (["--format", "jsn"], "unknown --format 'jsn': did you mean 'json'"),
        (["--srt", "params"], "unrecognized arguments: --srt params: did you mean '--sort'"),
        (["--sort"], "expected one argument"),
        (["--figure", "a.nope"], "--figure a.nope cannot be written"),
    ],
)
def test_compare_refuses_in_one_line(recorded, arguments, message):
    with pytest.raises(ConfigError, match=message) as caught:
        compare.main(arguments)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_compare_says_when_nothing_is_left(recorded):
    with pytest.raises(DataError, match="none of 4 runs fits"):
        compare.main(["--where", "test_accuracy > 2"])


def test_compare_without_a_database_says_so_and_makes_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"no runs yet: .*mlflow.db does not exist"):
        compare.main([])
    assert not list(tmp_path.iterdir())


def test_tabulate_leaves_out_the_runs_that_hold_sweeps_together():
    runs = [
        run("parent", run_id="p"),
        run("child", 0.5, parent="p"),
        run("empty sweep", tags={"kerasnn.sweep": "parent"}),
    ]
    assert [row["name"] for row in compare.tabulate(runs)] == ["child"]
    with pytest.raises(DataError, match=r"no runs yet"):
        compare.tabulate(runs[2:])


def test_tabulate_turns_what_is_no_number_into_nothing():
    (row,) = compare.tabulate(
        [
            run(
                "diverged",
                float("nan"),
                metrics={"cost/flops": float("inf"), "cost/params_total": 1.7976931348623157e308},
            )
        ]
    )
    assert row["test_accuracy"] is None
    assert row["flops"] is None
    assert row["params"] is None


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (61_706, "61.7k"),
        (138_357_544, "138.4M"),
        (420_000_000, "0.42G"),
        (15.47e9, "15.5G"),
        (1.75e11, "175.0G"),
        (12, "12"),
        (0.5, "0.5"),
        (999, "999"),
    ],
)
def test_human_numbers_have_about_three_figures(number, text):
    assert tables.human(number) == text


def test_compare_says_that_different_test_splits_do_not_compare(recorded, capsys, monkeypatch):
    splits = {"a": "1111", "b": "1111", "c": "2222"}
    runs = [run(name, 0.5, tags={"hash.test": split * 16}) for name, split in splits.items()]
    monkeypatch.setattr(compare, "_read", lambda uri, experiment: runs)
    compare.main([])
    assert (
        "2 different test splits: their accuracies do not compare. The scatter has the 2 runs"
        in capsys.readouterr().out
    )
    compare.main(["--where", "test_split == '11111111'"])
    assert "different test splits" not in capsys.readouterr().out
