"""Reads members of an archive in memory: nothing is unpacked, so nothing can be written outside of any folder."""

import gzip
import tarfile
import zlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from kerasnn.errors import DataError


def read_members(path: Path, content: bytes, names: Sequence[str]) -> list[tuple[Path, bytes]]:
    """The named members of a tar archive (plain or compressed), in the order asked for.

    Only regular files under exactly these names are read; links, devices and whatever else lies in the archive are
    passed over, and no file is written.

    Args:
        path: where the archive came from, for messages.
        content: the archive itself.
        names: members, such as `cifar-10-batches-py/data_batch_1`.

    Returns:
        Pairs of `path/name` and the member's bytes.

    Raises:
        DataError: the archive cannot be read, or a member is missing.
    """
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=BytesIO(content)) as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if name in names and member.isfile():
                    found[name] = archive.extractfile(member).read()
                    if len(found) == len(names):
                        break
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path} cannot be read as a tar archive ({error}): get it again") from error
    missing = [name for name in names if name not in found]
    if missing:
        raise DataError(f"{path} does not hold the file {missing[0]}: get the official archive")
    return [(path / name, found[name]) for name in names]


def gunzip(path: Path, content: bytes) -> bytes:
    """The content of a .gz file; anything else is returned as it is.

    Raises:
        DataError: the compressed file is cut short or damaged.
    """
    if path.suffix != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path} cannot be unpacked ({error}): get it again") from error
