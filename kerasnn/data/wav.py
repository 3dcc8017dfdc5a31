"""Sound files: what a .wav file holds, as one channel of numbers in [-1, 1]."""

import struct
from collections.abc import Iterator

import numpy as np

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_ENDLESS = 0xFFFFFFFF  # Written as the length by a program that could not know it; the sound goes on to the file's end.


def read_wav(content: bytes) -> tuple[np.ndarray, int]:
    """The sound in a RIFF WAVE file, and its samples per second.

    Whole numbers of 8, 16, 24 and 32 bits and floats of 32 and 64 bits are read; several channels are averaged.

    Args:
        content: the file itself.

    Returns:
        float32 `(samples,)` in [-1, 1] (floats may be louder), and the rate in Hz.

    Raises:
        ValueError: it is something else, is compressed, is cut short or holds no sound; the message says which.

    Example:
        >>> sound, rate = read_wav(Path("seven.wav").read_bytes())
    """
    if not content:
        raise ValueError("it is empty")
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise ValueError("it is no RIFF WAVE file")
    chunks = dict(_chunks(content))
    if len(chunks.get(b"fmt ", b"")) < 16 or b"data" not in chunks:
        raise ValueError("it is cut short, or damaged: its head or its sound is missing")
    kind, channels, rate, _, block, _ = struct.unpack("<HHIIHH", chunks[b"fmt "][:16])
    if kind == _EXTENSIBLE and len(chunks[b"fmt "]) >= 26:
        kind = struct.unpack("<H", chunks[b"fmt "][24:26])[0]
    if not channels or not rate or not block or block % channels:
        raise ValueError(f"its head is damaged ({channels} channels, {rate} Hz, {block} bytes per sample)")
    sound = _numbers(chunks[b"data"][: len(chunks[b"data"]) // block * block], kind, block // channels)
    if not len(sound):
        raise ValueError("it holds no sound")
    if not np.isfinite(sound).all():
        raise ValueError("it holds numbers that are not finite")
    return sound.reshape(-1, channels).mean(axis=1, dtype=np.float32), rate


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each chunk up to the sound; what comes behind it says nothing that is needed."""
    place = 12
    while place + 8 <= len(content):
        name, size = struct.unpack("<4sI", content[place : place + 8])
        body = content[place + 8 : place + 8 + size]
        if len(body) < size and size != _ENDLESS:
            raise ValueError(f"it is cut short: {len(body)} of {size} bytes are there")
        yield name, body
        if name == b"data":
            return
        place += 8 + size + size % 2


def _numbers(data: bytes, kind: int, width: int) -> np.ndarray:
    """The samples of all channels, float32, whole numbers scaled to [-1, 1]."""
    if kind == _FLOAT and width in (4, 8):
        return np.frombuffer(data, f"<f{width}").astype(np.float32)
    if kind != _PCM or width not in (1, 2, 3, 4):
        raise ValueError(f"it is of a kind that is not read (format 0x{kind:04x}, {8 * width} bits): save it as PCM")
    if width == 1:
        return (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128
    if width == 3:  # Each sample becomes the upper three bytes of a whole number of four.
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return (wide.view("<i4")[:, 0] / 2.0**31).astype(np.float32)
    return (np.frombuffer(data, f"<i{width}") / 2.0 ** (8 * width - 1)).astype(np.float32)
