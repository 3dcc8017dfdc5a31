"""Whole runs on several replicas: they agree with one, leave none empty, and one worker alone keeps checkpoints."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasnn.config.compose import compose
from kerasnn.config.recipe import Recipe
from kerasnn.data.bundle import make_bundle
from kerasnn.data.stream import evaluation_stream
from kerasnn.errors import ConfigError
from kerasnn.tracking.tracker import MemoryTracker
from kerasnn.training import checkpoints, distribute, phases
from kerasnn.training.distribute import Devices
from kerasnn.training.resume import State
from kerasnn.training.run import _begun, run

ROOT = Path(__file__).resolve().parents[2]
# Three residual blocks of four channels, for an epoch. 40 of the 200 examples are the test, and 16 validate. Momentum
# passes small differences on as they are; Adam divides by them.
TINY = (
    "model=resnet20", "model.depth=1", "model.widths=[4,4,4]", "data=synthetic", "data.examples=200",
    "data.train_examples=96", "augment=flip_crop", "optimizer=momentum", "trainer.epochs=1", "tracking=none",
)  # fmt: skip


@dataclass(frozen=True)
class Small(Recipe):
    """A network of two convolutions, which traces faster."""

    def __call__(self, input_shape, num_classes, **_):
        inputs = keras.Input(input_shape)
        x = inputs
        for _ in range(2):
            x = keras.layers.Conv2D(4, 3, strides=2, use_bias=False)(x)
            x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
        x = keras.layers.GlobalAveragePooling2D()(x)
        return keras.Model(inputs, keras.layers.Dense(num_classes, name="predictions", dtype="float32")(x))


def small(*words):
    """The config of a run with it."""
    config = compose([*TINY, *words])
    return replace(config, model=Small(config.model.target))


def losses(history, metrics):
    """Losses and accuracies of every epoch and of the test."""
    told = {name: values for name, values in history.items() if name.startswith(("train/loss", "train/acc", "val/"))}
    return told | {name: [metrics[name]] for name in ("test/loss", "test/accuracy")}


def test_validation_that_would_leave_a_replica_empty_agrees_with_one(tmp_path, monkeypatch):
    # A tenth of 160 are 16 validation examples. Batches of 12 leave 4, all for the first of two replicas, which takes
    # 6 of a batch: the second one's convolution of nothing may fail in oneDNN. 16 = 10 + 6 leaves it one. The test
    # split is for one device.
    sizes, seen = [], []

    def stream(*given, batch_size):
        sizes.append(batch_size)
        return evaluation_stream(*given, batch_size=batch_size)

    monkeypatch.setattr(sys.modules[run.__module__], "evaluation_stream", stream)
    for count in (1, 2):
        folder = tmp_path / str(count)
        folder.mkdir()
        config = small("trainer.batch_size=12", "strategy=mirrored", f"strategy.devices={count}")
        assert len(make_bundle(config.data(), **config.bundle).validation) == 16
        result = run(config, MemoryTracker(), folder)
        seen.append(losses(result.history, result.metrics))
    assert sizes == [12, 12, 10, 12]
    one, two = seen
    assert one.keys() == two.keys() >= {"train/loss", "val/loss", "val/accuracy", "test/loss"}
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, atol=1e-5, err_msg=name)


def test_eight_replicas_agree_with_one(tmp_path):
    # In a process of its own: this one has begun with four CPU devices.
    dropout = "regularisation=[dropout,stochastic_depth]"
    words = [*TINY, dropout, "trainer.batch_size=48", "strategy=mirrored"]
    own = tmp_path / "eight"
    command = [sys.executable, "-m", "kerasnn", *words, "strategy.devices=8", f"hydra.run.dir={own}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        folder = tmp_path / "one"
        folder.mkdir()
        result = run(compose([*words, "strategy.devices=1"]), MemoryTracker(), folder)
        output, _ = started.communicate(timeout=300)
    finally:
        started.kill()
    assert started.returncode == 0, output
    told = json.loads((own / "result.json").read_text(encoding="utf-8"))
    eight = losses(told["history"], told["metrics"])
    for name, values in losses(result.history, result.metrics).items():
        np.testing.assert_allclose(eight[name], values, atol=1e-5, err_msg=name)


class Second(Devices):
    """A worker that is not the chief, for once in a process alone."""

    chief = False


def test_workers_other_than_the_chief_write_no_checkpoints(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "WRITE_SECONDS", 0)
    opened = Second("CPU", 1, tf.distribute.get_strategy())
    monkeypatch.setattr(distribute, "open_devices", lambda *_: opened)
    result = run(small("trainer.epochs=2", "trainer.batch_size=48"), MemoryTracker(), tmp_path)
    assert len(result.history["val/loss"]) == 2
    assert not list(tmp_path.rglob("*.keras"))


def test_callbacks_of_other_workers_get_their_memory_back():
    reminded = []
    kept = phases.NoCheckpoints(SimpleNamespace(remind=lambda: reminded.append(True)))
    keras.callbacks.CallbackList([kept]).on_train_begin()
    assert reminded == [True]


def test_workers_see_that_they_go_on_from_different_runs(tmp_path):
    several = compose([*TINY, "strategy=multi_worker", "strategy.workers=[a:1,b:1]", "strategy.index=1"])
    facts = []
    for name, content in (("one", b"1"), ("other", b"1"), ("one", b"2")):
        path = tmp_path / name / "checkpoints" / "last.keras"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        facts.append(_begun(several, (path, State(1, 3, False, 0.0, {}, {}, []))))
    # Alike in phase and epoch, and yet of another run, or of the same run at another time.
    assert [fact["resumed at"] for fact in facts] == ["phase 1, epoch 3"] * 3
    assert facts[0] != facts[1]
    assert facts[0] != facts[2]
    assert _begun(several, None) == {"resumed run": "none"}
    assert _begun(compose(TINY), None) == {}


def test_xla_with_several_replicas_is_refused_before_any_data_is_read(tmp_path):
    absent = ["data=cifar10", f"data.dir={tmp_path / 'none'}"]
    config = compose(["model=lenet5", *absent, "strategy=mirrored", "strategy.devices=2", "trainer.jit=true"])
    with pytest.raises(ConfigError, match="trainer.jit=true needs one device"):
        run(config, MemoryTracker(), tmp_path)
