"""A pickle reader that can build arrays, bytes, text, numbers, lists and dicts, and nothing else.

A pickle may name any function and have it called while it is read. CIFAR's batches need three names; every other one
is refused before it is looked up, so a forged file cannot run a command.
"""

import pickle
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from kerasnn.errors import DataError

_NDARRAY = object()  # Stands for numpy.ndarray: an argument that cannot be called.


def _reconstruct(kind: object, shape: tuple, code: bytes) -> np.ndarray:
    """The empty array that the pickle then fills."""
    if kind is not _NDARRAY:
        raise pickle.UnpicklingError("it builds something that is not an array")
    return np.empty(0, np.uint8)


def _dtype(code: str | bytes, align: int = 0, copy: int = 0) -> np.dtype:
    text = code.decode("ascii") if isinstance(code, bytes) else code
    if np.dtype(text).kind not in "biuf":
        raise pickle.UnpicklingError(f"it builds an array of '{text}', not of numbers")
    return np.dtype(text, copy=True)


_ALLOWED = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _ALLOWED[module, name]


def unpickle(path: Path, content: bytes) -> Any:
    """What a pickle of plain values and number arrays holds; text of Python 2 comes back as bytes.

    Args:
        path: where the pickle came from, for messages.
        content: the pickle itself.

    Raises:
        DataError: the pickle asks for anything else, or is damaged.
    """
    try:
        return _Unpickler(BytesIO(content), encoding="bytes").load()
    except Exception as error:  # A forged or broken pickle can fail in any way that its operations can.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path} is not a safe pickle of arrays ({reason}): get the official file") from error
