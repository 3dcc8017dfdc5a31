"""The task that Hydra runs, where a scheduler stops it."""

import json
import signal

import pytest

from kerasnn.config import launch, task
from kerasnn.config.compose import check


def test_stop_ends_in_order_and_not_what_is_ending_already(monkeypatch):
    told = []
    monkeypatch.setattr("signal.signal", lambda number, action: told.append((number, action)))
    with pytest.raises(KeyboardInterrupt):
        task.stop()
    try:
        raise SystemExit(-1)  # As submitit does to a task that is queued again, which Slurm then stops as well.
    except SystemExit:
        task.stop()
    assert told == [(signal.SIGTERM, signal.SIG_IGN)] * 2


def test_run_that_is_finished_is_not_trained_over_when_its_task_is_queued_again(tmp_path, monkeypatch):
    def begins():
        raise AssertionError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(task, "import_keras", begins)
    words, folder = ["model=mlp", "tracking=none"], tmp_path / "sweep" / "0"
    folder.mkdir(parents=True)
    result = {"name": "mlp", "status": "FINISHED", "digest": check(words).digest, "metrics": {"best/val_accuracy": 0.5}}
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    assert launch.main(["-m", *words, "hydra.sweep.dir=sweep"]) == 0
    assert json.loads((folder / "result.json").read_text()) == result
    (log,) = folder.glob("*.log")
    assert log.read_text().count("\n") == 1
    assert log.read_text().rstrip().endswith("mlp is finished already and left as it is: sweep/0")
