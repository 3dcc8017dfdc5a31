"""Finds a published data set on disk, in whichever form it lies there, or downloads it.

The order: `data.dir`, `$KERASNN_DATA`, Keras' own cache, the network. Each place may be the set's own folder or a
folder that holds it.
"""

import logging
import os
import queue
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.request import urlopen

from kerasnn.data.examples import ArrayExamples
from kerasnn.data.verify import read_verified, verify
from kerasnn.errors import DataError

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0

Contents = Iterator[tuple[Path, bytes]]
"""The files of a form in order, each read and verified only when it is its turn."""

Splits = tuple[ArrayExamples, ArrayExamples]
"""Training and test examples."""


@dataclass(frozen=True)
class Form:
    """One way in which a set may lie on disk.

    Args:
        parts: for each file that must be there, the names it may go by.
        folders: folders that may hold the files, below the place that is searched.
        read: makes the splits from the files' contents.
    """

    parts: tuple[tuple[str, ...], ...]
    folders: tuple[str, ...]
    read: Callable[[Contents], Splits]

    def locate(self, place: Path) -> list[Path] | None:
        """The files in `place` or in one of the folders below it; None where any is missing."""
        for folder in (*self.folders, "."):
            found = [self._pick(place / folder, names) for names in self.parts]
            if all(found):
                return found
            if any(found):
                missing = next(names[0] for names, path in zip(self.parts, found, strict=True) if path is None)
                log.warning("%s is incomplete: %s is missing", place / folder, missing)
        return None

    @staticmethod
    def _pick(folder: Path, names: tuple[str, ...]) -> Path | None:
        return next((folder / name for name in names if (folder / name).is_file()), None)


@dataclass(frozen=True)
class Published:
    """A data set that anyone can download.

    Args:
        name: as in `data=`, and in the table of checksums.
        forms: how it may lie on disk, the fastest to read first.
        urls: the files to download; together they make up one of the forms.
        cache: the folder below Keras' cache where they are kept.
    """

    name: str
    forms: tuple[Form, ...]
    urls: tuple[str, ...]
    cache: str = "."


def load(published: Published, dir: str | None) -> Splits:
    """Reads a published set from the first place that has it, and downloads it where none has.

    Raises:
        DataError: a file is damaged; or the set is nowhere, and the download failed.
    """
    places = search_places(dir)
    form, paths = _find(published, places) or _download(published, places)
    log.info("data=%s: read from %s", published.name, paths[0].parent)
    url = published.urls[0]
    return form.read((path, read_verified(published.name, path, url)) for path in paths)


def search_places(dir: str | None) -> list[tuple[str, Path | None]]:
    """Where data is looked for, in order: pairs of the place's name and its folder (None where it is not set)."""
    given = Path(dir).expanduser() if dir else None
    shared = os.environ.get("KERASNN_DATA")
    if given and not given.is_dir():
        log.warning("data.dir=%s is not a folder", dir)
    return [
        ("data.dir", given),
        ("$KERASNN_DATA", Path(shared).expanduser() if shared else None),
        ("Keras' cache", keras_cache()),
    ]


def keras_cache() -> Path:
    """The folder in which Keras keeps data sets: `$KERAS_HOME/datasets` or `~/.keras/datasets`."""
    home = Path.home() if os.access(Path.home(), os.W_OK) else Path("/tmp")  # As Keras itself chooses.
    return Path(os.environ.get("KERAS_HOME") or home / ".keras").expanduser() / "datasets"


def open_url(url: str) -> Any:
    """An open response, or an error within CONNECT_SECONDS: a resolver without a network may wait much longer.

    Raises:
        OSError: no network, no such host, no answer, a refusal.
    """
    answers: queue.SimpleQueue = queue.SimpleQueue()

    def attempt() -> None:
        try:
            answers.put(urlopen(url, timeout=CONNECT_SECONDS))
        except Exception as error:  # Handed over to the thread that waits.
            answers.put(error)

    Thread(target=attempt, daemon=True).start()
    try:
        answer = answers.get(timeout=CONNECT_SECONDS)
    except queue.Empty:
        raise TimeoutError(f"no answer within {CONNECT_SECONDS:g} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _find(published: Published, places: list[tuple[str, Path | None]]) -> tuple[Form, list[Path]] | None:
    for _, place in places:
        for folder in (place, place / published.name) if place else ():
            for form in published.forms:
                paths = form.locate(folder)
                if paths:
                    return form, paths
    return None


def _download(published: Published, places: list[tuple[str, Path | None]]) -> tuple[Form, list[Path]]:
    folder = keras_cache() / published.cache
    try:
        for url in published.urls:
            target = folder / url.rpartition("/")[2]
            if not target.is_file():
                _fetch(published.name, url, target)
    except OSError as error:
        raise DataError(_not_found(published, places, error)) from error
    found = _find(published, [("Keras' cache", keras_cache())])
    if found is None:
        raise DataError(f"data={published.name}: the files in {folder} make up no known form: delete them, try again")
    return found


def _fetch(name: str, url: str, target: Path) -> None:
    """Downloads to a passing name, so that a file under its own name is always whole and verified."""
    log.info("data=%s: downloading %s to %s", name, url, target)
    with open_url(url) as response:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
            partial = Path(file.name)
            try:
                shutil.copyfileobj(response, file, 1 << 20)
                file.flush()
                verify(name, target, partial.read_bytes(), url)
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)


def _not_found(published: Published, places: list[tuple[str, Path | None]], error: OSError) -> str:
    sought = ", ".join(str(Path(*form.folders[:1]) / form.parts[0][0]) for form in published.forms)
    where = ", ".join(f"{title} ({place or 'not set'})" for title, place in places)
    reason = " ".join(str(getattr(error, "reason", None) or error).split())
    return (
        f"data={published.name} was not found: looked for {sought} in {where}, and the download failed ({reason}); "
        f"get {' '.join(published.urls)} and give its folder as data.dir=FOLDER"
    )
