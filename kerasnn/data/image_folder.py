"""A folder of pictures with a sub-folder per class, with or without train, validation and test above them."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kerasnn.data.bundle import FileExamples, Source
from kerasnn.data.pictures import Channels, survey
from kerasnn.errors import DataError, unknown

log = logging.getLogger(__name__)

SPLITS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
"""Folder names that stand for a split rather than for a class."""


def image_folder(dir: str, channels: Channels = "auto") -> Source:
    """Pictures on disk: `dir/cat/1.jpg`, or `dir/train/cat/1.jpg` with `dir/val` and `dir/test` beside it.

    Classes are the names of the sub-folders, sorted; pictures may lie deeper inside them. Hidden files are passed over.
    A file that is no picture, is empty, or is cut short is skipped; a GIF gives its first frame, transparency is laid
    over white, CMYK and 16 bits are converted, EXIF rotation is applied: each such file is named in the log.
    A file that lies in no class, beside the folders of splits or of classes, is named as well.

    Args:
        dir: the folder; a relative one is also looked for in `$KERASNN_DATA`.
        channels: `grayscale`, `colour`, or `auto`: grayscale if every picture is.

    Raises:
        DataError: no folder, no classes, or a class without any picture.

    Example:
        >>> image_folder("pets").class_names
        ('cat', 'dog')
    """
    root = find_root("image_folder", dir)
    folders = _split_folders(root)
    train = folders.pop("train")
    class_names = tuple(folder.name for folder in _sub_folders(train))
    if not class_names:
        raise DataError(f"image_folder: {train} has no sub-folders: make one for each class, named after it")
    listed = {"train": _list(train, class_names)} | {k: _list(path, class_names) for k, path in folders.items()}
    strays = _name_strays({root, train, *folders.values()})
    splits = _examples(listed, class_names, channels, strays)
    return Source("image_folder", class_names=class_names, origin=str(root), **splits)


def find_root(name: str, dir: str) -> Path:
    """The user's own folder or file: `dir` itself, or inside `$KERASNN_DATA`.

    Raises:
        DataError: there is nothing of that name.
    """
    given = Path(dir).expanduser()
    shared = Path(os.environ.get("KERASNN_DATA") or ".").expanduser()
    found = next((path for path in (given, shared / given) if path.exists()), None)
    if found is None:
        raise DataError(f"data={name}: data.dir={dir} does not exist, here or in $KERASNN_DATA ({shared})")
    return found.absolute()


def _split_folders(root: Path) -> dict[str, Path]:
    if not root.is_dir():
        raise DataError(f"image_folder: data.dir={root} is a file: give the folder that holds one sub-folder per class")
    inside = _sub_folders(root)
    splits: dict[str, Path] = {}
    for folder in inside:
        split = SPLITS.get(folder.name.lower())
        if split in splits:
            raise DataError(f"image_folder: {folder} and {splits[split]} are both for {split}: keep one")
        if split:
            splits[split] = folder
    if not splits:
        return {"train": root}
    if "train" not in splits:
        raise DataError(
            f"image_folder: {root} has {next(iter(splits.values())).name} and no train: add the folder train"
        )
    for folder in (folder for folder in inside if folder not in splits.values()):
        log.warning("image_folder: skipped %s: it lies beside train", folder)
    return splits


def _sub_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _name_strays(folders: set[Path]) -> int:
    """Names the files that lie beside the folders of splits or classes, and counts them."""
    beside = sorted(path for folder in folders for path in folder.iterdir() if not path.name.startswith("."))
    strays = [path for path in beside if not path.is_dir()]
    for path in strays:
        log.warning("image_folder: skipped %s: it lies in no class", path)
    return len(strays)


def _list(folder: Path, class_names: tuple[str, ...]) -> list[tuple[Path, int]]:
    found = []
    for part in _sub_folders(folder):
        if part.name not in class_names:
            raise DataError(f"image_folder: {folder.name}: {unknown('class', part.name, class_names)}")
        found += [(path, class_names.index(part.name)) for path in _files(part)]
    return found


def _files(folder: Path) -> Iterator[Path]:
    """All files below the folder in one fixed order, whatever order the disk has."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(files) if not name.startswith("."))


def _examples(
    listed: dict[str, list[tuple[Path, int]]], class_names: tuple[str, ...], channels: Channels, strays: int
) -> dict[str, FileExamples]:
    """One survey over all splits, since they must share the number of channels."""
    rows = [(split, path, label) for split, files in listed.items() for path, label in files]
    good, count = survey("image_folder", [path for _, path, _ in rows], channels, strays)
    kept = [row for row, is_good in zip(rows, good, strict=True) if is_good]
    for split, name in sorted({(split, class_names[label]) for split, _, label in rows} | _all("train", class_names)):
        if not any(row[0] == split and class_names[row[2]] == name for row in kept):
            raise DataError(
                f"image_folder: the class '{name}' has no picture in {split}: add some, or remove its folder"
            )
    return {
        split: FileExamples(
            tuple(str(path) for s, path, _ in kept if s == split),
            np.array([label for s, _, label in kept if s == split], np.int32),
            count,
        )
        for split in listed
    }


def _all(split: str, class_names: tuple[str, ...]) -> set[tuple[str, str]]:
    return {(split, name) for name in class_names}
