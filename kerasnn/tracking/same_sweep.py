"""The same sweep again: known by what its runs are, found on disk, and at work in one process at a time."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from kerasnn.errors import ConfigError
from kerasnn.tracking.folders import below, read_json, take
from kerasnn.tracking.store import RUNS

SWEEP = "sweep.json"
"""In a sweep's folder: which keys vary, the experiment, and the sweep's digest; empty where no other goes on in it."""


def digest_of(facts: object) -> str:
    """SHA-256 of what makes a sweep that sweep, such as the digests of its runs in order."""
    return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def former(digest: str, runs: str | Path = RUNS) -> Path | None:
    """The folder of the newest sweep of a digest; None where there was none."""
    same = [file for file in below(runs, SWEEP) if read_json(file).get("digest") == digest]
    return max(same, key=lambda file: file.stat().st_mtime_ns).parent.absolute() if same else None


@contextmanager
def alone(digest: str, runs: str | Path = RUNS) -> Iterator[None]:
    """Within it, this process is the one that runs the sweep of a digest; its death, however sudden, gives it free.

    Raises:
        ConfigError: another process runs it, which would make each of its runs twice.
    """
    place = Path(runs) / f".sweep-{digest[:16]}.lock"
    place.parent.mkdir(parents=True, exist_ok=True)
    descriptor = take(place)
    if descriptor is None:
        raise ConfigError(f"this sweep is running already{_who(place, former(digest, runs))}: let it end, or stop it")
    try:
        mine = {"process": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        os.ftruncate(descriptor, 0)  # Of one that was killed.
        os.pwrite(descriptor, json.dumps(mine).encode(), 0)
        yield
    finally:
        place.unlink(missing_ok=True)
        os.close(descriptor)


def _who(place: Path, folder: Path | None) -> str:
    told = read_json(place)
    who = f", as process {told['process']} on {told['host']} since {told['since']}" if told else ""
    return who + (f", in {os.path.relpath(folder)}" if folder else "")
