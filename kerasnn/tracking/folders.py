"""Run folders on disk: what each holds, how its run ended, and whether a process is at work in it right now."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kerasnn.errors import DataError
from kerasnn.tracking.journal import JOURNAL, lock, read_events, read_state

RESULT, CONFIG, WORK = "result.json", "config.yaml", "run.lock"
OVERRIDES = ".hydra/overrides.yaml"
DOWNLOADS = "downloads"
COPIES = (DOWNLOADS, "artifacts")
"""Folders below `runs` that hold what runs left, but no run."""


@dataclass(frozen=True)
class RunFolder:
    """A run that left a folder.

    Args:
        path: absolute.
        name: of the run.
        status: how it ended; RUNNING where it did not say.
        digest: SHA-256 of what determines its training; empty where an earlier version wrote it.
        run_id: MLflow's; None where it has none.
        begun: when its folder was first written, in nanoseconds since 1970.
    """

    path: Path
    name: str
    status: str
    digest: str
    run_id: str | None
    begun: int

    @property
    def values(self) -> dict:
        """The config that it was composed from."""
        try:
            values = yaml.safe_load((self.path / CONFIG).read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise DataError(f"{self.path} has no {CONFIG} that can be read: start anew") from error
        return values if isinstance(values, dict) else {}

    @property
    def at_work(self) -> bool:
        """Whether a process that lives is training in it."""
        return is_held(self.path)


def is_held(folder: Path) -> bool:
    """Whether a process that lives is within `held` of a folder."""
    try:
        descriptor = os.open(folder / WORK, os.O_RDWR)
    except OSError:
        return False
    try:
        return not lock(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Within it, this process is the one at work in a run folder; its death, however sudden, gives the folder free.

    Raises:
        DataError: another process is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = take(folder / WORK)
    if descriptor is None:
        raise DataError(f"another process is training in {folder}: let it end, or stop it")
    try:
        yield
    finally:
        (folder / WORK).unlink(missing_ok=True)
        os.close(descriptor)


def take(path: Path) -> int | None:
    """Makes a file and locks it, by the descriptor that comes back; None where another process has it."""
    for _ in range(10):  # Who merely asks has it for an instant.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if lock(descriptor) and _is_still(descriptor, path):
            return descriptor
        os.close(descriptor)
        time.sleep(0.005)
    return None


def _is_still(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one of that name: who had it before may have removed it since."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def read_folder(path: Path) -> RunFolder | None:
    """The run of a folder; None where it is no run's."""
    result = read_result(path)
    if not isinstance(result.get("name"), str):
        return None
    begun = min((file.stat().st_mtime_ns for file in (path / CONFIG, path / RESULT) if file.exists()), default=0)
    state = read_state(path)
    run_id = result.get("run_id") or (state.run_id if state else None)
    return RunFolder(path.absolute(), result["name"], result.get("status", ""), result.get("digest", ""), run_id, begun)


def run_folders(runs: str | Path) -> list[RunFolder]:
    """Every run below a folder, newest first."""
    found = [folder for file in below(runs, RESULT) if (folder := read_folder(file.parent))]
    return sorted(found, key=lambda folder: folder.begun, reverse=True)


def below(runs: str | Path, name: str) -> list[Path]:
    """The files of a name that runs and sweeps left below a folder."""
    return [file for file in Path(runs).glob(f"**/{name}") if not set(COPIES) & set(file.relative_to(runs).parts)]


def read_result(path: Path) -> dict[str, Any]:
    """What the run in a folder said of itself; empty where it ended before it had anything to say."""
    return read_json(path / RESULT)


def read_json(file: Path) -> dict[str, Any]:
    """What a file of facts holds; empty where it is absent, just being written, or another program's."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_result(file: Path, values: Mapping[str, Any]) -> None:
    """Writes a result as JSON; a number that is none (NaN) becomes null."""
    fresh = file.with_name(f"new_{file.name}")  # Whole or not at all, whatever happens to the process.
    fresh.write_text(json.dumps(_finite(dict(values)), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    fresh.replace(file)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and (value != value or abs(value) == float("inf")) else value


def launched_with(path: Path) -> list[str] | None:
    """The overrides that a run was launched with, as Hydra keeps them, even of one that failed at once; None if none.

    Example:
        >>> launched_with(Path("runs/sweep/0"))
        ['model=vgg16', 'seed=3']
    """
    try:
        words = yaml.safe_load((path / OVERRIDES).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return words if isinstance(words, list) else None


def starts(folder: Path) -> list[Mapping]:
    """What a run told each time that it began, the first first: name, tags, store."""
    return [event for event in events(folder) if event["event"] == "start"]


def events(folder: Path) -> Iterator[Mapping]:
    """What a run told about itself, in order."""
    if (folder / JOURNAL).exists():
        yield from (event for event, _ in read_events(folder / JOURNAL))
