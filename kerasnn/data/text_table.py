"""Tables of labelled texts: one with or without a column for the split, or one for each split."""

import csv
import logging
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from kerasnn.data.labels import SPLITS
from kerasnn.errors import DataError, suggestion, unknown

log = logging.getLogger(__name__)

TEXT_SPLITS = SPLITS | {"dev": "validation"}
"""What a split may be called: benchmarks of language say dev."""

COLUMNS = ("text", "sentence", "content")
"""What the column of texts may be called; the first that is there is read."""

KINDS = (".csv", ".tsv")

Rows = dict[str, list[tuple[str, str]]]
"""(text, label) of each example, by split."""


def find_tables(root: Path, table: str | None) -> dict[str | None, Path]:
    """The tables to read: by split if they are named after splits, else the only one under None; maybe none at all.

    Args:
        root: a folder, or the table itself.
        table: the table's file name; needed where the folder has several that are not named after splits.

    Raises:
        DataError: no such table, several to choose from, two for one split, or splits without train.
    """
    if root.is_file():
        if root.suffix.lower() not in KINDS:
            raise DataError(f"text: {root} is no table: give a .csv or .tsv file, or a folder")
        return {None: root}
    found = sorted(path for path in root.iterdir() if path.suffix.lower() in KINDS and path.is_file())
    if table is not None:
        if not (root / table).is_file():
            raise DataError(f"text: {unknown('table', table, [path.name for path in found])} (in {root})")
        return {None: root / table}
    splits = _by_split(root, found)
    if splits or not found:
        return splits
    if len(found) > 1:
        listed = ", ".join(path.name for path in found)
        raise DataError(f"text: {root} has {len(found)} tables ({listed}): say which with data.table=NAME.csv")
    return {None: found[0]}


def _by_split(root: Path, found: list[Path]) -> dict[str | None, Path]:
    splits: dict[str | None, Path] = {}
    for path in found:
        split = TEXT_SPLITS.get(path.stem.lower())
        if split in splits:
            raise DataError(f"text: {path} and {splits[split]} are both for {split}: keep one")
        if split:
            splits[split] = path
    if splits and "train" not in splits:
        raise DataError(f"text: {root} has {next(iter(splits.values())).name} and no train: add the table train")
    for path in (path for path in found if splits and path not in splits.values()):
        log.warning("text: skipped %s: it lies beside train", path)
    return splits


def read_tables(files: dict[str | None, Path]) -> Rows:
    """All rows of the tables that `find_tables` found, in their order.

    Raises:
        DataError: a file that is not UTF-8 or no table, a missing column, a row without text or label, an unknown
            split, no training example.
    """
    rows: Rows = {}
    for split, file in files.items():
        for text, label, own in _read(file):
            rows.setdefault(split or own, []).append((text, label))
    if "train" not in rows:
        raise DataError(f"text: {next(iter(files.values()))} has no row with split train: add some")
    return rows


def read_text(file: Path) -> str:
    """What a text file holds, a byte order mark at its head left out.

    Raises:
        DataError: it cannot be read, or is not UTF-8.
    """
    try:
        content = file.read_bytes()
        return content.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}): check its permissions") from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{file} is not UTF-8 in line {line} (byte 0x{content[error.start]:02x}): save it as UTF-8"
        ) from error


def _read(file: Path) -> Iterator[tuple[str, str, str]]:
    """Text, label and split of each row; the split is train where the table has no such column."""
    lines = _lines(file)
    header = [name.strip().lower() for name in next(lines, (0, []))[1]]
    name = next((name for name in COLUMNS if name in header), COLUMNS[0])
    for column in (name, "label"):
        if column not in header:
            raise DataError(f"text: {file} has no column '{column}': {suggestion(column, header)}")
    rows = 0
    for line, fields in lines:
        if len(fields) != len(header):
            raise DataError(f"text: {file} has {len(fields)} fields in line {line}, and {len(header)} columns: mend it")
        row = dict(zip(header, (field.strip() for field in fields), strict=True))
        for what, value in (("text", row[name]), ("label", row["label"])):
            if not value:
                raise DataError(f"text: {file} has no {what} in line {line}: fill it in, or remove the line")
        split = row.get("split", "train").lower()
        if split not in TEXT_SPLITS:
            raise DataError(f"text: {file}, line {line}: {unknown('split', split, TEXT_SPLITS)}")
        rows += 1
        yield row[name], row["label"], TEXT_SPLITS[split]
    if not rows:
        raise DataError(f"text: {file} has no rows: add a line for each text")


def _lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    """The number of the line where a row begins, and its fields; empty lines are passed over.

    Tabs separate whatever a .tsv file holds: quotes in it are part of the text, as in the tables of GLUE.
    """
    content = read_text(file)
    if file.suffix.lower() == ".tsv":
        for number, line in enumerate(content.split("\n"), start=1):
            if line.strip():
                yield number, line.rstrip("\r").split("\t")
        return
    csv.field_size_limit(1 << 30)  # A whole document may be one field; the module stops at 131,072 characters.
    reader, begun = csv.reader(StringIO(content, newline=""), strict=True), 1
    try:
        for fields in reader:
            if fields:
                yield begun, fields
            begun = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"text: {file} cannot be read as a table from line {begun} on ({error}): mend it") from error
