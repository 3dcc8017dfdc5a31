"""What `mlflow.pyfunc.load_model` and `mlflow.tensorflow.load_model` call to open a kerasnn model.

MLflow imports `<keras module>.models` and calls its `load_model`; this one is Keras' own, with kerasnn's layers known.
"""

import pkgutil
from importlib import import_module

import keras

REGISTERING = ("kerasnn.layers", "kerasnn.losses", "kerasnn.optimizers", "kerasnn.schedules", "kerasnn.training")
"""Where classes and functions register themselves with Keras under the package name `kerasnn`."""

TRAINING = ("losses", "optimizers", "schedules")
"""The modules of `kerasnn.training` that do; the others run trainings."""


def register() -> None:
    """Imports every module that registers something that a saved model may name."""
    for name in REGISTERING:
        try:
            package = import_module(name)
        except ModuleNotFoundError:
            continue
        for module in pkgutil.iter_modules(getattr(package, "__path__", ())):
            if name != "kerasnn.training" or module.name in TRAINING:
                import_module(f"{name}.{module.name}")


def load_model(path: str, custom_objects: dict | None = None, **options) -> keras.Model:
    """Opens a `.keras` file that may hold kerasnn's layers.

    Args:
        path: the `.keras` file.
        custom_objects: further classes and functions by name.
        options: as for `keras.models.load_model`, such as `compile=False`.
    """
    register()
    return keras.models.load_model(path, custom_objects=custom_objects or None, **options)
