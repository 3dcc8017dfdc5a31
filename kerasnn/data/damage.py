"""Tells a whole picture file from a damaged one, at a fraction of what decoding it costs where the format allows it.

A PNG carries checksums. A JPEG carries none, and libjpeg fills what a cut one lacks with grey without a word, so its
entropy-coded data are followed to their end here.
"""

import re
from io import BytesIO
from pathlib import Path

from PIL import Image

_MARKER = re.compile(rb"\xff+([^\x00\x01\xd0-\xd7\xff])")  # All but stuffed zeros and restarts, which lie within scans.
_END, _SCAN = 0xD9, 0xDA
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = (0xC0, 0xC1)
_LOOKAHEAD = 8  # Bytes that libjpeg wants to hold beyond the code that it decodes.
_COEFFICIENTS = 64


def check_whole(path: Path, image: Image.Image) -> None:
    """Raises what Pillow raises, or OSError, if the file is cut short or damaged; `image` is used up by it.

    PNG: every checksum. JPEG: one that is stored in a single scan is decoded at an eighth of its size; of one that is
    stored in several (progressive), every scan must be there, though the last may be cut short, which costs fine detail
    alone. Any other format is decoded in full.

    Args:
        path: the file.
        image: the same file, opened by Pillow and not yet loaded.
    """
    if image.format == "PNG":
        image.verify()
    elif image.format in ("JPEG", "MPO"):
        _check_jpeg(path.read_bytes(), image)
    else:
        image.load()


def _check_jpeg(content: bytes, image: Image.Image) -> None:
    frame, scans, end = _walk(content)
    if end is None:
        image.load()  # Pillow itself notices a missing end.
    elif frame[:1] and frame[0] in _SEQUENTIAL and len(scans) == 1:
        # Without the marker, a decoder that lacks data waits for more instead of filling in grey.
        with Image.open(BytesIO(content[:end] + bytes(_LOOKAHEAD)), formats=("JPEG",)) as probe:
            probe.draft("L", (1, 1))
            probe.load()
    elif not _is_complete(frame, scans):
        raise OSError("image file is truncated (scans are missing)")


def _walk(content: bytes) -> tuple[bytes, list[bytes], int | None]:
    """The frame's header (its marker first), the headers of the scans, and where the first picture's end marker is."""
    frame, scans, position = b"", [], 2
    while found := _MARKER.search(content, position):
        kind = found[1][0]
        if kind == _END:
            return frame, scans, found.start()
        start = found.end()
        position = start + max(2, int.from_bytes(content[start : start + 2], "big"))
        if kind in _FRAMES:
            frame = found[1] + content[start + 2 : position]
        elif kind == _SCAN:
            scans.append(content[start + 2 : position])
    return frame, scans, None


def _is_complete(frame: bytes, scans: list[bytes]) -> bool:
    """Whether the scans give every coefficient of every component to its last bit (ITU T.81, B.2.2 and B.2.3)."""
    # Frame: marker, precision, height (2), width (2), count, then three bytes per component, its name first.
    missing = {(name, k) for name in frame[7::3] for k in range(_COEFFICIENTS)}
    for scan in scans:
        first, last, approximation = scan[-3:]
        if approximation & 0x0F == 0:
            missing -= {(name, k) for name in scan[1:-3:2] for k in range(first, last + 1)}
    return not missing
