"""Recordings of the user's own, as pictures of their sound: log-mel spectrograms."""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import gcd
from pathlib import Path

import numpy as np

from kerasnn.data.bundle import Source
from kerasnn.data.examples import ArrayExamples
from kerasnn.data.labels import Listing, check_classes, find_root, list_classes, match_names
from kerasnn.data.wav import read_wav
from kerasnn.errors import DataError
from kerasnn.ranges import Positive, PositiveFloat

log = logging.getLogger(__name__)

WINDOW_SECONDS = 0.032  # Long enough to tell the pitch of a voice, short enough to tell its consonants.
RANGE_DB = 80.0
QUIETEST_DB = -20.0  # Of a spectrum's peak, where full scale reaches about 36: a clip below is not brought up to white.
_TOGETHER = 256  # Clips that are transformed at a time, always as many: so none depends on how many there are.


def audio(
    dir: str,
    pattern: str | None = None,
    sample_rate: Positive = 8_000,
    seconds: PositiveFloat = 1.0,
    mels: Positive = 64,
    frames: Positive = 64,
    only: dict[str, Sequence[str | int]] | None = None,
) -> Source:
    """Sounds on disk (.wav), each as a picture `(mels, frames, 1)` of its log-mel spectrogram.

    Classes are the sub-folders, with or without train, val and test above them; or, with a `pattern`, a part of the
    file's name. A file that cannot be read, or does not match, is skipped and named in the log. Several channels are
    averaged, other rates resampled, and each sound is cut or filled with silence at its end to `seconds`.

    A pixel is the power in a band of frequencies (high ones above) around a moment, in decibels below the clip's
    loudest, from 255 (the loudest) to 0 (80 dB or more below): a step is 0.31 dB. So every network and augmentation of
    pictures takes it. The transform runs in float32: another kind of processor may give a pixel another step, and then
    the split another hash.

    Args:
        dir: the folder; a relative one is also looked for in `$KERASNN_DATA`.
        pattern: names the parts of a file's name without its ending, `{label}` among them, such as
            `{label}_{speaker}_{index}`; a name that can be read in several ways does not match. None takes sub-folders.
        sample_rate: Hz to which all is brought; frequencies up to half of it are seen.
        seconds: of sound that are used.
        mels: bands of frequency, the picture's height.
        frames: moments, the picture's width.
        only: by part of the pattern, the values to take: `{speaker: [jackson, theo]}`; None takes all files.

    Raises:
        DataError: no folder, a pattern without `{label}`, no file that matches, a part or a value in `only` that no
            file has, a class without a readable file, or sounds too short for the frames.

    Example:
        >>> audio("recordings", pattern="{label}_{speaker}_{index}").train.images.shape
        (600, 64, 64, 1)
    """
    root = find_root("audio", dir)
    if pattern is None and only is not None:
        raise DataError(f"data.only={only} needs data.pattern, whose parts it names: write '{{label}}_{{speaker}}'")
    listing = list_classes("audio", root) if pattern is None else match_names("audio", root, pattern, ".wav", only)
    samples = _count_samples(seconds, sample_rate, frames)
    pictures, kept = _pictures(listing, sample_rate, samples, mels, frames)
    check_classes("audio", "sound that can be read", listing, kept)
    splits = {split: _select(pictures, kept, split) for split in listing.splits}
    return Source("audio", class_names=listing.class_names, origin=str(root), **splits)


