"""`kerasnn compare`: the recorded runs side by side, as a table and as a picture of accuracy against cost."""

import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from kerasnn.analysis.tables import FORMS, Column, check_form, human, render
from kerasnn.errors import ConfigError, DataError, refuse_in_one_line, unknown
from kerasnn.tracking.store import RUNS, database_file, resolve_uri

METRICS = {
    "params": "cost/params_total",
    "flops": "cost/flops",
    "val_accuracy": "best/val_accuracy",
    "test_accuracy": "test/accuracy",
    "train_seconds": "cost/train_seconds",
    "examples_per_second": "train/examples_per_second",
}
"""Columns that are numbers, and the metric behind each; `train_seconds` includes a phase of pre-training."""

LARGEST = 1e308  # MLflow's databases hold 1.8e308 for an infinity.

COLUMNS = ("name", "model", "data", "test_split", "seed", *METRICS, "status", "experiment", "started", "run_id")
"""Every column, in the order of csv and json."""

DESCENDING = ("val_accuracy", "test_accuracy", "examples_per_second", "started")
"""Sorted with the highest first: more is better, or newer."""


ENDINGS = {"RUNNING": "running", "SCHEDULED": "waiting", "FAILED": "failed", "KILLED": "killed"}


def _run(row: dict) -> str:
    """A run's name, with the model beside one that does not tell it, and how the run ended if not well."""
    name = row["name"].removeprefix("model=")
    if row["model"] and row["model"] not in name:
        name += f" [{row['model']}]"
    return f"{name} ({ENDINGS[row['status']]})" if row["status"] in ENDINGS else name


SHOWN = {
    "run": Column("run", _run, text=True, fold=True),
    "data": Column("data", text=True),
    "params": Column("params", human),
    "flops": Column("FLOPs", human),
    "val_accuracy": Column("val", "{:.4f}".format),
    "test_accuracy": Column("test", "{:.4f}".format),
    "train_seconds": Column("secs", lambda value: f"{value:.0f}" if value >= 10 else f"{value:.1f}"),
    "examples_per_second": Column("ex/s", human),
    "run_id": Column("id", lambda value: value[:7], text=True),
}
"""What people see (`val`, `test`: accuracy). The first column is made of several values."""


def _style(rows: Sequence[dict]) -> Callable[[dict], str]:
    """The best test accuracy in bold, what did not end well dimmed."""
    best = max((row["test_accuracy"] for row in rows if row["test_accuracy"] is not None), default=None)
    return lambda row: "dim" if row["status"] in ENDINGS else "bold" if row["test_accuracy"] == best is not None else ""


def add_arguments(parser: ArgumentParser) -> None:
    """The options of `kerasnn compare`."""
    parser.add_argument("--experiment", metavar="NAME", help="only the runs of this experiment")
    parser.add_argument(
        "--where", metavar="EXPR", help="only these, such as \"test_accuracy > 0.9 and model == 'vgg16'\""
    )
    parser.add_argument(
        "--sort", metavar="COLUMN", default="test_accuracy", help=f"one of {', '.join(COLUMNS)} (default test_accuracy)"
    )
    parser.add_argument("--format", metavar="FORMAT", default="table", help=f"{', '.join(FORMS)} (default table)")
    parser.add_argument("--uri", help="tracking store (default: MLFLOW_TRACKING_URI, else SQLite at runs/mlflow.db)")
    parser.add_argument("--figure", metavar="PATH", help="the scatter's file (default runs/compare.png, with a table)")


def main(arguments: list[str]) -> int:
    """Prints the comparison.

    Raises:
        ConfigError: an unknown option, column or format, or an expression that cannot be read.
        DataError: no runs, or none that `--where` leaves.
    """
    parser = ArgumentParser(prog="kerasnn compare", description=__doc__)
    refuse_in_one_line(parser)
    add_arguments(parser)
    asked = parser.parse_args(arguments)
    check_form(asked.format)
    _check_column("--sort", asked.sort)

    rows = sort(keep(tabulate(_read(resolve_uri(asked.uri), asked.experiment)), asked.where), asked.sort)
    print(render(asked.format, rows, SHOWN, _style(rows)), end="")
    path = asked.figure or (f"{RUNS}/compare.png" if asked.format == "table" else None)
    if path:
        _draw(rows, Path(path), sys.stdout if asked.format == "table" else sys.stderr)
    return 0


def _read(uri: str, experiment: str | None) -> list[dict]:
    from kerasnn.tracking.mlflow import read_runs
    from kerasnn.tracking.writer import left_over, replay

    file = database_file(uri)
    if file and file.exists():  # Runs whose process died before MLflow had everything belong in the comparison too.
        for folder in left_over(file.parent):
            replay(folder)
    return read_runs(uri, experiment)


def tabulate(runs: Sequence[dict]) -> list[dict]:
    """One row per run, all of `COLUMNS`; the runs that only hold a sweep together are left out.

    Args:
        runs: as `kerasnn.tracking.mlflow.read_runs` gives them.

    Returns:
        Dictionaries with exact numbers; None where a run has no such number.

    Raises:
        DataError: there is no run.
    """
    parents = {run["parent"] for run in runs} - {None}
    rows = [_row(run) for run in runs if run["run_id"] not in parents and run["tags"].get("kerasnn.sweep") != "parent"]
    if not rows:
        raise DataError("no runs yet: train something first, such as python -m kerasnn")
    return rows


