import json
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec

import keras
import numpy as np

from kerasnn.layers.local_response_normalization import LocalResponseNormalization
from kerasnn.layers.scaled_tanh import ScaledTanh
from kerasnn.tracking import package
from kerasnn.tracking.reload import models

FRESH = """
import json, sys
import mlflow, numpy as np
uri, model, example = sys.argv[1:]
mlflow.set_tracking_uri(uri)
with np.load(example) as file:
    inputs, outputs = file["input"], file["output"]
plain = mlflow.pyfunc.load_model(model)
network = mlflow.tensorflow.load_model(model)
print(json.dumps({
    "plain": float(np.abs(plain.predict(inputs) - outputs).max()),
    "network": float(np.abs(network.predict(inputs, verbose=0) - outputs).max()),
    "shape": plain.input_example.shape,
    "inputs": str(plain.metadata.signature.inputs),
    "layers": [type(layer).__module__ for layer in network.layers],
    "metadata": plain.metadata.metadata,
}))
"""

FOREIGN = """
import json, sys
import mlflow, numpy as np
model = sys.argv[1]
with np.load(f"{model}/example.npz") as file:
    inputs, outputs = file["input"], file["output"]
plain = mlflow.pyfunc.load_model(model)
network = mlflow.tensorflow.load_model(model)
import kerasnn, kerasnn_tiny, single
print(json.dumps({
    "plain": float(np.abs(plain.predict(inputs) - outputs).max()),
    "network": float(np.abs(network.predict(inputs, verbose=0) - outputs).max()),
    "files": [module.__file__ for module in (kerasnn, kerasnn_tiny, single)],
}))
"""

SINGLE = """
import keras

@keras.saving.register_keras_serializable(package="single")
def swell(x):
    return x * keras.ops.abs(x)
"""


def small_network() -> keras.Model:
    """A network with kerasnn's own layers, built and compiled as a run does it."""
    inputs = x = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 3)(x)
    x = LocalResponseNormalization()(x)
    x = ScaledTanh()(x)
    model = keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(x)), name="small")
    model.compile("adam", "mse")
    return model


