"""A folder of pictures with a sub-folder per class, with or without train, validation and test above them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kerasnn.data.bundle import Source
from kerasnn.data.examples import FileExamples
from kerasnn.data.labels import Listing, check_classes, find_root, keep_classes, list_classes
from kerasnn.data.pictures import Channels, survey


def image_folder(dir: str, channels: Channels = "auto", classes: Sequence[str] | None = None) -> Source:
    """Pictures on disk: `dir/cat/1.jpg`, or `dir/train/cat/1.jpg` with `dir/val` and `dir/test` beside it.

    Classes are the names of the sub-folders, sorted; pictures may lie deeper inside them. Hidden files are passed over.
    A file that is no picture, is empty, or is cut short is skipped; a GIF gives its first frame, transparency is laid
    over white, CMYK and 16 bits are converted, EXIF rotation is applied: each such file is named in the log.
    A file that lies in no class, beside the folders of splits or of classes, is named as well.

    Args:
        dir: the folder; a relative one is also looked for in `$KERASNN_DATA`.
        channels: `grayscale`, `colour`, or `auto`: grayscale if every picture is.
        classes: the sub-folders to use, by name or pattern (`s0?`, `s3[1-9]`, `cat*`); None takes all.

    Raises:
        DataError: no folder, no classes, a class without any picture, or a pattern that no class matches.

    Example:
        >>> image_folder("pets").class_names
        ('cat', 'dog')
    """
    root = find_root("image_folder", dir)
    listing = keep_classes("image_folder", list_classes("image_folder", root), classes)
    splits = _examples(listing, channels)
    return Source("image_folder", class_names=listing.class_names, origin=str(root), **splits)


def _examples(listing: Listing, channels: Channels) -> dict[str, FileExamples]:
    """One survey over all splits, since they must share the number of channels."""
    good, count = survey("image_folder", [path for _, path, _ in listing.rows], channels, listing.strays)
    kept = [row for row, is_good in zip(listing.rows, good, strict=True) if is_good]
    check_classes("image_folder", "picture", listing, kept)
    return {split: _files(kept, split, count) for split in listing.splits}


def _files(rows: list[tuple[str, Path, int]], split: str, channels: int) -> FileExamples:
    files = [(str(path), label) for part, path, label in rows if part == split]
    labels = np.array([label for _, label in files], np.int32)
    return FileExamples(tuple(path for path, _ in files), labels, channels)
