import json
import logging
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kerasnn.tracking import spool
from kerasnn.tracking.journal import read_events, read_state
from kerasnn.tracking.tracker import NoTracker

# MLflow 3.17 asks SQLAlchemy 2.1 for a loader strategy that is on its way out.


def writer_pid() -> int:
    return spool._link()._process.pid


def script(body: str, store, name: str) -> subprocess.Popen:
    """A training in a process of its own, so that it can be killed."""
    lines = [
        "import os, sys, time",
        f"sys.path.insert(0, {str(Path(spool.__file__).parents[2])!r})",
        "from kerasnn.tracking.spool import SpoolTracker",
        f"tracker = SpoolTracker({str(store.runs / name)!r}, {store.uri!r}, {str(store.runs / 'artifacts')!r})",
        f"tracker.start({name!r}, 'tests', {{}}, {{}})",
        "tracker.metrics({'train/loss': 0.5}, step=1)",
        body,
    ]
    return subprocess.Popen([sys.executable, "-c", "\n".join(lines)], start_new_session=True, stdout=subprocess.PIPE)


def test_spool_brings_everything_to_mlflow(store):
    tracker = store.start("everything", {"model": "vgg16", "seed": 3, "trainer.epochs": 2, "long": "x" * 9000})
    tracker.metrics({"train/loss": 0.5, "val/accuracy": 0.25}, step=1)
    tracker.metrics({"train/loss": math.nan, "val/accuracy": math.inf}, step=2)
    tracker.metrics({"test/accuracy": 0.75, "broken": "no number"})
    tracker.tags({"hash.train": "abc"})
    figure = tracker.run_dir / "figures" / "curves.txt"
    figure.parent.mkdir()
    figure.write_text("a picture")
    tracker.artifact(figure, "figures")
    tracker.artifact(tracker.run_dir / "absent.txt")
    tracker.dataset("digits", "training", "f" * 64, "UCI", 1437, (32, 32, 1), 10)
    run_id = tracker.finish("FINISHED")

    (run,) = store.find("everything")
    assert run["run_id"] == run_id
    assert run["status"] == "FINISHED"
    assert run["experiment"] == "tests"
    assert run["params"] == {"model": "vgg16", "seed": "3", "trainer.epochs": "2", "long": "x" * 6000}
    assert run["tags"]["device"] == "cpu"
    assert run["tags"]["mlflow.user"]
    assert run["tags"]["hash.train"] == "abc"
    assert run["metrics"]["test/accuracy"] == 0.75
    steps, values = zip(*store.history(run_id, "train/loss"), strict=True)
    assert steps == (1, 2)
    assert values[0] == 0.5
    assert math.isnan(values[1])
    folder = Path(store.client.get_run(run_id).info.artifact_uri.removeprefix("file://"))
    assert folder.is_relative_to(store.runs / "artifacts")
    assert (folder / "figures" / "curves.txt").read_text() == "a picture"
    assert "absent.txt" in (tracker.run_dir / "tracking.log").read_text()
    (data,) = store.client.get_run(run_id).inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("digits", "f" * 36)
    assert [(tag.key, tag.value) for tag in data.tags] == [("mlflow.data.context", "training")]
    assert json.loads(data.dataset.profile)["num_rows"] == 1437


def test_spool_never_waits_for_the_writer(store):
    tracker = store.start("stopped")
    count = 1500  # More messages than the pipe to the writer holds.
    os.kill(writer_pid(), signal.SIGSTOP)
    try:
        longest = 0.0
        for step in range(count):
            begin = time.perf_counter()
            tracker.metrics({"train/loss": float(step)}, step=step)
            longest = max(longest, time.perf_counter() - begin)
    finally:
        os.kill(writer_pid(), signal.SIGCONT)
    run_id = tracker.finish()
    assert longest < 0.25
    assert store.history(run_id, "train/loss") == [(step, float(step)) for step in range(count)]


def test_spool_survives_a_killed_writer(store, wait_until):
    tracker = store.start("writer killed")
    tracker.metrics({"val/loss": 1.0}, step=1)
    assert wait_until(lambda: (state := read_state(tracker.run_dir)) and state.applied == 2)
    os.kill(writer_pid(), signal.SIGKILL)
    wait_until(lambda: spool._link()._process.poll() is not None)
    tracker.metrics({"val/loss": 0.5}, step=2)
    run_id = tracker.finish()
    assert [run["run_id"] for run in store.find("writer killed")] == [run_id]
    assert store.history(run_id, "val/loss") == [(1, 1.0), (2, 0.5)]


