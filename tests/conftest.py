"""One process for many tests: TensorFlow is imported once in each, with four logical CPU devices for the replicas."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from kerasnn.training.lean_import import import_keras

import_keras()

import keras
import tensorflow as tf

ROOT = Path(__file__).resolve().parents[1]

_CPU = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(_CPU, [tf.config.LogicalDeviceConfiguration()] * 4)


@pytest.fixture(autouse=True)
def _clean_keras():
    """Every test starts from seed 0 in float32, whatever the one before it did."""
    keras.utils.clear_session(free_memory=False)  # A full garbage collection per test would take longer than the test.
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    """No test reaches for a data set or a tracking server of the machine it runs on."""
    for name in ("KERASNN_DATA", "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout that is tested."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real CIFAR-10, MNIST and photographs beside the checkout, where they are."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs real data in {os.path.relpath(folder, ROOT)}")
    return folder
