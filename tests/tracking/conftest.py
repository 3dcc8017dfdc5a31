"""One MLflow store for the whole folder: opening a new one takes seconds."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kerasnn.tracking.spool import SpoolTracker
from kerasnn.tracking.store import artifact_root, resolve_uri


class Store:
    """A runs folder with its database, and shorthands to write to it and to look into it."""

    def __init__(self, runs: Path):
        self.runs = runs
        self.uri = resolve_uri(runs=runs)

    def tracker(self, name: str, **options) -> SpoolTracker:
        return SpoolTracker(self.runs / name, self.uri, artifact_root(self.uri), **options)

    def start(self, name: str, params: dict | None = None, **options) -> SpoolTracker:
        tracker = self.tracker(name)
        tracker.start(name, "tests", {"device": "cpu"}, params or {"model": "lenet5"}, **options)
        return tracker

    @property
    def client(self):
        from kerasnn.tracking.mlflow import connect

        return connect(self.uri)

    def find(self, name: str) -> list[dict]:
        from kerasnn.tracking.mlflow import read_runs

        return [run for run in read_runs(self.uri) if run["name"] == name]

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        return [(point.step, point.value) for point in self.client.get_metric_history(run_id, metric)]


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("tracking") / "runs")


def wait_until(condition: Callable[[], object], seconds: float = 30) -> object:
    """The first true answer of `condition`, asked ten times a second."""
    end = time.monotonic() + seconds
    while not (answer := condition()) and time.monotonic() < end:
        time.sleep(0.1)
    return answer


@pytest.fixture(name="wait_until", scope="session")
def _wait_until() -> Callable:
    return wait_until


def leave(folder: Path, name: str = "mlp", **values: object) -> None:
    """What a run that was cut off leaves in its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text("trainer:\n  epochs: 3\n", encoding="utf-8")
    (folder / "result.json").write_text(json.dumps({"name": name, "status": "RUNNING", **values}), encoding="utf-8")


@pytest.fixture(name="leave", scope="session")
def _leave() -> Callable:
    return leave
