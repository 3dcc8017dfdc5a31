"""The only importer of MLflow: applies the events of a run to it, and reads runs back. It imports inside functions."""

import json
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import kerasnn
from kerasnn.errors import DataError, unknown
from kerasnn.tracking import package
from kerasnn.tracking.refusal import Refused, is_permanent
from kerasnn.tracking.store import database_file, require_runs

log = logging.getLogger(__name__)

SPOOL_TAG = "kerasnn.spool"
"""Tag with the identity of a run's start event, by which a run that was created, but not noted, is found again."""

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # Retrying is the writer's work: a client that retries for minutes by itself could not be asked to end.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
"""Settings of MLflow that hold unless the environment says otherwise."""

MODEL_NAME = "model"
SCORES = ("best/val_accuracy", "test/accuracy", "test/loss")
DIGEST_LENGTH = 36  # MLflow's limit: 144 of SHA-256's 256 bits.
MOST_TAGS = 100  # MLflow's limit per call.


@lru_cache(maxsize=8)
def connect(uri: str):
    """A client whose store is open; a new SQLite file is made, which takes seconds.

    Raises:
        OSError: the SQLite file cannot be opened. (MLflow itself would try for a minute and a half.)
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    file = database_file(uri)
    if file and not file.exists():
        _create_database(file)
    elif file:
        try:
            with closing(sqlite3.connect(file, timeout=5)) as probe:
                probe.execute("PRAGMA user_version")
        except sqlite3.Error as error:
            raise OSError(f"{file}: {error}") from error
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    client.search_experiments(max_results=1)
    return client


def _create_database(file: Path) -> None:
    """A new SQLite store, whole or not at all.

    MLflow's migrations are steps of their own: two processes that make the same file at once, or one that is killed
    amid them, leave a database that no MLflow can open any more.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with TemporaryDirectory(dir=file.parent, prefix=".new-") as folder:
        new = Path(folder) / file.name
        SqlAlchemyStore(f"sqlite:///{new}", (file.parent / "artifacts").as_uri()).engine.dispose()
        with suppress(FileExistsError):  # Another process was quicker: its file is as good.
            os.link(new, file)