def _count_samples(seconds: float, sample_rate: int, frames: int) -> int:
    """Samples of a clip. Raises DataError where they are too few for the frames."""
    samples = round(seconds * sample_rate)
    reach = _windows(samples, sample_rate, frames)[2] // 2
    if frames <= samples and reach < samples:  # A clip is mirrored at its ends, as far as a transform reaches.
        return samples
    least = max(_windows(0, sample_rate, frames)[2] // 2 + 1, frames)
    remedies = []
    if frames < 4:  # From four on, a window is half of the clip at most, so the next power of two is below the clip.
        remedies.append("data.frames=4 or more")
    if samples < least:
        remedies.append(f"data.seconds={-(-least * 10_000 // sample_rate) / 10_000:g} or more")  # Rounded up.
    cause = f"whose transforms reach over {reach} to each side" if reach >= samples else "of which each needs one"
    raise DataError(
        f"data.seconds={seconds:g} at data.sample_rate={sample_rate} are {samples} samples, too few for "
        f"data.frames={frames}, {cause}: give {' and '.join(remedies)}"
    )


def _pictures(
    listing: Listing, sample_rate: int, samples: int, mels: int, frames: int
) -> tuple[np.ndarray, list[tuple[str, Path, int]]]:
    """uint8 `(files that can be read, mels, frames, 1)`, and their rows; the others are named in the log."""
    rows = listing.rows
    spectrogram = partial(log_mel, sample_rate=sample_rate, mels=mels, frames=frames)
    pictures = np.empty((len(rows), mels, frames, 1), np.uint8)
    kept: list[tuple[str, Path, int]] = []
    changed: Counter[str] = Counter()
    for clips, part in _clips(rows, sample_rate, samples, changed):
        pictures[len(kept) : len(kept) + len(part)] = spectrogram(clips)[: len(part), ..., None]
        kept += part
    summary = "audio: %d sounds, %d of them resampled, %d cut, %d files skipped"
    log.info(summary, len(kept), changed["resampled"], changed["cut"], listing.strays + len(rows) - len(kept))
    return pictures[: len(kept)], kept


def _select(pictures: np.ndarray, rows: list[tuple[str, Path, int]], split: str) -> ArrayExamples:
    chosen = [i for i, row in enumerate(rows) if row[0] == split]
    return ArrayExamples(pictures[chosen], np.array([rows[i][2] for i in chosen], np.int32))


def _clips(
    rows: Sequence[tuple[str, Path, int]], sample_rate: int, samples: int, changed: Counter[str]
) -> Iterator[tuple[np.ndarray, list[tuple[str, Path, int]]]]:
    """Groups of float32 `(_TOGETHER, samples)`, of which as many hold a sound as there are rows beside them."""
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        for start in range(0, len(rows), _TOGETHER):
            clips, part = np.zeros((_TOGETHER, samples), np.float32), []
            group = rows[start : start + _TOGETHER]
            for row, (sound, rate, reason) in zip(group, pool.map(_read, [row[1] for row in group]), strict=True):
                if reason:
                    log.warning("audio: skipped %s: %s", row[1], reason)
                    continue
                sound = resample(sound, rate, sample_rate)
                changed.update({"resampled": rate != sample_rate, "cut": len(sound) > samples})
                clips[len(part), : len(sound)] = sound[:samples]
                part.append(row)
            yield clips, part


def _read(file: Path) -> tuple[np.ndarray, int, str]:
    """The sound, its rate, and why there is none."""
    nothing = np.zeros(0, np.float32)
    if file.suffix.lower() != ".wav":
        return nothing, 0, "it is no .wav file"
    try:
        return *read_wav(file.read_bytes()), ""
    except OSError as error:
        return nothing, 0, f"it cannot be read ({error.strerror})"
    except ValueError as error:
        return nothing, 0, str(error)


def resample(sound: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """The sound at another rate, what is too high for it filtered out: float32 `(samples,)` in and out."""
    if rate == wanted:
        return sound
    from scipy.signal import resample_poly

    common = gcd(rate, wanted)
    return resample_poly(sound, wanted // common, rate // common).astype(np.float32)


def _windows(samples: int, sample_rate: int, frames: int) -> tuple[int, int, int]:
    """Samples from one window to the next, in a window, and in its transform."""
    stride = samples // frames
    window = max(round(WINDOW_SECONDS * sample_rate), 2 * stride)  # Windows overlap, so no sound falls between two.
    # A power of two, twice the window at least: low bands are narrower than a window's own steps of frequency.
    return stride, window, 2 ** (window - 1).bit_length() * 2


def log_mel(clips: np.ndarray, sample_rate: int, mels: int, frames: int) -> np.ndarray:
    """Log-mel spectrograms, each clip against its own loudest.

    Args:
        clips: float32 `(clips, samples)`.
        sample_rate: Hz.
        mels: bands, evenly spaced on the mel scale from 20 Hz to half of `sample_rate`.
        frames: moments, evenly spaced.

    Returns:
        uint8 `(clips, mels, frames)`, the highest band first, 255 for the loudest, 0 for 80 dB or more below.
    """
    import keras
    import tensorflow as tf

    stride, window, length = _windows(clips.shape[1], sample_rate, frames)
    transform = keras.layers.MelSpectrogram(
        fft_length=length,
        sequence_length=window,
        sequence_stride=stride,
        sampling_rate=sample_rate,
        num_mel_bins=mels,
        power_to_db=False,  # Or the loudest of all clips would set the scale of each.
        dtype="float32",  # Whatever the precision of the network.
    )
    with tf.device("/CPU:0"):
        power = np.asarray(transform(clips))[:, :, :frames]
    decibels = 10 * np.log10(np.maximum(power, 1e-10))
    top = np.maximum(decibels.max(axis=(1, 2), keepdims=True), QUIETEST_DB)
    share = np.clip((decibels - top) / RANGE_DB + 1, 0, 1)
    return np.round(share[:, ::-1] * 255).astype(np.uint8)
