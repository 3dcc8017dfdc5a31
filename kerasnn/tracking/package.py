"""The files of a trained model as MLflow's `tensorflow` flavor lays them out, made without importing TensorFlow.

    data/model.keras  data/keras_module.txt  data/save_format.txt  data/modules.txt
    code/kerasnn/…    requirements.txt  conda.yaml  python_env.yaml  example.npz

MLflow loads the model with the Keras module named in `keras_module.txt`. Ours is `kerasnn.tracking.reload`, which first
imports the layers of the `code/` that travels with the model: it loads where kerasnn is not installed, and later, when
the layers may have changed. A plug-in's code travels too where the model has layers of it, which `modules.txt` names.
"""

import json
import os
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

LOADER = "kerasnn.tracking.reload"
DATA = "data"
CODE = "code"
SAVE_FORMAT = "keras"  # Any word but "h5" makes MLflow open model.keras; "tf" would make it compile for mere inference.
REQUIRED = ("mlflow", "tensorflow", "keras", "numpy")
EXAMPLE = "example.npz"
MODULES = "modules.txt"
KNOWN = {"kerasnn", "keras_cv", "keras_hub", "keras_nlp", "__main__", *REQUIRED, *sys.stdlib_module_names}
"""Packages whose classes need no word: copied in any case, imported by Keras itself, or to be installed."""


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
    modules = _foreign_modules(model)
    if modules:
        (data / MODULES).write_text("\n".join(modules))
    _copy_code(folder / CODE, {"kerasnn", *(module.split(".")[0] for module in modules)})
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


def _foreign_modules(model: Path) -> list[str]:
    """The modules that register those classes and functions of a `.keras` file that are neither Keras' nor kerasnn's.

    Of a function Keras keeps "package>name" and no module: its definition is looked for in that package.
    """
    found, functions = set(), set()

    def note(part: dict) -> None:
        if part.get("class_name") == "function":
            functions.add(str(part.get("config")).partition(">"))
        elif "class_name" in part and isinstance(part.get("module"), str):
            found.add(part["module"])

    with ZipFile(model) as file:
        json.loads(file.read("config.json"), object_hook=note)
    for package, _, name in functions:
        for target, source in _sources(package) if name and package.isidentifier() and package not in KNOWN else ():
            if f"def {name}(" in source.read_text(encoding="utf-8", errors="replace"):
                found.add(".".join(target.with_suffix("").parts).removesuffix(".__init__"))
    return sorted(module for module in found if module.split(".")[0] not in KNOWN)


def _copy_code(folder: Path, roots: Iterable[str]) -> None:
    for target, source in (pair for root in roots for pair in _sources(root)):
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / target)


def _sources(root: str) -> Iterator[tuple[Path, Path]]:
    """Where each source of a package or single module belongs, and where it is; none of what is not installed."""
    spec = find_spec(root)
    places = spec.submodule_search_locations if spec else []
    if places is None:
        yield Path(f"{root}.py"), Path(spec.origin)
    for place in map(Path, places or ()):
        for source in place.rglob("*.py"):
            yield root / source.relative_to(place), source


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