class Recorder:
    """Applies the events of one run to MLflow.

    Args:
        uri: a resolved tracking URI.
        artifacts: the artifact root for an experiment that has to be made, unless the store is a server.
        folder: the run folder, which relative paths in events start from.
    """

    def __init__(self, uri: str, artifacts: str, folder: Path):
        self.uri = uri
        self.run_id: str | None = None
        self.experiment_id: str | None = None
        self._artifacts = artifacts
        self._folder = folder
        self._client = connect(uri)

    def resume(self, run_id: str) -> bool:
        """Goes on with a run that exists; False where the store no longer has it."""
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        self.run_id, self.experiment_id = run_id, run.info.experiment_id
        return True

    def apply(self, events: Sequence[dict], parent: Callable[[str], str | None]) -> list[str]:
        """Applies events in order, numbers and tags as one call; returns what MLflow will never accept, in words.

        Applying an event twice leaves one trace: times, steps and identities are the event's own.

        Raises:
            Refused: MLflow will never accept the run itself.
        """
        if len(events) > 1:
            try:
                self._batch(events)
                return []
            except Exception as error:
                if not is_permanent(error):
                    raise  # else: one by one, so that the good ones get through.
        refused = []
        for event in events:
            try:
                self._one(event, parent)
            except Exception as error:
                if not is_permanent(error, event["event"] != "start"):
                    raise
                if self.run_id is None:
                    raise Refused(" ".join(str(error).split())) from error
                refused.append(f"{event['event']}: {error}")
        return refused

    def end(self, status: str, time_ms: int) -> None:
        """Closes the run."""
        self._client.set_terminated(self.run_id, status, end_time=time_ms)

    def _one(self, event: dict, parent) -> None:
        match event["event"]:
            case "start":
                self._start(event, parent)
            case "metrics" | "tags":
                self._batch([event])
            case "artifact":
                self._artifact(event)
            case "dataset":
                self._dataset(event)
            case "model":
                self._model(event)
            case "finish":
                self.end(event["status"], event["time"])

    def _start(self, event: dict, parent) -> None:
        tags = {**event["tags"], SPOOL_TAG: event["id"], "mlflow.user": event["user"]}
        if event["parent"] and (parent_id := parent(event["parent"])):
            tags["mlflow.parentRunId"] = parent_id
        known = {}
        if self.run_id is None:
            self.experiment_id = self._experiment(event["experiment"])
            self.run_id = self._run(event)
        else:  # The training was resumed: its run goes on. A parameter keeps the value it began with, by MLflow's rule.
            self._client.update_run(self.run_id, status="RUNNING")
            known = (before := self._client.get_run(self.run_id).data).params
            if "error" in before.tags:  # How an earlier attempt ended.
                self._client.delete_tag(self.run_id, "error")
        params = {name: value for name, value in event["params"].items() if name not in known}
        self._log([], tags, params)

    def _run(self, event: dict) -> str:
        """The run's id; an attempt that was cut off may have made it already."""
        mark = event["id"]
        for run in self._client.search_runs([self.experiment_id], f"tags.`{SPOOL_TAG}` = '{mark}'", max_results=1):
            return run.info.run_id
        run = self._client.create_run(self.experiment_id, event["time"], {SPOOL_TAG: mark}, event["name"])
        return run.info.run_id

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        if found := self._client.get_experiment_by_name(name):
            if found.lifecycle_stage == "deleted":  # It still holds the name, and takes no run.
                log.warning("experiment '%s' was deleted in MLflow; this run brings it back, with its runs", name)
                self._client.restore_experiment(found.experiment_id)
            return found.experiment_id
        local = not self.uri.startswith(("http", "databricks"))
        try:
            return self._client.create_experiment(name, Path(self._artifacts).as_uri() if local else None)
        except MlflowException:  # Another writer was quicker.
            if found := self._client.get_experiment_by_name(name):
                return found.experiment_id
            raise

    def _batch(self, events: Sequence[dict]) -> None:
        from mlflow.entities import Metric

        metrics, tags = [], {}
        for event in events:
            if event["event"] == "tags":
                tags.update(event["values"])
            else:
                place = event["time"], event["step"] or 0
                metrics += [Metric(*pair, *place) for pair in event["values"].items()]
        self._log(metrics, tags, {})

    def _log(self, metrics: list, tags: dict[str, str], params: dict[str, str]) -> None:
        from mlflow.entities import Param, RunTag

        kinds = metrics, [Param(*pair) for pair in params.items()], [RunTag(*pair) for pair in tags.items()]
        for first in range(0, max(map(len, kinds)), MOST_TAGS):
            self._client.log_batch(self.run_id, *(kind[first : first + MOST_TAGS] for kind in kinds))

    def _artifact(self, event: dict) -> None:
        path = self._folder / event["path"]
        keep = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
        keep(self.run_id, str(path), event["folder"] or None)

    def _dataset(self, event: dict) -> None:
        import numpy as np
        from mlflow.data.schema import TensorDatasetSchema
        from mlflow.entities import Dataset, DatasetInput, InputTag
        from mlflow.types.schema import Schema, TensorSpec

        inputs = Schema([TensorSpec(np.dtype(event["input_dtype"]), (-1, *event["input_shape"]))])
        labels = Schema([TensorSpec(np.dtype("int32"), (-1, *event["label_shape"]))])
        dataset = Dataset(
            name=event["name"],
            digest=event["digest"][:DIGEST_LENGTH],
            source_type="code",
            source=json.dumps({"origin": event["source"]}),
            schema=json.dumps(TensorDatasetSchema(inputs, labels).to_dict()),
            profile=json.dumps({"num_rows": event["examples"], "num_classes": event["num_classes"]}),
        )
        tags = [InputTag("mlflow.data.context", event["context"])]
        self._client.log_inputs(self.run_id, [DatasetInput(dataset, tags)])

    def _model(self, event: dict) -> None:
        from mlflow.entities import LoggedModelOutput

        client, model = self._client, self._logged_model(event)
        if model is None:
            return
        with TemporaryDirectory(dir=self._folder) as folder:
            self._package(Path(folder), model, event)
            client.log_model_artifacts(model.model_id, folder)
        client.log_outputs(self.run_id, [LoggedModelOutput(model.model_id, step=0)])
        self._score(model.model_id)
        client.finalize_logged_model(model.model_id, "READY")

    def _score(self, model_id: str) -> None:
        """Puts the run's final numbers beside the model too, where MLflow's list of models shows them."""
        from mlflow.entities import Metric

        last = [history[-1] for name in SCORES if (history := self._client.get_metric_history(self.run_id, name))]
        metrics = [Metric(m.key, m.value, m.timestamp, m.step, model_id=model_id, run_id=self.run_id) for m in last]
        if metrics:
            self._client.log_batch(self.run_id, metrics=metrics)

    def _logged_model(self, event: dict):
        """The model's entry, made or, after an attempt that failed, found again; None where it is already complete."""
        mark, mine = str(event["time"]), f"source_run_id = '{self.run_id}'"
        for model in self._client.search_logged_models([self.experiment_id], filter_string=mine):
            if model.tags.get(SPOOL_TAG) == mark:
                return None if model.status.value == "READY" else model
        return self._client.create_logged_model(
            self.experiment_id,
            name=MODEL_NAME,
            source_run_id=self.run_id,
            tags={SPOOL_TAG: mark},
            params=self._client.get_run(self.run_id).data.params,
            model_type="classifier" if event["metadata"].get("class_names") else "sequence-model",
        )

    def _package(self, folder: Path, logged, event: dict) -> None:
        import numpy as np
        from mlflow import pyfunc
        from mlflow.models import Model, infer_signature
        from mlflow.models.utils import _Example

        with np.load(self._folder / event["example"]) as example:
            inputs, outputs = example["input"], example["output"]
        package.lay_out(folder, self._folder / event["path"], self._folder / event["example"])
        model = Model(
            artifact_path=logged.artifact_location,
            run_id=self.run_id,
            model_uuid=logged.model_id,
            model_id=logged.model_id,
            signature=infer_signature(inputs, outputs),
            metadata={"kerasnn": kerasnn.__version__, **event["metadata"]},
        )
        shown = _Example(inputs[:1])  # It is kept as JSON: one picture says it all, in a hundredth of the bytes.
        shown.save(str(folder))
        model.saved_input_example_info = shown.info
        model.add_flavor("tensorflow", **package.flavor())
        pyfunc.add_to_model(model, **package.pyfunc_flavor())
        model.model_size_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        model.save(str(folder / "MLmodel"))


