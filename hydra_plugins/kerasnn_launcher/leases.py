"""Leases of GPUs, by all sweeps that see one folder: a lock for each GPU, which the process that has it holds itself.

The lock ends with that process. A launcher that is killed takes none of its runs' leases with it.
"""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from kerasnn.errors import DeviceError
from kerasnn.tracking.journal import lock

LEASES = "KERASNN_LEASES"
"""In the environment: the folder of all leases, such as one that containers share."""


def lease(device: str) -> int | None:
    """The descriptor that holds the lease, to be passed on; None where another process has the device.

    Args:
        device: its UUID.

    Raises:
        DeviceError: the folder of all leases cannot be written, or its locks hold nobody off.
    """
    try:
        path = _folder() / device.replace("/", "_")
        descriptor = _open(path)
    except OSError as error:
        raise DeviceError(f"GPUs cannot be leased ({error}): let {LEASES} name a folder that can be written") from error
    if not lock(descriptor):
        os.close(descriptor)
        return None
    if _lets_in(path):
        os.close(descriptor)
        raise DeviceError(f"GPUs cannot be leased: {path.parent} is on a disk without locks, let {LEASES} name another")
    return descriptor


def _folder() -> Path:
    """What the environment names, or else one for all users of the machine, wherever their temporary files are."""
    place = Path("/tmp") if Path("/tmp").is_dir() else Path(tempfile.gettempdir())
    folder = Path(os.environ.get(LEASES) or place / "kerasnn-devices").expanduser()
    with suppress(FileExistsError):
        folder.mkdir(parents=True)
        folder.chmod(0o1777)
    return folder


def _open(path: Path) -> int:
    """For reading, which a lock needs no more than: the file may be another user's."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o644))
    return os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))


def _lets_in(path: Path) -> bool:
    """Whether a file that is locked can be locked once more, as on a network's file system that knows no locks."""
    second = _open(path)
    try:
        return lock(second)
    finally:
        os.close(second)
