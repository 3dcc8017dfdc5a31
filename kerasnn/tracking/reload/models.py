"""What `mlflow.pyfunc.load_model` and `mlflow.tensorflow.load_model` call to open a kerasnn model.

MLflow imports `<keras module>.models` and calls its `load_model`; this one is Keras' own, with kerasnn's layers known,
and those of plug-ins that `modules.txt` beside the model names.
"""

import pkgutil
from importlib import import_module
from pathlib import Path

import keras

from kerasnn import layers
from kerasnn.tracking.package import MODULES


def register() -> None:
    """Imports every module of kerasnn's with a class or function that a saved model may name."""
    for module in pkgutil.iter_modules(layers.__path__):
        import_module(f"kerasnn.layers.{module.name}")
    for module in ("kerasnn.models.heads", "kerasnn.training.losses", "kerasnn.training.metrics"):
        import_module(module)


def load_model(path: str, custom_objects: dict | None = None, **options) -> keras.Model:
    """Opens a `.keras` file that may hold layers of kerasnn and of plug-ins.

    Args:
        path: the `.keras` file.
        custom_objects: further classes and functions by name.
        options: as for `keras.models.load_model`, such as `compile=False`.
    """
    register()
    listed = Path(path).with_name(MODULES)
    for module in listed.read_text().split() if listed.exists() else ():
        import_module(module)
    return keras.models.load_model(path, custom_objects=custom_objects or None, **options)