def read_runs(uri: str, experiment: str | None = None) -> list[dict]:
    """Every run that is not deleted, newest first.

    Args:
        uri: a resolved tracking URI.
        experiment: the name of one experiment; None takes all of them.

    Returns:
        One dictionary per run: `run_id name experiment status start_time end_time parent params metrics tags`, times in
        milliseconds, `parent` the id of the sweep's run or None.

    Raises:
        DataError: no such store, or no such experiment in it.
    """
    require_runs(uri)
    try:
        client = connect(uri)
        experiments = {found.experiment_id: found.name for found in _pages(client.search_experiments)}
    except Exception as error:
        raise DataError(f"{uri} cannot be read: {' '.join(str(error).split())[:200]}") from error
    chosen = [number for number, name in experiments.items() if experiment in (None, name)]
    if experiment is not None and not chosen:
        raise DataError(unknown("experiment", experiment, experiments.values()))
    runs = _pages(lambda page_token: client.search_runs(chosen, max_results=1000, page_token=page_token))
    return [_plain(run, experiments) for run in runs]


def _pages(search: Callable) -> Iterator:
    page = search(page_token=None)
    yield from page
    while page.token:
        page = search(page_token=page.token)
        yield from page


def _plain(run, experiments: dict[str, str]) -> dict:
    return {
        "run_id": run.info.run_id,
        "name": run.info.run_name,
        "experiment": experiments[run.info.experiment_id],
        "status": run.info.status,
        "start_time": run.info.start_time,
        "end_time": run.info.end_time,
        "parent": run.data.tags.get("mlflow.parentRunId"),
        "params": dict(run.data.params),
        "metrics": dict(run.data.metrics),
        "tags": dict(run.data.tags),
    }
