"""The files of a trained model as MLflow's `tensorflow` flavor lays them out, made without importing TensorFlow.

    data/model.keras  data/keras_module.txt  data/save_format.txt
    code/kerasnn/…    requirements.txt  conda.yaml  python_env.yaml  example.npz

MLflow loads the model with the Keras module named in `keras_module.txt`. Ours is `kerasnn.tracking.reload`, which first
imports the layers of the `code/` that travels with the model: it loads where kerasnn is not installed, and later, when
the layers may have changed.
"""

import json
import os
import platform
import shutil
from importlib.metadata import version
from pathlib import Path

import kerasnn

LOADER = "kerasnn.tracking.reload"
DATA = "data"
CODE = "code"
SAVE_FORMAT = "keras"  # Any word but "h5" makes MLflow open model.keras; "tf" would make it compile for mere inference.
REQUIRED = ("mlflow", "tensorflow", "keras", "numpy")
EXAMPLE = "example.npz"


def lay_out(folder: Path, model: Path, example: Path) -> None:
    """Writes everything but MLflow's own `MLmodel` file and the input example into `folder`.

    Args:
        folder: an empty folder.
        model: the `.keras` file.
        example: the `.npz` with `input` and `output`.
    """
    data = folder / DATA
    data.mkdir()
    _link(model, data / "model.keras")
    (data / "keras_module.txt").write_text(LOADER)
    (data / "save_format.txt").write_text(SAVE_FORMAT)
    shutil.copyfile(example, folder / EXAMPLE)
    _copy_code(folder / CODE)
    _write_environment(folder)


def flavor() -> dict[str, str]:
    """The facts of the `tensorflow` flavor, as MLflow's own writer would put them into the `MLmodel` file."""
    return {
        "code": CODE,
        "data": DATA,
        "model_type": "keras",
        "keras_version": version("tensorflow"),
        "save_format": SAVE_FORMAT,
        "keras_module": LOADER,
    }


def pyfunc_flavor() -> dict[str, str]:
    """The facts of the `python_function` flavor, by which `mlflow.pyfunc` and its server open the model."""
    return {
        "loader_module": "mlflow.tensorflow",
        "data": DATA,
        "code": CODE,
        "conda_env": "conda.yaml",
        "python_env": "python_env.yaml",
    }


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # Another file system, or one without hard links.
        shutil.copyfile(source, target)


def _copy_code(folder: Path) -> None:
    root = Path(kerasnn.__file__).parent
    for source in root.rglob("*.py"):
        target = folder / "kerasnn" / source.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _write_environment(folder: Path) -> None:
    requirements = [f"{package}=={version(package)}" for package in REQUIRED]
    python = platform.python_version()
    (folder / "requirements.txt").write_text("\n".join(requirements) + "\n")
    conda = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": requirements}],
    }
    environment = {
        "python": python,
        "build_dependencies": ["pip", "setuptools", "wheel"],
        "dependencies": ["-r requirements.txt"],
    }
    # JSON is YAML.
    (folder / "conda.yaml").write_text(json.dumps(conda, indent=2))
    (folder / "python_env.yaml").write_text(json.dumps(environment, indent=2))
