"""Which of the user's files are used: classes by name, files by the parts of their names, and few of each."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kerasnn.data.bundle import make_bundle
from kerasnn.data.image_folder import image_folder
from kerasnn.data.labels import keep_classes, list_classes, match_names
from kerasnn.errors import DataError


@pytest.fixture
def people(tmp_path) -> Path:
    """Four people, ten pictures of each."""
    for person in ("s01", "s02", "s10", "t01"):
        (tmp_path / person).mkdir()
        for number in range(10):
            Image.new("L", (8, 8), 10 * number).save(tmp_path / person / f"{number}.png")
    return tmp_path


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).touch()
    return root


@pytest.mark.parametrize(
    ("classes", "kept"),
    [
        (None, ("s01", "s02", "s10", "t01")),
        (["s0?"], ("s01", "s02")),
        (["t01", "s*"], ("s01", "s02", "s10", "t01")),
        (["s[01]2", "s10"], ("s02", "s10")),
    ],
)
def test_classes_are_chosen_by_name_or_pattern_and_keep_their_order(people, classes, kept):
    listing = keep_classes("toy", list_classes("toy", people), classes)
    assert listing.class_names == kept
    # Each file has the number that its class has now.
    assert [path.parent.name for _, path, _ in listing.rows] == [kept[label] for _, _, label in listing.rows]
    assert len(listing.rows) == 10 * len(kept)


def test_few_pictures_of_few_people_train_and_the_others_judge(people):
    source = image_folder(str(people), classes=["s*"])
    options = {"image_size": 8, "test_fraction": 0.5, "validation_fraction": 0.4}
    bundle = make_bundle(source, **options)
    # Of ten of each of three: half for the test, then two of five for validation; three are left.
    assert bundle.class_names == ("s01", "s02", "s10")
    assert [np.bincount(examples.labels).tolist() for examples in bundle.splits.values()] == [[3] * 3, [2] * 3, [5] * 3]
    fewer = make_bundle(source, train_per_class=2, **options)
    assert np.bincount(fewer.train.labels).tolist() == [2, 2, 2]
    assert set(fewer.train.paths) < set(bundle.train.paths)
    assert {fewer.hashes[split] == bundle.hashes[split] for split in ("validation", "test")} == {True}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"train_per_class": 4},
            r"data\.train_per_class=4 is more than the 3 that .* of the class 's01': give 3 or fewer, or hold out less",
        ),
        ({"train_per_class": 2, "train_examples": 9}, r"data\.train_per_class=2 and data\.train_examples=9 both say"),
        ({"test_fraction": 0.0}, r"no example left for test: add some, or raise data\.test_fraction"),
    ],
)
def test_shares_that_do_not_fit_are_told_in_one_line(people, options, message):
    defaults = {"image_size": 8, "test_fraction": 0.5, "validation_fraction": 0.4}
    with pytest.raises(DataError, match=message) as caught:
        make_bundle(image_folder(str(people)), **(defaults | options))
    assert "\n" not in str(caught.value)


def test_class_that_does_not_exist_is_told(people):
    with pytest.raises(DataError, match=r"image_folder: data\.classes: unknown class 's03': did you mean 's"):
        image_folder(str(people), classes=["s01", "s03"])
    with pytest.raises(DataError, match=r"data\.classes=\[\] keeps no class: name some, as in \[s01\], or null"):
        image_folder(str(people), classes=[])


def test_files_are_chosen_by_parts_of_their_names(tmp_path):
    root = touch(
        tmp_path, *(f"{digit}_{who}_{take}.wav" for digit in (0, 1) for who in ("ann", "bob") for take in (0, 1))
    )
    pattern = "{label}_{speaker}_{index}"
    whole = match_names("toy", root, pattern, ".wav")
    assert len(whole.rows) == 8
    bob = match_names("toy", root, pattern, ".wav", {"speaker": ["bob"]})
    assert [path.name for _, path, _ in bob.rows] == ["0_bob_0.wav", "0_bob_1.wav", "1_bob_0.wav", "1_bob_1.wav"]
    # Numbers, as YAML reads them; and two parts at once.
    one = match_names("toy", root, pattern, ".wav", {"label": [1], "speaker": ["ann", "bob"]})
    assert one.class_names == ("1",)
    assert len(one.rows) == 4


@pytest.mark.parametrize(
    ("only", "message"),
    [
        ({"speeker": ["ann"]}, r"data\.only: unknown part 'speeker': did you mean 'speaker'.* \(of data\.pattern\)"),
        ({"speaker": ["anne"]}, r"data\.only: unknown speaker 'anne': did you mean 'ann'"),
        ({"speaker": "ann"}, r"data\.only\.speaker=ann must be a list of values: data\.only\.speaker=\[ann\]"),
        ({"speaker": ["bob"], "label": ["0"]}, "no file has all that data.only="),
    ],
)
def test_files_that_are_not_there_are_told_in_one_line(tmp_path, only, message):
    root = touch(tmp_path, "0_ann_0.wav", "1_bob_0.wav")
    with pytest.raises(DataError, match=message) as caught:
        match_names("toy", root, "{label}_{speaker}_{index}", ".wav", only)
    assert "\n" not in str(caught.value)