@pytest.mark.parametrize("forgotten", ["progress", "everything"])
def test_replay_leaves_one_trace_of_what_was_applied_twice(store, forgotten):
    """A writer killed between MLflow's commit and its own note applies the same events again."""
    from kerasnn.tracking.writer import replay

    name = f"twice {forgotten}"
    tracker = store.start(name)
    tracker.metrics({"val/loss": 1.0}, step=1)
    tracker.metrics({"val/loss": 0.5}, step=2)
    tracker.dataset("digits", "test", "a" * 64, "UCI", 360, (32, 32, 1), 10)
    run_id = tracker.finish()
    path = tracker.run_dir / "tracking.state"
    if forgotten == "everything":
        path.unlink()
    else:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"applied": 1, "offset": 0, "status": "RUNNING"}))
    assert replay(tracker.run_dir)
    assert [run["run_id"] for run in store.find(name)] == [run_id]
    assert store.history(run_id, "val/loss") == [(1, 1.0), (2, 0.5)]
    assert len(store.client.get_run(run_id).inputs.dataset_inputs) == 1


def test_replay_is_a_run_anew_where_the_store_has_lost_it(store):
    from kerasnn.tracking.writer import replay

    tracker = store.start("lost")
    tracker.metrics({"val/loss": 1.0}, step=1)
    tracker.finish()
    path = tracker.run_dir / "tracking.state"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"run_id": "0" * 32, "status": "RUNNING"}))
    folder = tracker.run_dir
    journal = folder / "tracking.jsonl"
    journal.write_text(journal.read_text().replace('"id":"', '"id":"new-'))
    assert replay(folder)
    assert read_state(folder).run_id != "0" * 32
    assert len(store.find("lost")) == 2


def test_spool_waits_in_the_run_folder_until_the_store_is_there(tmp_path, caplog, store, wait_until):
    """A database below a file cannot be opened, whoever asks; when the file is gone it can."""
    obstacle = tmp_path / "disk"
    obstacle.write_text("not a folder")
    runs, uri = tmp_path / "runs", f"sqlite:///{obstacle}/mlflow.db"
    lost = spool.SpoolTracker(runs / "first", uri, obstacle / "artifacts", runs, patience_seconds=2)
    lost.start("first", "tests", {}, {"model": "lenet5"})
    lost.metrics({"val/loss": 1.0}, step=1)
    with caplog.at_level(logging.WARNING):
        assert lost.finish() is None
    (line,) = [record.getMessage() for record in caplog.records]
    assert "replayed at the next run" in line
    assert str(runs / "first" / "tracking.jsonl") in line
    spool._link().close()  # The training that met it is over.

    obstacle.unlink()
    later = spool.SpoolTracker(runs / "second", uri, obstacle / "artifacts", runs)
    later.start("second", "tests", {}, {"model": "lenet5"})
    assert later.finish()

    from kerasnn.tracking.mlflow import read_runs

    assert wait_until(lambda: (state := read_state(runs / "first")) and state.ended)
    found = {run["name"]: run for run in read_runs(uri)}
    assert found.keys() == {"first", "second"}
    assert found["first"]["status"] == "FINISHED"
    assert found["first"]["metrics"] == {"val/loss": 1.0}


def test_killed_training_is_marked_killed(store, wait_until):
    training = script("time.sleep(60)", store, "killed")
    with training:
        assert wait_until(lambda: (state := read_state(store.runs / "killed")) and state.run_id)
        training.kill()
    wait_until(lambda: read_state(store.runs / "killed").ended)
    (run,) = store.find("killed")
    assert run["status"] == "KILLED"
    assert run["metrics"] == {"train/loss": 0.5}


def test_interrupted_training_still_says_how_it_ended(store, wait_until):
    """Ctrl-C goes to the whole process group; the writer must not be in it."""
    body = "try:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    print(tracker.finish('KILLED'))"
    training = script(body, store, "interrupted")
    with training:
        assert wait_until(lambda: (state := read_state(store.runs / "interrupted")) and state.applied == 2)
        os.killpg(training.pid, signal.SIGINT)
        run_id = training.stdout.read().decode().strip()
    (run,) = store.find("interrupted")
    assert (run["run_id"], run["status"]) == (run_id, "KILLED")
    assert run["end_time"]