def test_model_answers_the_same_in_a_fresh_process_that_never_imports_kerasnn(store, tmp_path):
    model = small_network()
    tracker = store.start("model")
    tracker.metrics({"test/accuracy": 0.75})
    path = tracker.run_dir / "checkpoints" / "best.keras"
    path.parent.mkdir()
    model.save(path)
    inputs = np.random.default_rng(0).random((3, 8, 8, 1), dtype="float32")
    outputs = model.predict(inputs, verbose=0)
    tracker.model(path, inputs, outputs, {"class_names": ["a", "b"]})
    run_id = tracker.finish()

    (output,) = store.client.get_run(run_id).outputs.model_outputs
    logged = store.client.get_logged_model(output.model_id)
    assert logged.status == "READY"
    assert {metric.key: metric.value for metric in logged.metrics} == {"test/accuracy": 0.75}
    assert store.history(run_id, "test/accuracy") == [(0, 0.75)]
    example = tmp_path / "example.npz"
    np.savez(example, input=inputs, output=outputs)
    fresh = subprocess.run(
        [sys.executable, "-P", "-c", FRESH, store.uri, f"models:/{output.model_id}", str(example)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert fresh.returncode == 0, fresh.stderr
    seen = json.loads(fresh.stdout.splitlines()[-1])
    assert seen["plain"] < 1e-6
    assert seen["network"] < 1e-6
    assert seen["shape"] == [1, 8, 8, 1]
    assert "'float32', (-1, 8, 8, 1)" in seen["inputs"]
    assert seen["metadata"]["class_names"] == ["a", "b"]
    assert "kerasnn.layers.local_response_normalization" in seen["layers"]


def test_model_of_plugins_answers_the_same_where_none_is_installed(tmp_path, root, monkeypatch):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "single.py").write_text(SINGLE)
    monkeypatch.syspath_prepend(root / "examples" / "plugin")  # A package with a layer of its own …
    monkeypatch.syspath_prepend(tmp_path / "plugins")  # … and a module with a function.
    mixer = import_module("kerasnn_tiny.models.mixer").mixer("tiny_mixer", (8, 8, 3), 2, depth=1, width=4)
    model = keras.Sequential([mixer, keras.layers.Activation(import_module("single").swell)])
    draw = np.random.default_rng(0)
    model.set_weights([draw.normal(size=weight.shape) for weight in model.weights])  # The head would start at zero.
    inputs = draw.random((3, 8, 8, 3), dtype="float32")
    model.save(tmp_path / "best.keras")
    np.savez(tmp_path / "example.npz", input=inputs, output=model.predict(inputs, verbose=0))
    laid = tmp_path / "laid"
    laid.mkdir()
    package.lay_out(laid, tmp_path / "best.keras", tmp_path / "example.npz")
    flavors = {"tensorflow": package.flavor(), "python_function": package.pyfunc_flavor()}
    (laid / "MLmodel").write_text(json.dumps({"flavors": flavors}))  # JSON is YAML.

    assert (laid / "data" / "modules.txt").read_text().split() == ["kerasnn_tiny.layers.mix_patches", "single"]
    moved = shutil.move(laid, tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "plugins")
    fresh = subprocess.run(
        [sys.executable, "-P", "-c", FOREIGN, str(moved)], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert fresh.returncode == 0, fresh.stderr
    seen = json.loads(fresh.stdout.splitlines()[-1])
    assert seen["plain"] < 1e-6
    assert seen["network"] < 1e-6
    parts = ("kerasnn/__init__.py", "kerasnn_tiny/__init__.py", "single.py")
    assert seen["files"] == [str(moved / "code" / part) for part in parts]


def test_model_of_keras_and_kerasnn_alone_names_no_further_module(tmp_path):
    small_network().save(tmp_path / "best.keras")
    np.savez(tmp_path / "example.npz", input=[0.0], output=[0.0])
    laid = tmp_path / "laid"
    laid.mkdir()
    package.lay_out(laid, tmp_path / "best.keras", tmp_path / "example.npz")
    assert sorted(file.name for file in (laid / "data").iterdir()) == [
        "keras_module.txt", "model.keras", "save_format.txt",
    ]  # fmt: skip
    assert [part.name for part in (laid / "code").iterdir()] == ["kerasnn"]


def test_model_is_kept_once_when_its_event_is_applied_twice(store):
    from kerasnn.tracking.writer import replay

    tracker = store.start("model twice")
    path = tracker.run_dir / "best.keras"
    small_network().save(path)
    tracker.model(path, np.zeros((1, 8, 8, 1), "float32"), np.zeros((1, 10), "float32"))
    run_id = tracker.finish()
    state = tracker.run_dir / "tracking.state"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"applied": 0, "offset": 0, "status": "RUNNING"}))
    assert replay(tracker.run_dir)
    assert len(store.client.get_run(run_id).outputs.model_outputs) == 1
    assert sorted(file.name for file in tracker.run_dir.iterdir()) == [
        "best.keras", "model_example.npz", "tracking.jsonl", "tracking.state",
    ]  # fmt: skip


def test_reload_registers_every_module_that_registers_something(root, monkeypatch):
    sources = [path for path in (root / "kerasnn").rglob("*.py") if "@keras.saving.register" in path.read_text()]
    expected = {".".join(path.relative_to(root).with_suffix("").parts) for path in sources}
    assert {"kerasnn.layers.scaled_tanh", "kerasnn.training.losses"} <= expected
    imported = []
    monkeypatch.setattr(models, "import_module", imported.append)
    models.register()
    assert expected <= set(imported)
    for name in imported:  # All of them exist.
        assert find_spec(name), name
