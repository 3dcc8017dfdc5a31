"""A sweep in the record: a parent run that holds its children together, and says at the end how they came out.

The sweep's folder is what children know it by, so that another process may run them: it holds `sweep.json`
and, as every run folder does, the journal and state of the run, here the parent's.
"""

import csv
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from kerasnn.tracking.environment import environment_tags
from kerasnn.tracking.folders import RESULT, launched_with, read_json, read_result, write_result
from kerasnn.tracking.journal import JOURNAL
from kerasnn.tracking.same_sweep import SWEEP
from kerasnn.tracking.spool import open_tracker
from kerasnn.tracking.tracker import Status, Tracker

TABLE = "sweep.csv"
MEANS = "sweep_means.csv"
CELLS = "cells.json"
"""In the folder of a sweep that takes over runs of others: what it asked for in each of its folders."""

SWEEP_FOLDER = "KERASNN_SWEEP"
"""In the environment of a process that runs one child of a sweep: the sweep's folder."""

SUMMARISED = ("test/accuracy", "test/loss", "best/val_accuracy", "cost/train_seconds")
"""The numbers whose mean and standard deviation over seeds are recorded."""


class TrackingOptions(Protocol):
    """Where the record goes: the `tracking` section of a config."""

    backend: str
    uri: str | None
    experiment: str


@dataclass
class Child:
    """How one run of a sweep came out."""

    folder: Path
    varied: dict[str, str]
    name: str = ""
    status: str = "FAILED"
    metrics: dict[str, float] = field(default_factory=dict)
    run_id: str | None = None


class Sweep:
    """An open sweep; `finish` closes it.

    Args:
        folder: the sweep's folder, which holds one folder per child.
        varying: the keys that differ between children, such as `("model", "seed")`.
        tracker: the parent's own, already started.
    """

    def __init__(self, folder: Path, varying: Sequence[str], tracker: Tracker):
        self.folder = folder
        self.varying = tuple(varying)
        self.tracker = tracker

    def finish(self, status: Status = "FINISHED") -> int:
        """Sums up the children, leaves `sweep.csv`, and closes the parent's run.

        Returns:
            How many children did not finish.
        """
        children = self.children()
        counts = {"FINISHED": 0, "FAILED": 0, "KILLED": 0}
        for child in children:
            counts[child.status] = counts.get(child.status, 0) + 1
        self.tracker.metrics({f"children/{name.lower()}": count for name, count in counts.items()})
        self.tracker.tags({f"sweep.{key}": self._values(children, key) for key in self.varying})
        self._best(children)
        self._table(children)
        self._means(children)
        self.tracker.finish(status)
        return len(children) - counts["FINISHED"]

    def children(self) -> list[Child]:
        """The runs below the folder, in the order in which they were started."""
        known = (RESULT, JOURNAL, ".hydra")
        folders = [path for path in self.folder.iterdir() if any((path / name).exists() for name in known)]
        cells = read_json(self.folder / CELLS)  # Most launchers take over nothing, and keep none.
        return [_read_child(path, self.varying, cells.get(path.name)) for path in sorted(folders, key=_by_number)]

    def _values(self, children: list[Child], key: str) -> str:
        return ", ".join(dict.fromkeys(child.varied.get(key, "") for child in children))

    def _best(self, children: list[Child]) -> None:
        finished = [child for child in children if child.status == "FINISHED" and "test/accuracy" in child.metrics]
        if finished:
            best = max(finished, key=lambda child: child.metrics["test/accuracy"])
            self.tracker.metrics({"best/test_accuracy": best.metrics["test/accuracy"]})
            self.tracker.tags(
                {"best.child": best.name, "best.run_id": best.run_id or "", "best.folder": best.folder.name}
            )

    def _table(self, children: list[Child]) -> None:
        names = sorted({name for child in children for name in child.metrics})
        rows = [
            {"run": child.name, **child.varied, "status": child.status, **child.metrics}
            | {"run_id": child.run_id, "folder": child.folder.name}
            for child in children
        ]
        self._write(TABLE, ["run", *self.varying, "status", *names, "run_id", "folder"], rows)

    def _means(self, children: list[Child]) -> None:
        """Mean, sample standard deviation and number over seeds, where several seeds ran of the same thing."""
        groups: dict[tuple[str, ...], list[Child]] = {}
        keys = [key for key in self.varying if key != "seed"]
        for child in children:
            if child.status == "FINISHED":
                groups.setdefault(tuple(child.varied.get(key, "") for key in keys), []).append(child)
        if "seed" not in self.varying or max(map(len, groups.values()), default=0) < 2:
            return
        rows = []
        for values, members in groups.items():
            row = _statistics(members)
            rows.append({**dict(zip(keys, values, strict=True)), **row})
            prefix = metric_name(" ".join(values)) + "/" if len(groups) > 1 else ""
            self.tracker.metrics({f"{prefix}{name}": number for name, number in row.items()})
        columns = [f"{name}/{kind}" for name in SUMMARISED for kind in ("mean", "std", "n")]
        self._write(MEANS, [*keys, *(name for name in columns if any(name in row for row in rows))], rows)

    def _write(self, name: str, columns: Sequence[str], rows: Iterable[dict]) -> None:
        path = self.folder / name
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        self.tracker.artifact(path)