def _row(run: dict) -> dict:
    numbers = {column: _number(run["metrics"].get(metric)) for column, metric in METRICS.items()}
    if numbers["train_seconds"] is not None:
        numbers["train_seconds"] += run["metrics"].get("cost/pretrain_seconds", 0)
    params = run["params"]
    seed = params.get("seed", "")
    facts = {
        "name": run["name"],
        "model": params.get("model"),
        "data": params.get("data"),
        "test_split": run["tags"].get("hash.test", "")[:8] or None,
        "seed": int(seed) if seed.isdigit() else None,
        **numbers,
        "status": run["status"],
        "experiment": run["experiment"],
        "started": _timestamp(run["start_time"]),
        "run_id": run["run_id"],
    }
    return {column: facts[column] for column in COLUMNS}


def _number(value: float | None) -> float | int | None:
    if value is None or not abs(value) < LARGEST:
        return None
    return int(value) if float(value).is_integer() and abs(value) > 1 else float(value)


def _timestamp(milliseconds: int | None) -> str | None:
    from datetime import datetime

    if milliseconds is None:
        return None
    return datetime.fromtimestamp(milliseconds / 1000).astimezone().isoformat(timespec="seconds")


def keep(rows: list[dict], where: str | None) -> list[dict]:
    """The rows for which a pandas query over the columns holds; None keeps all.

    Raises:
        ConfigError: the expression names an unknown column, or cannot be read.
        DataError: no row is left.

    Example:
        >>> keep(rows, "test_accuracy > 0.9 and model == 'vgg16'")
    """
    if where is None:
        return rows
    kept = frame(rows).index[_matches(rows, where)]
    if kept.empty:
        raise DataError(f'none of {len(rows)} runs fits --where "{where}"')
    return [rows[index] for index in kept]


def _matches(rows: list[dict], where: str):
    import ast

    import pandas as pd

    try:
        names = [node.id for node in ast.walk(ast.parse(where.strip(), mode="eval")) if isinstance(node, ast.Name)]
    except SyntaxError as error:
        raise _unreadable(where, error.msg) from error
    for name in names:
        _check_column("--where", name)
    try:
        answer = frame(rows).eval(where.strip(), engine="python")
    except Exception as error:
        raise _unreadable(where, f"{error}") from error
    if not (isinstance(answer, pd.Series) and answer.dtype == bool):
        raise _unreadable(where, "it is not true or false for each run")
    return answer


def _unreadable(where: str, why: str) -> ConfigError:
    why = " ".join(str(why).split())[:120]
    example = "test_accuracy > 0.9 and model == 'vgg16'"
    return ConfigError(f'--where "{where}" cannot be read ({why}): write a condition such as "{example}"')


def _check_column(option: str, column: str) -> None:
    if column not in COLUMNS:
        raise ConfigError(unknown(f"column in {option}", column, COLUMNS))


def frame(rows: list[dict]):
    """The rows as a pandas DataFrame, numbers as float (absent: NaN) and the rest as text."""
    import pandas as pd

    table = pd.DataFrame(rows, columns=list(COLUMNS))
    numbers = [*METRICS, "seed"]
    table[numbers] = table[numbers].astype(float)
    texts = [column for column in COLUMNS if column not in numbers]
    table[texts] = table[texts].astype(object).where(table[texts].notna(), "")
    return table


def sort(rows: list[dict], column: str) -> list[dict]:
    """The rows by one column: best accuracy, highest speed and newest first, costs and names ascending, gaps last."""
    present = [row for row in rows if row[column] is not None]
    absent = [row for row in rows if row[column] is None]
    return sorted(present, key=lambda row: row[column], reverse=column in DESCENDING) + absent


def _draw(rows: list[dict], path: Path, output) -> None:
    from kerasnn.analysis import figures
    from kerasnn.analysis.scatter import accuracy_against

    shown = [row for row in rows if row["status"] == "FINISHED" and row["test_accuracy"] is not None and row["params"]]
    if not shown:
        print("no finished run with a test accuracy: no scatter drawn", file=output)
        return
    splits = Counter(row["test_split"] for row in shown)
    if len(splits) > 1:
        (commonest, count), *_ = splits.most_common(1)
        shown = [row for row in shown if row["test_split"] == commonest]
        print(
            f"{len(splits)} different test splits: their accuracies do not compare. The scatter has the {count} runs "
            f"on {shown[0]['data']}; choose others with --where \"test_split == '…'\" (--format csv shows it)",
            file=output,
        )
    try:
        figures.save(accuracy_against(shown), path)
    except (OSError, ValueError) as error:  # matplotlib raises ValueError for a file type it does not know.
        raise ConfigError(f"--figure {path} cannot be written: {error}") from error
    print(f"accuracy against parameters: {path}", file=output)
