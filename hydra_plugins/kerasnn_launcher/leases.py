"""Leases of GPUs, by all sweeps of this machine: a lock for each, which the process that has the GPU holds itself.

The lock ends with that process. A launcher that is killed takes none of its runs' leases with it.
"""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from kerasnn.errors import DeviceError
from kerasnn.tracking.journal import lock

FOLDER = "kerasnn-devices"


def lease(device: str) -> int | None:
    """The descriptor that holds the lease, to be passed on; None where another process has the device.

    Args:
        device: its UUID.

    Raises:
        DeviceError: the folder of all leases cannot be written.
    """
    try:
        descriptor = _open(_folder() / device.replace("/", "_"))
    except OSError as error:
        raise DeviceError(f"GPUs cannot be leased ({error}): let TMPDIR name a folder that can be written") from error
    if lock(descriptor):
        return descriptor
    os.close(descriptor)
    return None


def _folder() -> Path:
    """Of the machine, and of all its users."""
    folder = Path(tempfile.gettempdir()) / FOLDER
    with suppress(FileExistsError):
        folder.mkdir()
        folder.chmod(0o1777)
    return folder


def _open(path: Path) -> int:
    """For reading, which a lock needs no more than: the file may be another user's."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o644))
    return os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