def open_sweep(folder: str | Path, varying: Sequence[str], tracking: TrackingOptions, digest: str = "") -> Sweep:
    """Starts a sweep's own run, before its first child; that of a sweep which began in this folder goes on.

    Args:
        folder: the sweep's folder; it is made.
        varying: the keys that differ between children, such as `["model", "seed"]`.
        tracking: where the record goes.
        digest: by which the same sweep finds this folder again (`kerasnn.tracking.same_sweep`); empty where none may.

    Example:
        >>> sweep = open_sweep("runs/sweep", ["model", "seed"], config.tracking)
        >>> ...  # each child: tracker.start(child_name(folder, overrides), …, parent="runs/sweep")
        >>> sweep.finish()
    """
    folder = Path(folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    varying = list(dict.fromkeys(key.lstrip("+~") for key in varying))
    facts = {"varying": varying, "experiment": tracking.experiment, "digest": digest}
    (folder / SWEEP).write_text(json.dumps(facts, indent=2) + "\n")
    tracker = open_tracker(tracking.backend, tracking.uri, folder)
    name = f"sweep of {', '.join(varying) or 'one run'}"
    tags = {**environment_tags(), "kerasnn.sweep": "parent"}
    tracker.start(name, tracking.experiment, tags, {"sweep": ", ".join(varying)})
    return Sweep(folder, varying, tracker)


def child_name(folder: str | Path, overrides: Sequence[str]) -> str:
    """A child's name: what varies, such as "model=vgg16 seed=3".

    Args:
        folder: the sweep's folder.
        overrides: what the child was started with, such as `["model=vgg16", "seed=3", "trainer.epochs=2"]`.
    """
    varying = read_json(Path(folder) / SWEEP).get("varying")  # None where not `open_sweep` started it: all is named.
    given = _pairs(overrides)
    return " ".join(f"{key}={given[key]}" for key in (given if varying is None else varying) if key in given)


def keep_cells(folder: Path, cells: Mapping[str, Sequence[str]]) -> None:
    """Writes down what a sweep asks for in each of its folders, beside what it asked for before.

    Args:
        folder: the sweep's; it is made.
        cells: by the names of the folders below it, the overrides, such as `{"0": ["model=vgg16", "seed=3"]}`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_result(folder / CELLS, {**read_json(folder / CELLS), **{name: list(words) for name, words in cells.items()}})


def metric_name(text: str) -> str:
    """`text` with what MLflow does not allow in a metric's name replaced by an underscore."""
    return re.sub(r"[^\w.\- :]", "_", text)


def _pairs(overrides: Iterable[str]) -> dict[str, str]:
    pairs = (str(word).lstrip("+~").partition("=") for word in overrides)
    return {key: value for key, sign, value in pairs if sign}


def _read_child(folder: Path, varying: Sequence[str], cell: Sequence[str] | None) -> Child:
    """A run by what the sweep asked for: one that began elsewhere may have had that by default, and unsaid."""
    result = read_result(folder)
    given = _pairs((launched_with(folder) or []) if cell is None else cell)
    varied = {key: given.get(key, "") for key in varying}
    name = result.get("name") or folder.name
    child = Child(folder, varied, " ".join(f"{key}={value}" for key, value in varied.items()) or name)
    child.status = result.get("status") or "FAILED"
    child.metrics = {key: value for key, value in (result.get("metrics") or {}).items() if value is not None}
    child.run_id = result.get("run_id")
    return child


def _statistics(children: list[Child]) -> dict[str, float]:
    numbers = {}
    for name in SUMMARISED:
        values = [child.metrics[name] for child in children if name in child.metrics]
        if not values:
            continue
        mean = math.fsum(values) / len(values)
        numbers[f"{name}/mean"] = mean
        if len(values) > 1:
            numbers[f"{name}/std"] = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
        numbers[f"{name}/n"] = len(values)
    return numbers


def _by_number(folder: Path) -> tuple[int, str]:
    return (int(folder.name), "") if folder.name.isdigit() else (10**9, folder.name)
