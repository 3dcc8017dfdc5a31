"""compose.yaml for real, where an engine is there and told to: a training is recorded, killed, and goes on."""

import os
import re
import socket
import subprocess
import time
from pathlib import Path

import pytest
from compose_file import compose_command

from kerasnn.tracking.mlflow import read_runs

ROOT = Path(__file__).resolve().parents[1]
TRAINING = (
    "services:\n  train-cpu:\n    command: [model=perceptron, strategy.kind=CPU, resume=auto, trainer.epochs=9000]\n"
)
PATIENCE_SECONDS = 180


class Services:
    """The services of compose.yaml under a name and on a port of their own."""

    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{port}"
        (folder / "training.yaml").write_text(TRAINING)
        files = ["-f", str(ROOT / "compose.yaml"), "-f", str(folder / "training.yaml")]
        self.command = [*compose_command(), "-p", f"kerasnn-test-{os.getpid()}", *files]
        self.settings = {"POSTGRES_PASSWORD": "chosen for this test", "MLFLOW_PORT": str(port), "EXTRAS": "server"}

    def __call__(self, *words):
        environment = {**os.environ, **self.settings}
        return subprocess.run(
            [*self.command, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )

    def epochs(self):
        """The number of every epoch that the training has told."""
        return [int(number) for number in re.findall(r"epoch (\d+)/", self("logs", "--no-color", "train-cpu").stdout)]


def wait_until(condition, told):
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, told()
        time.sleep(1)


def begun_again(epochs):
    """The place of the first epoch that follows a later one; None where there is none."""
    return next((place for place in range(1, len(epochs)) if epochs[place] <= epochs[place - 1]), None)


@pytest.fixture
def started(tmp_path):
    if not os.environ.get("KERASNN_COMPOSE"):
        pytest.skip("takes minutes: KERASNN_COMPOSE=1 says to start the services of compose.yaml")
    services = Services(tmp_path)
    try:
        up = services("up", "-d", "train-cpu")  # Waits for the health checks of the database and of MLflow.
        assert up.returncode == 0, up.stdout[-2000:] + up.stderr[-2000:]
        yield services
    finally:
        services("down", "--volumes", "--timeout", "5")


def test_training_is_recorded_and_goes_on_after_a_kill_until_it_is_stopped(started):
    def last_checkpoint():
        return not started("exec", "-T", "train-cpu", "sh", "-c", "ls runs/*/*/checkpoints/last.keras").returncode

    def told():
        return started("logs", "--tail", "40").stdout

    wait_until(last_checkpoint, told)
    before = len(started.epochs())
    # All but the container's first process, its init, dies without a word; the engine starts it again.
    started("exec", "-T", "train-cpu", "sh", "-c", "kill -9 -1")
    wait_until(lambda: begun_again(started.epochs()), told)
    epochs, again = started.epochs(), begun_again(started.epochs())
    assert again >= before
    assert epochs[again] > 1  # From its last checkpoint, and not from the beginning.

    (run,) = read_runs(started.uri)
    assert (run["name"], run["status"]) == ("perceptron", "RUNNING")
    started("stop", "train-cpu")
    (stopped,) = read_runs(started.uri)
    assert (stopped["run_id"], stopped["status"]) == (run["run_id"], "KILLED")
    kept = started("exec", "-T", "mlflow", "find", "/artifacts", "-name", "config.yaml").stdout.split()
    assert [path for path in kept if run["run_id"] in path]
