"""The task that Hydra runs, where a scheduler stops it."""

import signal

import pytest

from kerasnn.config import task


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
