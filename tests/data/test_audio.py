"""Recordings as pictures: what a .wav file may hold, how sound becomes brightness, where labels come from."""

import itertools
import logging
import re
import struct
import wave
from pathlib import Path

import keras
import numpy as np
import pytest

from kerasnn.data.audio import _count_samples, audio, log_mel, resample
from kerasnn.data.bundle import make_bundle
from kerasnn.data.labels import compile_pattern
from kerasnn.data.wav import read_wav
from kerasnn.errors import DataError


def tone(hertz: float = 1_000, rate: int = 8_000, seconds: float = 0.5, loudness: float = 0.5) -> np.ndarray:
    return (loudness * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def riff(data: bytes, kind: int = 1, channels: int = 1, rate: int = 8_000, width: int = 2, extra: bytes = b"") -> bytes:
    head = struct.pack("<HHIIHH", kind, channels, rate, rate * channels * width, channels * width, 8 * width) + extra
    chunks = b"WAVEfmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


def save(path: Path, sound: np.ndarray | None = None, rate: int = 8_000) -> Path:
    """As Python's own module writes it: 16 bits, one channel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(np.round((tone() if sound is None else sound) * 32_767).astype("<i2").tobytes())
    return path


def make_folder(root: Path, count: int = 10, **parts) -> Path:
    """High and low tones of different pitch."""
    for name, hertz in (parts or {"high": 2_000, "low": 300}).items():
        for i in range(count):
            save(root / name.replace("__", "/") / f"{i}.wav", tone(hertz + 20 * i))
    return root


# What a file may hold.


@pytest.mark.parametrize(
    ("content", "expected", "tolerance"),
    [
        (lambda x: riff(np.round(x * 127 + 128).astype("u1").tobytes(), width=1), "one", 1 / 64),
        (lambda x: riff(np.round(x * 32_767).astype("<i2").tobytes()), "one", 1e-4),
        (lambda x: riff(np.round(x * (2**31 - 1)).astype("<i4").tobytes(), width=4), "one", 1e-6),
        (lambda x: riff(x.astype("<f4").tobytes(), kind=3, width=4), "one", 0),
        (lambda x: riff(x.astype("<f8").tobytes(), kind=3, width=8), "one", 0),
        # Three bytes: a whole number of four without its lowest one.
        (
            lambda x: riff(
                np.round(x * (2**31 - 1)).astype("<i4").view("u1").reshape(-1, 4)[:, 1:].tobytes(),
                width=3,
            ),
            "one",
            1e-6,
        ),
        # Two channels, of which the second is silent.
        (
            lambda x: riff(np.round(np.stack([x, 0 * x], 1) * 32_767).astype("<i2").tobytes(), channels=2),
            "half",
            1e-4,
        ),
        # The long form of a head names its kind further down.
        (
            lambda x: riff(
                x.astype("<f4").tobytes(),
                kind=0xFFFE,
                width=4,
                extra=struct.pack("<HHIH", 22, 32, 4, 3) + bytes(14),
            ),
            "one",
            0,
        ),
        # A program that wrote to a pipe could not know the length.
        (
            lambda x: riff(x.astype("<f4").tobytes(), kind=3, width=4).replace(
                b"data" + struct.pack("<I", 16_000), b"data" + struct.pack("<I", 2**32 - 1)
            ),
            "one",
            0,
        ),
    ],
    ids=["8", "16", "32", "float", "double", "24", "stereo", "extensible", "endless"],
)
def test_wav_of_any_width_gives_the_same_sound(content, expected, tolerance):
    sound = tone()
    found, rate = read_wav(content(sound))
    assert (found.dtype, found.shape, rate) == (np.float32, sound.shape, 8_000)
    np.testing.assert_allclose(found, sound / (2 if expected == "half" else 1), atol=tolerance)


def test_wav_of_pythons_own_module_and_notes_in_between(tmp_path):
    sound = tone()
    content = save(tmp_path / "a.wav", sound).read_bytes()
    np.testing.assert_allclose(read_wav(content)[0], sound, atol=1e-4)
    # A note of three bytes is filled up to four; what comes behind the sound is passed over.
    noted = content[:12] + b"LIST" + struct.pack("<I", 3) + b"abc\0" + content[12:] + b"LIST" + struct.pack("<I", 99)
    np.testing.assert_array_equal(read_wav(noted)[0], read_wav(content)[0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"ID3 something else", "it is no RIFF WAVE file"),
        (riff(bytes(400))[:-100], "it is cut short: 300 of 400 bytes are there"),
        (riff(bytes(400))[:40], "it is cut short, or damaged: its head or its sound is missing"),
        (riff(bytes(400), kind=6), r"of a kind that is not read \(format 0x0006, 16 bits\): save it as PCM"),
        (riff(b""), "it holds no sound"),
        (riff(bytes(4), channels=0), r"its head is damaged \(0 channels, 8000 Hz, 0 bytes per sample\)"),
        (riff(np.array([0, np.nan], "<f4").tobytes(), kind=3, width=4), "numbers that are not finite"),
    ],
)
def test_wav_that_cannot_be_read_says_why(content, message):
    with pytest.raises(ValueError, match=message):
        read_wav(content)


# From sound to picture.


def row_of(hertz: float, rate: int, mels: int) -> float:
    """The picture's row of a frequency: bands lie evenly on HTK's mel scale from 20 Hz to half the rate, high ones up.

    The `mels` bands have their middles at 1 … mels of mels + 1 steps between the two ends.
    """
    low, high, given = (np.log1p(f / 700) for f in (20, rate / 2, hertz))
    return mels - (given - low) / (high - low) * (mels + 1)


@pytest.mark.parametrize(("hertz", "rate", "mels"), [(300, 8_000, 64), (1_000, 8_000, 64), (3_000, 16_000, 40)])
def test_log_mel_shows_a_tone_at_its_height(hertz, rate, mels):
    picture = log_mel(tone(hertz, rate)[None], rate, mels, frames=32)[0]
    assert (picture.shape, picture.dtype) == ((mels, 32), np.uint8)
    assert np.abs(picture[:, 2:-2].argmax(axis=0) - row_of(hertz, rate, mels)).max() < 1
    assert picture.max() == 255


def test_log_mel_step_is_a_third_of_a_decibel():
    # The same tone, first loud, then at a tenth: 20 dB, which are 20 / 80 · 255 = 64 steps.
    sound = np.concatenate([tone(seconds=0.5), tone(seconds=0.5, loudness=0.05)])
    picture = log_mel(sound[None], 8_000, 64, frames=64)[0].astype(int)
    row = round(row_of(1_000, 8_000, 64))
    assert abs(picture[row, 16] - picture[row, 48] - 64) <= 1


def test_log_mel_of_a_clip_depends_on_nothing_else():
    clips = np.stack([tone(400), 0.01 * tone(400), tone(1_500), 0 * tone()])
    pictures = log_mel(clips, 8_000, 64, frames=50)
    # A hundredth as loud looks the same, but for the quietest pixels; silence is black.
    assert np.abs(pictures[0].astype(int) - pictures[1])[pictures[0] > 100].max() <= 1
    assert pictures[3].max() == 0
    keras.config.set_dtype_policy("mixed_bfloat16")
    np.testing.assert_array_equal(log_mel(clips[::-1].copy(), 8_000, 64, frames=50)[::-1], pictures)


def test_log_mel_leaves_no_sound_between_its_windows():
    # Two seconds in ten frames: each window reaches over the next one's beginning, so a click is seen wherever it is.
    clicks = np.zeros((20, 16_000), np.float32)
    for i, place in enumerate(range(100, 15_000, 750)):
        clicks[i, place] = 1
    assert (log_mel(clicks, 8_000, 32, frames=10).max(axis=(1, 2)) == 255).all()


def test_resample_keeps_the_tone_and_drops_what_is_too_high():
    sound = resample(tone(1_000, 44_100) + tone(6_000, 44_100), 44_100, 8_000)
    assert len(sound) == 4_000
    spectrum = np.abs(np.fft.rfft(sound)) / len(sound) * 2
    # Half a second: a line every 2 Hz. 6,000 Hz would come back at 2,000 if it were not filtered out.
    assert spectrum[500] == pytest.approx(0.5, abs=0.02)
    assert spectrum[1_000] < 0.01
    assert resample(sound, 8_000, 8_000) is sound


# Folders and names.


def readings(name: str, literals: list[str]) -> list[tuple[str, ...]]:
    """Every way to fill the gaps between the literals with one character or more, tried one by one."""
    first, *others = literals
    rest = name.removeprefix(first)
    if not name.startswith(first):
        return []
    if not others:
        return [] if rest else [()]
    return [(rest[:end], *more) for end in range(1, len(rest) + 1) for more in readings(rest[end:], others)]


def test_audio_of_a_folder_per_class_is_a_set_of_pictures(tmp_path, caplog):
    caplog.set_level(logging.INFO, "kerasnn")
    bundle = make_bundle(audio(str(make_folder(tmp_path))))
    assert (bundle.kind, bundle.input_shape, bundle.class_names) == ("pictures", (64, 64, 1), ("high", "low"))
    assert [len(examples) for examples in bundle.splits.values()] == [14, 2, 4]
    assert bundle.hashes == make_bundle(audio(str(tmp_path))).hashes
    # High tones are bright above, low ones below.
    rows = bundle.train.images[:, :, 10, 0].argmax(axis=1)
    assert (rows[bundle.train.labels == 0] < 32).all()
    assert (rows[bundle.train.labels == 1] > 40).all()
    assert "audio: 20 sounds, 0 of them resampled, 0 cut, 0 files skipped" in caplog.text


def test_audio_takes_the_splits_that_are_there(tmp_path):
    tones = {
        f"{split}__{name}": hertz for split in ("train", "val", "test") for name, hertz in (("a", 400), ("b", 900))
    }
    source = audio(str(make_folder(tmp_path, count=2, **tones)))
    assert [len(source.train), len(source.validation), len(source.test)] == [4, 4, 4]


def test_audio_is_cut_filled_and_resampled(tmp_path, caplog):
    caplog.set_level(logging.INFO, "kerasnn")
    save(tmp_path / "a" / "long.wav", tone(seconds=2))
    save(tmp_path / "b" / "short.wav", tone(seconds=0.25, rate=16_000), rate=16_000)
    images = audio(str(tmp_path), seconds=0.5, mels=40, frames=50).train.images
    assert images.shape == (2, 40, 50, 1)
    # The short one ends in the middle of the picture.
    assert images[0, :, 30:].max() > 200
    assert images[1, :, :20].max() == 255
    assert images[1, :, 30:].max() == 0
    assert "audio: 2 sounds, 1 of them resampled, 1 cut, 0 files skipped" in caplog.text


def test_audio_names_each_file_that_cannot_be_read(tmp_path, caplog):
    caplog.set_level(logging.INFO, "kerasnn")
    make_folder(tmp_path)
    spoiled = {
        "empty.wav": (b"", "it is empty"),
        "notes.txt": (b"low tones", "it is no .wav file"),
        "song.wav": (b"ID3\3" + bytes(50), "it is no RIFF WAVE file"),
        "cut.wav": ((tmp_path / "low" / "0.wav").read_bytes()[:500], "it is cut short: 456 of 8000 bytes are there"),
    }
    for name, (content, _) in spoiled.items():
        (tmp_path / "low" / name).write_bytes(content)
    assert len(audio(str(tmp_path)).train) == 20
    for name, (_, reason) in spoiled.items():
        assert f"audio: skipped {tmp_path / 'low' / name}: {reason}" in caplog.text
    assert "audio: 20 sounds, 0 of them resampled, 0 cut, 4 files skipped" in caplog.text
    for file in (tmp_path / "low").glob("?.wav"):
        file.write_bytes(b"")
    with pytest.raises(DataError, match="audio: the class 'low' has no sound that can be read in train: add some"):
        audio(str(tmp_path))


def test_audio_does_not_depend_on_how_many_files_there_are(tmp_path, monkeypatch):
    monkeypatch.setattr("kerasnn.data.audio._TOGETHER", 8)
    make_folder(tmp_path, count=6)  # Two groups, of which the second is half empty.
    (tmp_path / "high" / "3.wav").write_bytes(b"")
    some = audio(str(tmp_path)).train.images
    assert some.shape[0] == 11
    make_folder(tmp_path, count=9)
    more = audio(str(tmp_path)).train.images
    np.testing.assert_array_equal(more[[0, 1, 2, 4, 5, *range(9, 15)]], some)


def test_audio_reads_labels_from_names(tmp_path, caplog):
    caplog.set_level(logging.INFO, "kerasnn")
    for name in ("10_ann_0", "9_ann_0", "9_bob_0", "10_bob_1", "sub/9_ann_1", "10_bob_2"):
        save(tmp_path / f"{name}.wav")
    save(tmp_path / "take two.wav")
    (tmp_path / "readme.md").write_text("of no matter")
    source = audio(str(tmp_path), pattern="{label}_{speaker}_{index}")
    assert source.class_names == ("9", "10")
    assert source.train.labels.tolist() == [1, 1, 1, 0, 0, 0]
    assert f"skipped {tmp_path / 'take two.wav'}: its name fits data.pattern=" in caplog.text
    assert (
        "6 of 7 files match data.pattern={label}_{speaker}_{index}, 1 left out: 2 of label, 2 of speaker, 3 of index"
        in caplog.text
    )
    assert "audio: 6 sounds, 0 of them resampled, 0 cut, 1 files skipped" in caplog.text
    with pytest.raises(DataError, match=r"of the 7 \.wav files in .* none matches data\.pattern=\{label\}-\{take\}"):
        audio(str(tmp_path), pattern="{label}-{take}")


@pytest.mark.parametrize(
    ("pattern", "names", "classes"),
    [
        # Both hold a letter of "nohash".
        ("{label}_nohash_{index}", ("five_nohash_1", "yes_nohash_0", "five_nohash_0"), ("five", "yes")),
        # A letter of "speaker" is in the first alone.
        ("speaker{speaker}_{label}", ("speaker3_seven", "speaker3_two"), ("seven", "two")),
    ],
)
def test_audio_keeps_classes_whose_names_share_letters_with_the_pattern(tmp_path, pattern, names, classes):
    for name in names:
        save(tmp_path / f"{name}.wav")
    source = audio(str(tmp_path), pattern=pattern)
    assert source.class_names == classes
    assert len(source.train) == len(names)


@pytest.mark.parametrize(("strays", "level"), [(1, logging.INFO), (2, logging.WARNING)])
def test_audio_warns_where_many_names_do_not_match(tmp_path, caplog, strays, level):
    caplog.set_level(logging.INFO, "kerasnn")
    # Of ten files one may be a stray: a tenth.
    for i in range(10):
        save(tmp_path / (f"take two_{i}_of_it.wav" if i < strays else f"a_{i}.wav"))
    audio(str(tmp_path), pattern="{label}_{index}")
    [summary] = [record for record in caplog.records if "files match" in record.getMessage()]
    told = f"audio: {10 - strays} of 10 files match data.pattern={{label}}_{{index}}, {strays} left out: 1 of label, "
    assert summary.getMessage().startswith(told)
    assert summary.levelno == level


@pytest.mark.parametrize(
    ("pattern", "name", "parts"),
    [
        ("{label}_{speaker}_{index}", "7_theo_12", {"label": "7", "speaker": "theo", "index": "12"}),
        ("{label}_{speaker}_{index}", "left_hand_theo_12", None),  # Two ways to read it.
        ("{speaker}-{label}", "theo-7", {"speaker": "theo", "label": "7"}),
        ("take.{label}(x)", "take.7(x)", {"label": "7"}),
        ("take.{label}(x)", "take-7(x)", None),
        ("{label}", "any name_at-all", {"label": "any name_at-all"}),
        ("[{label}]^{x}", "[a b]^c", {"label": "a b", "x": "c"}),
        ("{label}_nohash_{index}", "yes_nohash_0", {"label": "yes", "index": "0"}),
        ("{label}_nohash_{index}", "left_hand_nohash_0", {"label": "left_hand", "index": "0"}),
        ("speaker{speaker}_{label}", "speaker3_seven", {"speaker": "3", "label": "seven"}),
        ("speaker{speaker}_{label}", "speaker3_left_hand", None),
        ("{label}x{index}", "box3", {"label": "bo", "index": "3"}),
        ("{label}x{index}", "taxbox3", None),  # ta and box3, or taxbo and 3.
        ("{label}__{index}", "a___1", None),  # a and _1, or a_ and 1.
        ("{label}_{index}", "_1", None),  # A part holds something.
    ],
)
def test_pattern_reads_a_name_in_one_way_or_not_at_all(pattern, name, parts):
    assert compile_pattern(pattern)(name) == parts


@pytest.mark.parametrize(
    "pattern", ["{label}_{x}", "{label}a{x}", "{label}_a{x}_", "{label}aa{x}_{y}", "a{label}_{x}a{y}"]
)
def test_pattern_reads_exactly_the_names_with_one_reading(pattern):
    read, literals, counts = compile_pattern(pattern), re.split(r"{\w+}", pattern), set()
    for letters in itertools.chain.from_iterable(itertools.product("a_b", repeat=length) for length in range(8)):
        name = "".join(letters)
        ways = readings(name, literals)
        found = read(name)
        assert (found and tuple(found.values())) == (ways[0] if len(ways) == 1 else None)
        counts.add(min(len(ways), 2))
    assert counts == {0, 1, 2}  # Names without a reading, with one, and with more were among them.


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{speaker}_{index}", r"has no \{label\}: write it like"),
        ("{label}{index}", "has nothing between two parts"),
        ("{label}_{label}", "has a part twice"),
        ("{label}_{}", "has braces around something that is no plain name"),
        ("{label:3}_{x}", "has braces around something that is no plain name"),
        ("{label}_{a b}", "has braces around something that is no plain name"),
        ("{label", r"cannot be read \(expected '}' before end of string\)"),
    ],
)
def test_pattern_that_cannot_be_meant_is_told_in_one_line(pattern, message):
    with pytest.raises(DataError, match=message) as caught:
        compile_pattern(pattern)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message", "allowed"),
    [
        # 32 ms at 8 kHz are windows of 256 samples, which take a transform of 512: 257 samples, 0.032125 s, rounded up.
        (
            {"seconds": 0.005},
            r"data\.seconds=0\.005 at data\.sample_rate=8000 are 40 samples, too few for data\.frames=64, whose "
            r"transforms reach over 256 to each side: give data\.seconds=0\.0322 or more$",
            {"seconds": 0.0322},
        ),
        (
            {"seconds": 0.03},
            r"are 240 samples, .* reach over 256 to each side: give data\.seconds=0\.0322 or more$",
            {"seconds": 0.0322},
        ),
        # 2 · 8,000 samples in a window, 2 · 4,000, 2 · 2,666: the next powers of two are 16,384 and twice 8,192.
        ({"frames": 1}, r"frames=1, .* over 16384 to each side: give data\.frames=4 or more$", {"frames": 4}),
        ({"frames": 2}, r"frames=2, .* over 8192 to each side: give data\.frames=4 or more$", {"frames": 4}),
        ({"frames": 3}, r"frames=3, .* over 8192 to each side: give data\.frames=4 or more$", {"frames": 4}),
        (
            {"frames": 2, "seconds": 0.03},
            r"give data\.frames=4 or more and data\.seconds=0\.0322 or more$",
            {"frames": 4, "seconds": 0.0322},
        ),
        # 400 samples are enough for a window, and not for 500 frames: 500 / 8,000 = 0.0625 s.
        (
            {"frames": 500, "seconds": 0.05},
            r"are 400 samples, too few for data\.frames=500, of which each needs one: "
            r"give data\.seconds=0\.0625 or more$",
            {"frames": 500, "seconds": 0.0625},
        ),
    ],
)
def test_audio_too_short_for_its_frames_says_what_is_allowed(tmp_path, options, message, allowed):
    folder = str(make_folder(tmp_path, count=1))
    with pytest.raises(DataError, match=message) as caught:
        audio(folder, **options)
    assert "\n" not in str(caught.value)
    assert audio(folder, **allowed).train.images.shape[2] == allowed.get("frames", 64)


def test_audio_of_four_frames_or_more_needs_one_window_alone():
    # 32 ms at 1 kHz are 32 samples, a power of two, so 33 are enough, or as many as there are frames.
    for frames in range(4, 60):
        for samples in range(10, 300):
            if samples >= max(33, frames):
                assert _count_samples(samples / 1_000, 1_000, frames) == samples
            else:
                with pytest.raises(DataError, match=f"give data.seconds={max(33, frames) / 1_000:g} or more$"):
                    _count_samples(samples / 1_000, 1_000, frames)


def test_real_spoken_digits(shared_data):
    folder = str(shared_data / "fsdd" / "recordings")
    first, second = (make_bundle(audio(folder, pattern="{label}_{speaker}_{index}")) for _ in range(2))
    assert first.hashes == second.hashes
    assert first.class_names == tuple("0123456789")
    assert first.input_shape == (64, 64, 1)
    # Six speakers said each digit ten times; a fifth is the test, a tenth of the remaining 480 validation.
    assert np.bincount(first.test.labels).tolist() == [12] * 10
    assert [len(examples) for examples in first.splits.values()] == [432, 48, 120]
    # No recording is in two splits: all 600 pictures differ.
    assert len({image.tobytes() for examples in first.splits.values() for image in examples.images}) == 600
    # The most similar picture of train tells most of the held-out digits; chance is a tenth.
    train, test = (examples.images.reshape(len(examples), -1) / 255 for examples in (first.train, first.test))
    distances = (train**2).sum(axis=1) - 2 * test @ train.T  # But for what all pictures of train have alike.
    guess = first.train.labels[distances.argmin(axis=1)]
    assert (guess == first.test.labels).mean() > 0.7
