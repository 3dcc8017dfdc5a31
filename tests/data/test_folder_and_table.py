"""Pictures of the user's own: a folder per class, or a table."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kerasnn.data.bundle import make_bundle
from kerasnn.data.csv_table import csv_table
from kerasnn.data.decode import decode
from kerasnn.data.image_folder import image_folder
from kerasnn.errors import DataError


def save(path: Path, mode: str = "RGB", colour: object = (200, 30, 30), **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (10, 8), colour).save(path, **options)
    return path


def make_folder(root: Path, *parts: str, count: int = 3, **picture) -> Path:
    for part in parts or ("cat", "dog"):
        for i in range(count):
            save(root / part / f"{i}.png", **picture)
    return root


def names(examples) -> list[str]:
    return [Path(path).name for path in examples.paths]


def test_folder_gives_sorted_classes_and_files(tmp_path):
    make_folder(tmp_path, "dog", "cat", "Ape", count=2)
    save(tmp_path / "dog" / "deeper" / "9.png")
    source = image_folder(str(tmp_path))
    assert source.class_names == ("Ape", "cat", "dog")
    assert [str(Path(p).relative_to(tmp_path)) for p in source.train.paths] == [
        *("Ape/0.png", "Ape/1.png", "cat/0.png", "cat/1.png"),
        *("dog/0.png", "dog/1.png", "dog/deeper/9.png"),
    ]
    assert source.train.labels.tolist() == [0, 0, 1, 1, 2, 2, 2]
    assert source.test is None
    assert source.train.channels == 3


@pytest.mark.parametrize("validation", ["val", "valid", "Validation"])
def test_folder_takes_the_splits_that_are_there(tmp_path, validation):
    make_folder(tmp_path, "train/cat", "train/dog", f"{validation}/cat", f"{validation}/dog", "test/cat", "test/dog")
    source = image_folder(str(tmp_path))
    assert source.class_names == ("cat", "dog")
    assert [len(examples) for examples in (source.train, source.validation, source.test)] == [6, 6, 6]
    bundle = make_bundle(source, image_size=8)
    assert bundle.validation is source.validation


def test_folder_without_splits_becomes_a_bundle_with_three(tmp_path):
    bundle = make_bundle(image_folder(str(make_folder(tmp_path, count=20))), image_size=8, resize="crop")
    # A fifth of 40 for the test, and a tenth of the remaining 32 for validation.
    assert {name: len(examples) for name, examples in bundle.splits.items()} == {
        "train": 29,
        "validation": 3,
        "test": 8,
    }
    assert bundle.input_shape == (8, 8, 3)
    assert bundle.mean == pytest.approx((200 / 255, 30 / 255, 30 / 255))


def spoil(root: Path) -> None:
    """One file of each odd kind among the cats."""
    cat = root / "cat"
    (cat / "empty.jpg").touch()
    (cat / "notes.txt").write_text("three cats")
    whole = save(cat / "truncated.jpg", quality=95).read_bytes()
    (cat / "truncated.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (32, 32, 3)).astype(np.uint8)).save(cat / "cut.png")
    (cat / "cut.png").write_bytes((cat / "cut.png").read_bytes()[:2000])  # Of more than 3,072 bytes.
    save(cat / "grey.png", "L", 90)
    save(cat / "rgba.png", "RGBA", (1, 2, 3, 100))
    save(cat / "moving.gif", "P", 0)
    save(cat / "cmyk.jpg", "CMYK", (0, 10, 20, 30))
    save(cat / "deep.png", "I;16", 4660)
    save(cat / "floating.tiff", "F", 0.5)
    save(cat / ".hidden.png")
    save(root / ".cache" / "0.png")
    (root / "README.md").write_text("cats and dogs")


def test_folder_names_each_odd_file_and_counts_them(tmp_path, caplog):
    caplog.set_level(logging.INFO, "kerasnn")
    spoil(make_folder(tmp_path))
    source = image_folder(str(tmp_path))
    kept = ["0.png", "1.png", "2.png", "cmyk.jpg", "deep.png", "grey.png", "moving.gif", "rgba.png"]
    assert names(source.train)[:8] == kept
    assert source.class_names == ("cat", "dog")
    lines = [record.getMessage() for record in caplog.records]
    for file, what in {
        "empty.jpg": "it is empty",
        "notes.txt": "it is no picture",
        "truncated.jpg": "it is damaged",
        "cut.png": "it is damaged",
        "floating.tiff": "it holds floating-point numbers",
        "README.md": "it lies in no class",
    }.items():
        assert [line for line in lines if "skipped" in line and file in line and what in line], (file, lines)
    for file, what in {
        "grey.png": "grayscale, repeated in three channels",
        "rgba.png": "transparent, laid over white",
        "moving.gif": "its first frame",
        "cmyk.jpg": "CMYK",
        "deep.png": "16 bits",
    }.items():
        assert [line for line in lines if "converted" in line and file in line and what in line], (file, lines)
    assert not [line for line in lines if "hidden" in line]
    # Three cats, five odd ones, three dogs; five files among the cats and one beside them.
    assert "image_folder: 11 pictures, 5 of them converted, 6 files skipped; read as colour" in lines
    assert all(decode(path, source.train.channels).shape == (8, 10, 3) for path in source.train.paths)


def test_folder_names_and_counts_files_beside_splits_and_classes(tmp_path, caplog):
    caplog.set_level(logging.INFO, "kerasnn")
    make_folder(tmp_path, "train/cat", "train/dog", "val/cat", "val/dog", "drafts/cat")
    strays = [tmp_path / "notes.txt", tmp_path / "train" / "readme.txt", tmp_path / "val" / "1.png"]
    for stray in (*strays, tmp_path / ".hidden", tmp_path / "val" / ".hidden"):
        stray.write_text("of no class")
    image_folder(str(tmp_path))
    lines = [record.getMessage() for record in caplog.records]
    named = [line for line in lines if "it lies in no class" in line]
    assert named == [f"image_folder: skipped {stray}: it lies in no class" for stray in strays]
    assert f"image_folder: skipped {tmp_path / 'drafts'}: it lies beside train" in lines
    # Three pictures in each of four classes.
    assert "image_folder: 12 pictures, 0 of them converted, 3 files skipped; read as colour" in lines


def test_folder_of_grayscale_pictures_has_one_channel(tmp_path):
    make_folder(tmp_path, mode="L", colour=90)
    assert image_folder(str(tmp_path)).train.channels == 1
    assert image_folder(str(tmp_path), channels="colour").train.channels == 3
    save(tmp_path / "cat" / "colour.png")
    assert image_folder(str(tmp_path)).train.channels == 3
    assert image_folder(str(tmp_path), channels="grayscale").train.channels == 1


def one_line(error: pytest.ExceptionInfo) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_folder_refuses_a_class_left_empty(tmp_path):
    make_folder(tmp_path)
    (tmp_path / "eel").mkdir()
    (tmp_path / "eel" / "notes.txt").write_text("none yet")
    with pytest.raises(DataError, match="the class 'eel' has no picture in train") as caught:
        image_folder(str(tmp_path))
    one_line(caught)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((), "has no sub-folders"),
        (("val/cat", "test/cat"), "has test and no train: add the folder train"),
        (("train/cat", "train/dog", "val/cta"), "val: unknown class 'cta': did you mean 'cat'"),
        (("train/cat", "train/dog", "val/cat", "valid/cat"), "are both for validation: keep one"),
    ],
)
def test_folder_of_another_shape_is_told(tmp_path, parts, message):
    if parts:
        make_folder(tmp_path, *parts)
    with pytest.raises(DataError, match=message) as caught:
        image_folder(str(tmp_path))
    one_line(caught)


def test_folder_is_looked_for_in_the_variable(tmp_path, monkeypatch):
    make_folder(tmp_path / "pets")
    monkeypatch.setenv("KERASNN_DATA", str(tmp_path))
    assert len(image_folder("pets").train) == 6
    with pytest.raises(DataError, match=r"data\.dir=pest does not exist"):
        image_folder("pest")


def test_folder_of_real_photographs(shared_data):
    source = image_folder(str(shared_data / "faces"))
    assert len(source.class_names) == 40
    assert (len(source.train), source.train.channels) == (400, 1)


def write_table(root: Path, text: str, name: str = "pictures.csv") -> Path:
    make_folder(root, "a", "b", count=6)
    (root / name).write_text(text)
    return root / name


def rows(column: str = "path,label", suffix: str = "") -> str:
    return "\n".join([column, *(f"{f}/{i}.png,{f}{suffix}" for f in "ba" for i in range(6))])


def test_table_without_splits(tmp_path):
    file = write_table(tmp_path, rows())
    source = csv_table(str(tmp_path))
    assert source.class_names == ("a", "b")
    assert source.train.labels.tolist() == [1] * 6 + [0] * 6
    assert source.train.paths[0] == str(tmp_path / "b" / "0.png")
    assert (source.test, source.validation) == (None, None)
    assert csv_table(str(file)).train.paths == source.train.paths
    assert csv_table(str(tmp_path), table="pictures.csv").train.digest == source.train.digest


def test_table_with_splits(tmp_path):
    split = ["train", "train", "train", "VAL", "validation", "test"]
    lines = ["path,label,split", *(f"{f}/{i}.png,{f},{split[i]}" for f in "ab" for i in range(6))]
    write_table(tmp_path, "\n".join(lines))
    source = csv_table(str(tmp_path))
    assert [len(examples) for examples in (source.train, source.validation, source.test)] == [6, 4, 2]
    assert names(source.validation) == ["3.png", "4.png"] * 2


def test_table_sorts_whole_numbers_as_numbers_and_keeps_text(tmp_path):
    files = [f"{f}/{i}.png" for f in "ab" for i in range(6)]
    labels = ["10", "9", "2"] * 4
    write_table(tmp_path, "path,label\n" + "\n".join(map(",".join, zip(files, labels, strict=True))))
    assert csv_table(str(tmp_path)).class_names == ("2", "9", "10")
    labels = ["NA", "007", "x"] * 4
    write_table(tmp_path, "path,label\n" + "\n".join(map(",".join, zip(files, labels, strict=True))))
    assert csv_table(str(tmp_path)).class_names == ("007", "NA", "x")
    # Equal as numbers, so the text decides: as it would not if they kept the order of a set, which varies by process.
    labels = ["7", "3", "07", "007"] * 3
    write_table(tmp_path, "path,label\n" + "\n".join(map(",".join, zip(files, labels, strict=True))))
    assert csv_table(str(tmp_path)).class_names == ("3", "007", "07", "7")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (rows("path,labels"), r"pictures\.csv has no column 'label': did you mean 'labels'"),
        (rows("file,label"), "no column 'path': known: file, label"),
        (rows() + "\na/9.png,a\na/8.png,a", r"lists .*a/9\.png, which does not exist, and 1 more"),
        (rows("path,label,split", ",trian"), "unknown split 'trian': did you mean 'train'"),
        (rows("path,label,split", ",test"), "has no row with split train"),
        (rows() + "\na/0.png,b", r"lists a/0\.png twice: keep one"),
        (rows() + "\na/../b/0.png,b", r"lists a/\.\./b/0\.png twice, also as b/0\.png: keep one"),
        (rows() + "\n./b/1.png,b", r"lists \./b/1\.png twice, also as b/1\.png"),
        (rows() + "\n,b", "has no path in line 14"),
        ("path,label", "has no rows"),
        ("", "cannot be read as a table"),
    ],
)
def test_table_that_does_not_fit_is_told_in_one_line(tmp_path, text, message):
    write_table(tmp_path, text)
    with pytest.raises(DataError, match=message) as caught:
        csv_table(str(tmp_path))
    one_line(caught)


def test_table_must_be_clear(tmp_path):
    with pytest.raises(DataError, match=r"has no \.csv file"):
        csv_table(str(tmp_path))
    write_table(tmp_path, rows())
    write_table(tmp_path, rows(), "others.csv")
    with pytest.raises(DataError, match=r"2 tables \(others.csv, pictures.csv\): say which with data.table="):
        csv_table(str(tmp_path))
    with pytest.raises(DataError, match=r"unknown table 'picture.csv': did you mean 'pictures.csv'"):
        csv_table(str(tmp_path), table="picture.csv")


def test_table_skips_what_is_no_picture(tmp_path, caplog):
    write_table(tmp_path, rows() + "\na/broken.png,a\na/only.png,c")
    (tmp_path / "a" / "broken.png").write_text("no")
    (tmp_path / "a" / "only.png").write_text("no")
    with pytest.raises(DataError, match="the class 'c' has no picture that can be read"):
        csv_table(str(tmp_path))
    (tmp_path / "pictures.csv").write_text(rows() + "\na/broken.png,a")
    assert len(csv_table(str(tmp_path)).train) == 12
    assert "skipped" in caplog.text


def test_hashes_follow_the_files(tmp_path):
    make_folder(tmp_path, count=20)
    first = make_bundle(image_folder(str(tmp_path)), image_size=8)
    assert first.hashes == make_bundle(image_folder(str(tmp_path)), image_size=8).hashes
    assert len(set(first.hashes.values())) == 3
    save(Path(first.test.paths[0]), colour=(1, 2, 3))
    again = make_bundle(image_folder(str(tmp_path)), image_size=8)
    changed = {name for name in first.hashes if first.hashes[name] != again.hashes[name]}
    assert changed == {"test"}
    assert np.array_equal(first.train.labels, again.train.labels)