def test_second_tracker_on_a_folder_continues_its_run(store):
    first = store.start("resumed", {"seed": 1})
    first.metrics({"val/loss": 1.0}, step=1)
    run_id = first.finish("KILLED")
    again = store.start("resumed", {"seed": 1, "trainer.epochs": 4})
    again.metrics({"val/loss": 0.5}, step=2)
    assert again.finish("FINISHED") == run_id
    (run,) = store.find("resumed")
    assert run["status"] == "FINISHED"
    assert run["params"] == {"seed": "1", "trainer.epochs": "4"}
    assert store.history(run_id, "val/loss") == [(1, 1.0), (2, 0.5)]


def test_child_carries_its_parents_run_id(store):
    parent = store.start("sweep")
    child = store.start("sweep/0", parent=str(parent.run_dir))
    child.finish()
    parent_id = parent.finish()
    (run,) = store.find("sweep/0")
    assert run["parent"] == parent_id


def test_deleted_experiment_takes_runs_again(store):
    """Whoever deletes an experiment in MLflow's pages still trains under its name."""
    first = store.tracker("before")
    first.start("before", "thrown away", {}, {})
    first.finish()
    experiment = store.client.get_experiment_by_name("thrown away")
    store.client.delete_experiment(experiment.experiment_id)
    assert store.find("before") == []
    again = store.tracker("after")
    again.start("after", "thrown away", {}, {})
    again.metrics({"val/loss": 1.0}, step=1)
    run_id = again.finish()
    (run,) = store.find("after")
    assert (run["run_id"], run["experiment"], run["status"]) == (run_id, "thrown away", "FINISHED")
    assert store.client.get_experiment(experiment.experiment_id).lifecycle_stage == "active"
    assert "was deleted in MLflow" in (again.run_dir / "tracking.log").read_text()


def test_run_that_mlflow_never_takes_is_given_up_with_one_warning(store, caplog):
    from kerasnn.tracking.writer import left_over

    tracker = store.tracker("nameless")
    tracker.start("nameless", "", {}, {"model": "lenet5"})
    for step in range(3):
        tracker.metrics({"val/loss": 1.0}, step=step)
    begin = time.monotonic()
    with caplog.at_level(logging.WARNING):
        assert tracker.finish() is None
    assert time.monotonic() - begin < spool.PATIENCE_IN_TROUBLE_SECONDS
    (line,) = [record.getMessage() for record in caplog.records]
    assert "does not take this run (Invalid experiment name" in line
    (line,) = (tracker.run_dir / "tracking.log").read_text().splitlines()
    assert "MLflow will never take this run: Invalid experiment name" in line
    assert read_state(tracker.run_dir).status == "REFUSED"
    assert tracker.run_dir not in left_over(store.runs)

    mended = store.start("nameless")  # Resumed under a name that MLflow takes.
    mended.metrics({"val/loss": 0.5}, step=3)
    run_id = mended.finish()
    (run,) = store.find("nameless")
    assert (run["run_id"], run["status"]) == (run_id, "FINISHED")
    assert store.history(run_id, "val/loss") == [(3, 0.5)]


def test_disk_that_refuses_does_not_stop_a_training(store, monkeypatch, caplog):
    """A full disk: events wait in memory and are written when there is room, in order."""
    tracker = store.start("full disk")
    write = os.write

    def refuse(descriptor, data):
        if b'"event"' in data:
            raise OSError(28, "No space left on device")
        return write(descriptor, data)

    with caplog.at_level(logging.WARNING), monkeypatch.context() as patch:
        patch.setattr(os, "write", refuse)
        tracker.metrics({"val/loss": 1.0}, step=1)
        tracker.metrics({"val/loss": 0.9}, step=2)
    assert len(caplog.records) == 1
    run_id = tracker.finish()
    assert store.history(run_id, "val/loss") == [(1, 1.0), (2, 0.9)]


def test_journal_drops_a_torn_line(tmp_path):
    journal = spool.Journal(tmp_path)
    journal.append({"event": "metrics", "step": 1})
    journal.close()
    with open(journal.path, "a") as file:
        file.write('{"event": "met')
    again = spool.Journal(tmp_path)
    again.append({"event": "metrics", "step": 2})
    again.close()
    assert [event["step"] for event, _ in read_events(journal.path)] == [1, 2]


def test_open_tracker_none_records_nothing(tmp_path):
    tracker = spool.open_tracker("none", None, tmp_path / "run")
    assert isinstance(tracker, NoTracker)
    tracker.start("a", "b", {}, {})
    assert tracker.finish() is None
    assert not (tmp_path / "run").exists()
