"""What `mlflow.pyfunc.load_model` and `mlflow.tensorflow.load_model` call to open a kerasnn model.

MLflow imports `<keras module>.models` and calls its `load_model`; this one is Keras' own, with kerasnn's layers known.
"""

import pkgutil
from importlib import import_module

import keras

from kerasnn import layers


def register() -> None:
    """Imports every module with a class or function that a saved model may name: the layers and the losses."""
    for module in pkgutil.iter_modules(layers.__path__):
        import_module(f"kerasnn.layers.{module.name}")
    import_module("kerasnn.training.losses")


def load_model(path: str, custom_objects: dict | None = None, **options) -> keras.Model:
    """Opens a `.keras` file that may hold kerasnn's layers.

    Args:
        path: the `.keras` file.
        custom_objects: further classes and functions by name.
        options: as for `keras.models.load_model`, such as `compile=False`.
    """
    register()
    return keras.models.load_model(path, custom_objects=custom_objects or None, **options)
