"""Where the labels of the user's own files come from: names of folders, perhaps with splits above them, or of files."""

import logging
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from string import Formatter

from kerasnn.errors import DataError, unknown

log = logging.getLogger(__name__)

SPLITS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
"""Names that stand for a split, of folders (rather than for a class) and in tables."""

FEW = 0.1  # The share of files that may fail to match a pattern before that is a warning.


@dataclass(frozen=True)
class Listing:
    """Labelled files, as they lie in folders or as their names tell.

    Args:
        class_names: the classes of train, sorted.
        splits: which splits have a folder; train alone where there are none.
        rows: (split, file, index of the class), in one fixed order.
        strays: how many files lie in no class; each was named in the log.
    """

    class_names: tuple[str, ...]
    splits: tuple[str, ...]
    rows: list[tuple[str, Path, int]]
    strays: int


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


def list_classes(name: str, root: Path, splits: Mapping[str, str] = SPLITS) -> Listing:
    """The files of `root/cat`, or of `root/train/cat` with `root/val` and `root/test` beside it.

    Files may lie deeper inside a class. Hidden ones are passed over; those that lie in no class are named in the log.

    Args:
        name: the source's name, for messages.
        root: the folder.
        splits: folder names that stand for a split.

    Raises:
        DataError: no folder, no classes, a split twice, splits without train, a class that train does not have.
    """
    folders = _split_folders(name, root, splits)
    train = folders["train"]
    class_names = tuple(folder.name for folder in _sub_folders(train))
    if not class_names:
        raise DataError(f"{name}: {train} has no sub-folders: make one for each class, named after it")
    rows = []
    for split in ("train", *(split for split in folders if split != "train")):
        rows += [(split, path, label) for path, label in _list(name, folders[split], class_names)]
    return Listing(class_names, tuple(folders), rows, _name_strays(name, {root, *folders.values()}))


def keep_classes(name: str, listing: Listing, patterns: Sequence[str] | None) -> Listing:
    """The part of a listing whose classes match one of the patterns, such as `s0?`; None keeps all.

    Raises:
        DataError: no pattern, or one that no class matches.
    """
    if patterns is None:
        return listing
    if not patterns:
        raise DataError(f"{name}: data.classes=[] keeps no class: name some, as in [{listing.class_names[0]}], or null")
    for pattern in patterns:
        if not any(fnmatchcase(known, pattern) for known in listing.class_names):
            raise DataError(f"{name}: data.classes: {unknown('class', pattern, listing.class_names)}")
    kept = [label for label in listing.class_names if any(fnmatchcase(label, pattern) for pattern in patterns)]
    numbers = {listing.class_names.index(label): number for number, label in enumerate(kept)}
    rows = [(split, path, numbers[label]) for split, path, label in listing.rows if label in numbers]
    log.info("%s: %d of %d classes: %s", name, len(kept), len(listing.class_names), ", ".join(kept))
    return Listing(tuple(kept), listing.splits, rows, listing.strays)


def match_names(
    name: str, root: Path, pattern: str, ending: str, only: Mapping[str, Sequence[str | int]] | None = None
) -> Listing:
    """The files below `root` whose names match a pattern such as `{label}_{speaker}_{index}`, all of them in train.

    A file that does not match is named in the log; so is how many did and did not, a warning where many did not, and
    how many different values each part has.

    Args:
        name: the source's name, for messages.
        root: the folder.
        pattern: as for `compile_pattern`; the file's ending is no part of it.
        ending: of the files that are looked at, such as `.wav`.
        only: by part, the values that it may have, such as `{"speaker": ["jackson", "theo"]}`; other files are left
            out. None takes all.

    Raises:
        DataError: a pattern that cannot be meant, no folder, no file that matches, or a part or value in `only` that
            no file has.
    """
    read = compile_pattern(pattern)
    if not root.is_dir():
        raise DataError(f"{name}: data.dir={root} is a file: give the folder that holds the {ending} files")
    files = [path for path in files_below(root) if path.suffix.lower() == ending]
    found = {path: read(path.stem) for path in files}
    for path in (path for path, part in found.items() if not part):
        log.warning("%s: skipped %s: its name fits data.pattern=%s in no way, or in several", name, path, pattern)
    parts = {path: part for path, part in found.items() if part}
    if not parts:
        raise DataError(f"{name}: of the {len(files)} {ending} files in {root} none matches data.pattern={pattern}")
    kinds = ", ".join(f"{len({part[key] for part in parts.values()})} of {key}" for key in next(iter(parts.values())))
    strays = len(files) - len(parts)
    summary = "%s: %d of %d files match data.pattern=%s, %d left out: %s"
    level = logging.WARNING if strays > FEW * len(files) else logging.INFO
    log.log(level, summary, name, len(parts), len(files), pattern, strays, kinds)
    parts = _keep_only(name, parts, only or {})
    names = sort_names(part["label"] for part in parts.values())
    rows = [("train", path, names.index(part["label"])) for path, part in parts.items()]
    return Listing(names, ("train",), rows, strays)


