"""Several processes of kerasnn that train together, as on several machines: started, watched, read."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_SECONDS = 240.0  # Two cores that others use too: nothing here takes a tenth of it by itself.

# A network of two layers with batch norm and dropout, as a plug-in of somebody's: small enough to train a dozen times.
NETWORK = """import os
import time

import keras

from kerasnn.training import checkpoints

def small(input_shape, num_classes):
    inputs = keras.Input(input_shape)
    x = keras.layers.Conv2D(4, 3, strides=2, use_bias=False)(inputs)
    x = keras.layers.Flatten()(keras.layers.ReLU()(keras.layers.BatchNormalization()(x)))
    x = keras.layers.Dropout(0.2)(x)
    return keras.Model(inputs, keras.layers.Dense(num_classes, name="predictions", dtype="float32")(x), name="small")

class Stop(keras.callbacks.Callback):
    # Writes a checkpoint after each epoch; where STOP is set, stands still amid the third.
    def __init__(self):
        super().__init__()
        self.amid = False
        checkpoints.WRITE_SECONDS = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.amid = epoch == 2

    def on_train_batch_end(self, batch, logs=None):
        if self.amid and batch == 2 and "STOP" in os.environ:
            print("stands still", flush=True)
            time.sleep(600)

def stop():
    return Stop()
"""
PLUGIN = {
    "small/__init__.py": NETWORK,
    "small/conf/model/small.yaml": "_target_: small.small\n",
    "small-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: small\nVersion: 1.0\n",
    "small-1.0.dist-info/entry_points.txt": "[kerasnn.plugins]\nsmall = small\n",
}

# A batch that 2 and 3 workers can share, and of the 144 validation examples a short last batch of 24: of three workers,
# which take up to 20 of a batch each, the second gets 4 of it, and the third none.
# Momentum passes small differences on as they are; Adam divides by them.
TRAINING = (
    "model=small",
    "optimizer=momentum",
    "trainer.batch_size=60",
    "trainer.deterministic=true",
    "augment=noise",
    "tracking=none",
)
SCALED = ("trainer.learning_rate_scaling=linear", "optimizer.learning_rate=0.01")


@dataclass
class Worker:
    """A process and the file that has its output."""

    process: subprocess.Popen
    output: Path

    @property
    def text(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace")

    @property
    def lines(self) -> list[str]:
        """What kerasnn itself printed as an error."""
        return [line for line in self.text.splitlines() if line.startswith("kerasnn: ")]

    def wait_for(self, words: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Returns when the output has these words; fails when the process ends before, or time does."""
        deadline = time.monotonic() + seconds
        while words not in self.text:
            assert self.process.poll() is None, self.text
            assert time.monotonic() < deadline, self.text
            time.sleep(0.05)

    def end(self, seconds: float = PATIENCE_SECONDS) -> int:
        """The exit code, waited for; a process that hangs is a failure."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"hangs: {self.text}") from None

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)


def free_addresses(count: int) -> list[str]:
    """Ports of this machine that nobody has, as workers' addresses."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return addresses


def start(folder: Path, addresses: list[str], index: int, *overrides: str, **further) -> Worker:
    """Starts one worker; alone, it is a process as any other."""
    cluster = [f"strategy.workers=[{','.join(addresses)}]", f"strategy.index={index}", "strategy=multi_worker"]
    return command(folder, f"worker{index}", *(cluster if len(addresses) > 1 else ()), *overrides, **further)


def command(folder: Path, name: str, *overrides: str, before: tuple[str, ...] = (), **variables: str) -> Worker:
    """Starts kerasnn in a folder.

    Args:
        folder: where its runs go; it is made.
        name: of the file with its output.
        overrides: of the config.
        before: words before the command, such as those that enter a network namespace.
        variables: of the environment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / f"{name}.txt"
    environment = {key: value for key, value in os.environ.items() if key not in ("TF_CONFIG", "MLFLOW_TRACKING_URI")}
    # One thread for each operation: the workers share the cores, and sums have the same order everywhere.
    environment |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{plugin(folder)}"}
    environment |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", **variables}
    words = [*before, sys.executable, "-m", "kerasnn", *overrides]
    with open(output, "w", encoding="utf-8") as file:
        process = subprocess.Popen(words, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT)
    return Worker(process, output)


def plugin(folder: Path) -> Path:
    """Writes the small network as an installed package, and returns the folder for PYTHONPATH."""
    for path, content in PLUGIN.items():
        file = folder / "site" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    return folder / "site"


def only_run(folder: Path) -> Path:
    """The one run folder that was made below `folder`."""
    found = [path.parent for path in folder.glob("runs/*/*/result.json")]
    assert len(found) == 1, found
    return found[0]


def history(run: Path) -> dict[str, list[float]]:
    """The losses and accuracies of every epoch, and those of the test."""
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    told = {name: values for name, values in result["history"].items() if name.startswith(("train/loss", "val/"))}
    return told | {name: [value] for name, value in result["metrics"].items() if name.startswith("test/")}


def weights(run: Path) -> list[np.ndarray]:
    """Everything that the last checkpoint has learnt, optimizer included."""
    found: list[np.ndarray] = []
    with zipfile.ZipFile(run / "checkpoints" / "last.keras") as archive:
        content = BytesIO(archive.read("model.weights.h5"))
    with h5py.File(content, "r") as tree:
        tree.visititems(lambda name, item: found.append(np.array(item)) if isinstance(item, h5py.Dataset) else None)
    return found
