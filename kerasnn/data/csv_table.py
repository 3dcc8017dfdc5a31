"""A table that lists pictures: one row each, with its path, its label and, if the table has them, its split."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kerasnn.data.bundle import Source
from kerasnn.data.examples import FileExamples
from kerasnn.data.labels import SPLITS, find_root, sort_names
from kerasnn.data.pictures import Channels, survey
from kerasnn.errors import DataError, suggestion, unknown

if TYPE_CHECKING:
    from pandas import DataFrame


def csv_table(dir: str, table: str | None = None, channels: Channels = "auto") -> Source:
    """Pictures on disk that a CSV table lists, in columns `path`, `label` and (optional) `split`.

    Paths count from the table's folder. Splits are train, val (or valid, validation) and test; what is not there is
    held out of train. Classes are the labels, sorted: as numbers if all are whole numbers, as text otherwise. Files
    that are no pictures are skipped and named in the log, as in `image_folder`.

    Args:
        dir: the table's folder, or the table itself; a relative one is also looked for in `$KERASNN_DATA`.
        table: the table's file name; needed where the folder has several .csv files.
        channels: `grayscale`, `colour`, or `auto`: grayscale if every picture is.

    Raises:
        DataError: no table, a missing column, an unknown split, a file that is absent or listed twice, a class that is
            left without pictures.

    Example:
        >>> csv_table("scans", table="labels.csv").class_names
        ('benign', 'malignant')
    """
    file = _find_table(find_root("csv", dir), table)
    frame = _read(file)
    paths = _paths(file, frame)
    good, count = survey("csv", paths, channels)
    class_names = sort_names(frame["label"])
    frame = frame.assign(file=[str(path) for path in paths], code=frame["label"].map(class_names.index))[good]
    missing = set(class_names) - set(frame["label"])
    if missing:
        raise DataError(f"csv: the class '{min(missing)}' has no picture that can be read: mend or remove its rows")
    splits = {
        split: FileExamples(tuple(rows["file"]), rows["code"].to_numpy(np.int32), count)
        for split, rows in frame.groupby("split")
    }
    if "train" not in splits:
        raise DataError(f"csv: {file} has no row with split train: add some")
    return Source("csv", class_names=class_names, origin=str(file), **splits)


def _find_table(root: Path, table: str | None) -> Path:
    if root.is_file():
        return root
    found = sorted(path.name for path in root.glob("*.csv") if path.is_file())
    if table is not None:
        if not (root / table).is_file():
            raise DataError(f"csv: {unknown('table', table, found)} (in {root})")
        return root / table
    if len(found) != 1:
        listed = f"{len(found)} tables ({', '.join(found)})" if found else "no .csv file"
        raise DataError(f"csv: {root} has {listed}: say which with data.table=NAME.csv")
    return root / found[0]


def _read(file: Path) -> "DataFrame":
    """All values as text: a class named NA or 007 stays what it is."""
    import pandas

    try:
        frame = pandas.read_csv(file, dtype=str, keep_default_na=False, skipinitialspace=True)
    except (OSError, ValueError) as error:
        raise DataError(f"csv: {file} cannot be read as a table ({' '.join(str(error).split())})") from error
    for column in ("path", "label"):
        if column not in frame:
            raise DataError(f"csv: {file} has no column '{column}': {suggestion(column, map(str, frame.columns))}")
        empty = np.flatnonzero(frame[column] == "")
        if len(empty):
            raise DataError(f"csv: {file} has no {column} in line {empty[0] + 2}: fill it in, or remove the line")
    if frame.empty:
        raise DataError(f"csv: {file} has no rows: add a line for each picture")
    given = frame["split"].str.lower() if "split" in frame else "train"
    frame = frame.assign(split=given)
    strange = next((value for value in frame["split"].unique() if value not in SPLITS), None)
    if strange is not None:
        raise DataError(f"csv: {file}: {unknown('split', strange, SPLITS)}")
    return frame.assign(split=frame["split"].map(SPLITS))


def _paths(file: Path, frame: "DataFrame") -> list[Path]:
    paths = [file.parent / value for value in frame["path"]]
    absent = [path for path in paths if not path.is_file()]
    if absent:
        more = f", and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise DataError(
            f"csv: {file} lists {absent[0]}, which does not exist{more}: paths count from the table's folder"
        )
    first: dict[str, str] = {}
    for path, written in zip(paths, frame["path"], strict=True):
        full = os.path.abspath(path)  # Path.absolute would keep `sub/../a.png`.
        if full in first:
            also = "" if first[full] == written else f", also as {first[full]}"
            raise DataError(f"csv: {file} lists {written} twice{also}: keep one, or it could be in two splits")
        first[full] = written
    return paths
