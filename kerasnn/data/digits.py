"""Scikit-learn's digits: 1,797 real handwritten digits of 8×8, always at hand because MLflow brings scikit-learn."""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from kerasnn.data.bundle import SPLIT_SEED, Source
from kerasnn.data.examples import ArrayExamples
from kerasnn.data.split import hold_out
from kerasnn.errors import DataError

_DARKEST = 16  # Each pixel counts the dark ones in a 4×4 block of the scan.


def digits(dir: str | None = None) -> Source:
    """Handwritten digits, 8×8×1, with a fixed fifth of each class as the test split.

    Args:
        dir: taken so that a sweep over data sets may give `data.dir`; it is not used, the set comes with scikit-learn.

    Raises:
        DataError: scikit-learn is not installed, or its file is damaged.

    Example:
        >>> digits().train.images.shape
        (1438, 8, 8, 1)
    """
    rows = _read(_file())
    images = (rows[:, :-1] * 255 + _DARKEST // 2) // _DARKEST  # 0..16 to 0..255, rounded.
    examples = ArrayExamples(images.astype(np.uint8).reshape(-1, 8, 8, 1), rows[:, -1].astype(np.int32))
    kept, held = hold_out(examples.labels, 0.2, SPLIT_SEED)
    return Source(
        "digits",
        examples.take(kept),
        tuple("0123456789"),
        examples.take(held),
        licence="CC BY 4.0",
        origin="E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, "
        "1998, https://doi.org/10.24432/C50P49 (the test part, as scikit-learn ships it)",
    )


def _file() -> Path:
    """Scikit-learn's file, without importing scikit-learn, which takes two seconds."""
    spec = find_spec("sklearn")
    folders = spec.submodule_search_locations if spec else None
    file = Path(next(iter(folders))) / "datasets" / "data" / "digits.csv.gz" if folders else None
    if file is None or not file.is_file():
        raise DataError("data=digits needs scikit-learn's file digits.csv.gz: pip install scikit-learn")
    return file


def _read(file: Path) -> np.ndarray:
    try:
        rows = np.loadtxt(gzip.decompress(file.read_bytes()).decode().splitlines(), delimiter=",", dtype=np.int64)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"data=digits: {file} is damaged ({error}): reinstall scikit-learn") from error
    if rows.shape != (1797, 65):
        raise DataError(f"data=digits: {file} has {rows.shape} values, not (1797, 65): reinstall scikit-learn")
    return rows