def _keep_only(
    name: str, parts: dict[Path, dict[str, str]], only: Mapping[str, Sequence[str | int]]
) -> dict[Path, dict[str, str]]:
    keys = list(next(iter(parts.values())))
    for key, values in only.items():
        if key not in keys:
            raise DataError(f"{name}: data.only: {unknown('part', key, keys)} (of data.pattern)")
        if not isinstance(values, list | tuple) or not values:
            raise DataError(f"{name}: data.only.{key}={values} must be a list of values: data.only.{key}=[{values}]")
        there = sort_names(part[key] for part in parts.values())
        for value in values:
            if str(value) not in there:
                raise DataError(f"{name}: data.only: {unknown(key, str(value), there)}")
    allowed = {key: set(map(str, values)) for key, values in only.items()}
    kept = {path: part for path, part in parts.items() if all(part[key] in allowed[key] for key in allowed)}
    if not kept:
        raise DataError(f"{name}: no file has all that data.only={dict(only)} asks for: take one of its parts away")
    if only:
        log.info("%s: %d of %d files are of data.only=%s", name, len(kept), len(parts), dict(only))
    return kept


def compile_pattern(pattern: str) -> Callable[[str], dict[str, str] | None]:
    """What reads a name by a pattern: its parts, of one character or more, or None.

    A name that could be read in several ways is not guessed at: it gives None, as one that cannot be read at all.

    Raises:
        DataError: it cannot be read, has no `{label}`, a part twice, or nothing between two parts.

    Example:
        >>> compile_pattern("{label}_nohash_{index}")("left_hand_nohash_0")
        {'label': 'left_hand', 'index': '0'}
        >>> compile_pattern("{label}_{speaker}")("left_hand_theo")      # left, or left_hand?
    """
    example = "write it like '{label}_{speaker}_{index}'"
    try:
        pieces = [(literal, key, bool(spec or how)) for literal, key, spec, how in Formatter().parse(pattern)]
    except ValueError as error:
        raise DataError(f"data.pattern={pattern} cannot be read ({error}): {example}") from error
    keys = [key for _, key, _ in pieces if key is not None]
    if "label" not in keys:
        raise DataError(f"data.pattern={pattern} has no {{label}}: {example}")
    if any(is_more or (key is not None and not key.isidentifier()) for _, key, is_more in pieces):
        raise DataError(f"data.pattern={pattern} has braces around something that is no plain name: {example}")
    if len(set(keys)) < len(keys):
        raise DataError(f"data.pattern={pattern} has a part twice: {example}")
    if any(not literal for literal, _, _ in pieces[1:]):
        raise DataError(f"data.pattern={pattern} has nothing between two parts: {example}")
    # With each part in turn as short as can be, and as long: where both agree, there is nothing in between.
    shortest, longest = (
        re.compile("".join(re.escape(literal) + (f"(?P<{key}>{part})" if key else "") for literal, key, _ in pieces))
        for part in ("(?s:.+?)", "(?s:.+)")
    )

    def read(name: str) -> dict[str, str] | None:
        first, last = shortest.fullmatch(name), longest.fullmatch(name)
        return first.groupdict() if first and first.groups() == last.groups() else None

    return read


def check_classes(name: str, what: str, listing: Listing, kept: Iterable[tuple[str, Path, int]]) -> None:
    """Raises DataError where a class had files in a split, or has a folder in train, and none of them was `kept`."""
    left = {(split, label) for split, _, label in kept}
    due = {(split, label) for split, _, label in listing.rows} | {
        ("train", label) for label in range(len(listing.class_names))
    }
    for split, label in sorted(due):
        if (split, label) not in left:
            raise DataError(
                f"{name}: the class '{listing.class_names[label]}' has no {what} in {split}: "
                "add some, or remove the class"
            )


def files_below(folder: Path) -> Iterator[Path]:
    """All files below the folder in one fixed order, whatever order the disk has; hidden ones are passed over."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(files) if not name.startswith("."))


def sort_names(labels: Iterable[str]) -> tuple[str, ...]:
    """The different labels: sorted as numbers if all are whole numbers, as text otherwise."""
    names = sorted(set(labels))
    return tuple(sorted(names, key=int) if all(name.isdecimal() for name in names) else names)


def _split_folders(name: str, root: Path, known: Mapping[str, str]) -> dict[str, Path]:
    if not root.is_dir():
        raise DataError(f"{name}: data.dir={root} is a file: give the folder that holds one sub-folder per class")
    inside = _sub_folders(root)
    splits: dict[str, Path] = {}
    for folder in inside:
        split = known.get(folder.name.lower())
        if split in splits:
            raise DataError(f"{name}: {folder} and {splits[split]} are both for {split}: keep one")
        if split:
            splits[split] = folder
    if not splits:
        return {"train": root}
    if "train" not in splits:
        raise DataError(f"{name}: {root} has {next(iter(splits.values())).name} and no train: add the folder train")
    for folder in (folder for folder in inside if folder not in splits.values()):
        log.warning("%s: skipped %s: it lies beside train", name, folder)
    return splits


def _sub_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _name_strays(name: str, folders: Collection[Path]) -> int:
    """Names the files that lie beside the folders of splits or classes, and counts them."""
    beside = sorted(path for folder in folders for path in folder.iterdir() if not path.name.startswith("."))
    strays = [path for path in beside if not path.is_dir()]
    for path in strays:
        log.warning("%s: skipped %s: it lies in no class", name, path)
    return len(strays)


def _list(name: str, folder: Path, class_names: tuple[str, ...]) -> Iterator[tuple[Path, int]]:
    for part in _sub_folders(folder):
        if part.name not in class_names:
            raise DataError(f"{name}: {folder.name}: {unknown('class', part.name, class_names)}")
        yield from ((path, class_names.index(part.name)) for path in files_below(part))
