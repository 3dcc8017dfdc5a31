"""Labelled texts of the user's own: tables and folders, and what a mistake in them is told to be."""

import logging
from pathlib import Path

import numpy as np
import pytest

from kerasnn.data.bundle import make_bundle
from kerasnn.data.text import frame, text
from kerasnn.data.tokenizer import Tokenizer
from kerasnn.errors import DataError

WORDS = {"good": ("a fine film", "wonderful !", "I loved it"), "bad": ("dull", "a waste of time", "not for me")}


def rows(count: int = 30) -> list[tuple[str, str]]:
    """(label, text), no two alike."""
    return [(label, f"{words[i % 3]} {i}") for i in range(count // 2) for label, words in WORDS.items()]


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def tsv(header: str = "label\ttext", count: int = 30, end: str = "\n") -> str:
    return end.join([header, *("\t".join(row) for row in rows(count)), ""])


def make_folders(root: Path, *parts: str, count: int = 30) -> Path:
    for part in parts or (".",):
        for i, (label, words) in enumerate(rows(count)):
            write(root / part / label / f"{i:02}.txt", f"{part} {words}\n")
    return root


def decoded(bundle, split: str) -> list[tuple[str, str]]:
    examples = bundle.splits[split]
    return [
        (bundle.class_names[label], bundle.tokenizer.decode(tokens))
        for tokens, label in zip(examples.tokens, examples.labels, strict=True)
    ]


def test_text_of_a_table_becomes_tokens_with_a_class(tmp_path):
    bundle = make_bundle(text(str(write(tmp_path / "films.tsv", tsv())), tokenizer="byte_pair", vocab_size=300))
    assert (bundle.kind, bundle.input_shape, bundle.class_names) == ("tokens", (64,), ("bad", "good"))
    # A fifth of 30 for the test, and a tenth of the remaining 24 for validation.
    assert [len(examples) for examples in bundle.splits.values()] == [22, 2, 6]
    found = [row for split in bundle.splits for row in decoded(bundle, split)]
    assert sorted(found) == sorted((label, words.lower()) for label, words in rows())
    assert bundle.vocab_size <= 300
    assert (bundle.train.tokens[:, 0] == 2).all()
    assert ((bundle.train.tokens == 3).sum(axis=1) == 1).all()


def test_text_is_found_as_folder_file_or_named_table(tmp_path):
    file = write(tmp_path / "films.tsv", tsv())
    first = make_bundle(text(str(tmp_path))).hashes
    assert make_bundle(text(str(file))).hashes == first
    write(tmp_path / "others.csv", "label,text\na,b")
    assert make_bundle(text(str(tmp_path), table="films.tsv")).hashes == first
    with pytest.raises(DataError, match=r"has 2 tables \(films.tsv, others.csv\): say which with data.table="):
        text(str(tmp_path))
    with pytest.raises(DataError, match=r"unknown table 'film.tsv': did you mean 'films.tsv'"):
        text(str(tmp_path), table="film.tsv")


@pytest.mark.parametrize("header", ["label\tsentence", "label\tcontent", "\ufeffLabel \tText"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_table_may_come_with_other_names_and_line_ends(tmp_path, header, end):
    source = text(str(write(tmp_path / "a.tsv", tsv(header, end=end))))
    assert source.train.texts == tuple(words for _, words in rows())
    assert source.train.labels.tolist() == [1, 0] * 15  # good, bad


def test_first_column_that_can_hold_the_text_is_read(tmp_path):
    lines = ["id,content,label,text", *(f"{i},no,{label},{words}" for i, (label, words) in enumerate(rows()))]
    assert text(str(write(tmp_path / "a.csv", "\n".join(lines)))).train.texts == tuple(words for _, words in rows())


def test_quotes_belong_to_the_text_in_tsv_and_guard_it_in_csv(tmp_path):
    file = write(tmp_path / "a.tsv", 'label\ttext\n0\t"so" he said\n1\t"open, only\n')
    assert text(str(file)).train.texts == ('"so" he said', '"open, only')
    file = write(tmp_path / "a.csv", 'label,text\r\n0,"""so"", he said"\r\n1,"two\nlines"\r\n')
    assert text(str(file)).train.texts == ('"so", he said', "two\nlines")
    long = "long " * 50_000
    assert text(str(write(tmp_path / "b.csv", f"label,text\n0,{long}\n1,b"))).train.texts[0] == long.strip()


def test_table_gives_the_splits_that_its_column_names(tmp_path):
    names = ["train", "Train", "dev", "VAL", "test"]
    lines = ["label\ttext\tsplit", *(f"{label}\t{w}\t{names[i % 5]}" for i, (label, w) in enumerate(rows()))]
    source = text(str(write(tmp_path / "a.tsv", "\n".join(lines))))
    assert [len(source.train), len(source.validation), len(source.test)] == [12, 12, 6]
    assert source.validation.texts[:2] == (rows()[2][1], rows()[3][1])


@pytest.mark.parametrize("validation", ["dev", "val", "valid", "Validation"])
def test_tables_named_after_splits_are_read_together(tmp_path, validation, caplog):
    for name, count in (("train", 30), (validation, 4), ("test", 6)):
        write(tmp_path / f"{name}.tsv", tsv(count=count))
    write(tmp_path / "notes.csv", "of no use")
    source = text(str(tmp_path))
    assert [len(source.train), len(source.validation), len(source.test)] == [30, 4, 6]
    assert f"text: skipped {tmp_path / 'notes.csv'}: it lies beside train" in caplog.text
    make_bundle(source)
    # The same sentences over again: whoever reads the result should know.
    assert "text: test: 6 of 6 texts are in train too" in caplog.text


def test_folders_give_a_text_for_each_file(tmp_path, caplog):
    make_folders(tmp_path)
    write(tmp_path / "good" / "deeper" / "z.txt", "and deeper")
    write(tmp_path / "good" / "cover.png", b"\x89PNG")
    write(tmp_path / "readme.md", "of no class")
    write(tmp_path / "good" / ".hidden.txt", "")
    source = text(str(tmp_path))
    assert source.class_names == ("bad", "good")
    assert np.bincount(source.train.labels).tolist() == [15, 16]
    assert source.train.texts[-1] == "and deeper"
    assert f"skipped {tmp_path / 'good' / 'cover.png'}: it is no .txt file" in caplog.text
    assert f"skipped {tmp_path / 'readme.md'}: it lies in no class" in caplog.text
    assert make_bundle(source).hashes == make_bundle(text(str(tmp_path))).hashes


def test_folders_may_lie_below_splits(tmp_path):
    make_folders(tmp_path, "train", "dev", "test", count=10)
    source = text(str(tmp_path))
    assert [len(source.train), len(source.validation), len(source.test)] == [10, 10, 10]
    assert source.train.texts[0].startswith("train")
    assert source.validation.texts[0].startswith("dev")


def test_class_that_a_split_lacks_is_named(tmp_path, caplog):
    write(tmp_path / "train.tsv", tsv())
    write(tmp_path / "test.tsv", "label\ttext\ngood\tyes")
    assert text(str(tmp_path)).class_names == ("bad", "good")
    assert "text: the class 'bad' has no text in test" in caplog.text


def test_tokenizer_learns_from_train_alone(tmp_path):
    lines = [*(f"a\tx{i} x\ttrain\nb\ty{i} y\ttrain" for i in range(5)), "a\tδ\ttest", "b\tω\tval"]
    write(tmp_path / "a.tsv", "label\ttext\tsplit\n" + "\n".join(lines))
    bundle = make_bundle(text(str(tmp_path), tokenizer="character"))
    # x, y, the space and five digits beside the five special tokens; neither Greek letter.
    assert bundle.vocab_size == 13
    assert bundle.test.tokens[0, :4].tolist() == [2, 1, 3, 0]
    # Also what is held out here, or left out, teaches nothing: no text of these has a letter in common.
    signs = [chr(0x4E00 + i) for i in range(40)]
    write(tmp_path / "b.tsv", "label\ttext\n" + "\n".join(f"{i % 2}\t{sign}" for i, sign in enumerate(signs)))
    bundle = make_bundle(text(str(tmp_path), table="b.tsv", tokenizer="character"), train_examples=20)
    assert bundle.vocab_size == 25
    assert [bool((examples.tokens == 1).any()) for examples in bundle.splits.values()] == [False, True, True]


def test_text_is_cut_to_its_length_and_the_share_is_told(tmp_path, caplog):
    caplog.set_level(logging.INFO, "kerasnn")
    lines = "\n".join(f"{i // 20}\t{'ab' * (1 + i % 4)}" for i in range(40))
    for name in ("train", "dev", "test"):
        write(tmp_path / f"{name}.tsv", "label\ttext\n" + lines)
    bundle = make_bundle(text(str(tmp_path), tokenizer="character", sequence_length=8))
    assert bundle.input_shape == (8,)
    # Six letters fit beside [CLS] and [SEP]: "abababab" is cut, a quarter of the texts.
    assert (bundle.train.tokens[:, 0] == 2).all()
    assert (bundle.train.tokens.max(axis=1) == 6).all()
    assert "text: test: 25.0% of the texts are longer than 8 tokens and cut" in caplog.text


def test_frame_puts_beginning_and_end_around_each_row():
    assert frame([[7, 8], [], [7, 8, 9, 10]], 5).tolist() == [[2, 7, 8, 3, 0], [2, 3, 0, 0, 0], [2, 7, 8, 9, 3]]


def test_table_sorts_whole_numbers_as_numbers(tmp_path):
    lines = "\n".join(f"{label}\ttext {i}" for i, label in enumerate(("10", "9", "2")))
    assert text(str(write(tmp_path / "a.tsv", "label\ttext\n" + lines))).class_names == ("2", "9", "10")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "lable\ttext\n0\ta", r"a\.tsv has no column 'label': did you mean 'lable'"),
        ("a.tsv", "index\tsentence\n0\ta", r"has no column 'label': known: index, sentence"),
        ("a.csv", "label,body\n0,a", r"has no column 'text': known: body, label"),
        ("a.tsv", "label\ttext\n0\ta\n\t b", r"a\.tsv has no label in line 3"),
        ("a.tsv", "label\ttext\n\n0\t \n", r"a\.tsv has no text in line 3"),
        ("a.csv", 'label,text\n0,"a\nb"\n1,', r"a\.csv has no text in line 4"),
        ("a.tsv", "label\ttext\n0\ta\tb", r"has 3 fields in line 2, and 2 columns"),
        ("a.csv", "label,text\n0", r"has 1 fields in line 2, and 2 columns"),
        ("a.csv", 'label,text\n0,a\n1,"b', r"a\.csv cannot be read as a table from line 3 on"),
        ("a.tsv", "label\ttext\tsplit\n0\ta\ttrian", r"line 2: unknown split 'trian': did you mean 'train'"),
        ("a.tsv", "label\ttext\tsplit\n0\ta\ttest", "has no row with split train: add some"),
        ("a.tsv", "label\ttext", "has no rows"),
        ("a.tsv", "", r"has no column 'text': known: none"),
        ("a.tsv", b"label\ttext\n0\ta\n1\tcaf\xe9", r"a\.tsv is not UTF-8 in line 3 \(byte 0xe9\): save it as UTF-8"),
        ("dev.tsv", "label\ttext\n0\ta", r"has dev\.tsv and no train: add the table train"),
        ("good/1.txt", " \n", r"good/1\.txt is empty: write the text, or remove the file"),
        ("good/1.txt", b"\xff\xfe", r"good/1\.txt is not UTF-8 in line 1"),
        ("good/1.md", "a", "the class 'good' has no text in train: add some, or remove the class"),
        ("notes.md", "a", r"has no table \(\.csv, \.tsv\) and no sub-folders of \.txt files"),
    ],
)
def test_text_that_does_not_fit_is_told_in_one_line(tmp_path, name, content, message):
    write(tmp_path / name, content)
    with pytest.raises(DataError, match=message) as caught:
        text(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_text_refuses_what_is_no_table_and_two_tables_for_one_split(tmp_path):
    with pytest.raises(DataError, match=r"notes\.md is no table: give a \.csv or \.tsv file, or a folder"):
        text(str(write(tmp_path / "notes.md", "a")))
    with pytest.raises(DataError, match=r"data=text: data\.dir=nowhere does not exist"):
        text("nowhere")
    for name in ("train", "dev", "val"):
        write(tmp_path / f"{name}.tsv", tsv())
    with pytest.raises(DataError, match=r"val\.tsv and .*dev\.tsv are both for validation: keep one"):
        text(str(tmp_path))


def test_sizes_are_no_keys_of_text(tmp_path):
    source = text(str(write(tmp_path / "a.tsv", tsv())))
    with pytest.raises(DataError, match=r"data\.image_size=32 does not apply to data=text"):
        make_bundle(source, image_size=32)


def test_real_sentences_of_sst2(shared_data):
    # A part of train is enough here; the counts of the published splits are those of the folder's README.
    source = text(str(shared_data / "sst2"))
    assert [len(source.train), len(source.validation), len(source.test)] == [67_349, 872, 1_821]
    assert source.class_names == ("0", "1")
    assert np.bincount(source.train.labels).tolist() == [29_780, 37_569]
    assert np.bincount(source.validation.labels).tolist() == [428, 444]
    first, second = (make_bundle(text(str(shared_data / "sst2")), train_examples=2_000) for _ in range(2))
    assert first.hashes == second.hashes
    assert first.tokenizer.to_json() == second.tokenizer.to_json()
    assert (first.train.tokens.shape, first.test.tokens.shape) == ((2_000, 64), (1_821, 64))
    assert first.vocab_size <= 8_000
    assert isinstance(first.tokenizer, Tokenizer)
    # Every small letter is known, so what is unknown is a sign that the 2,000 phrases lack: below one in a thousand.
    assert (first.test.tokens == 1).sum() < (first.test.tokens > 0).sum() / 1_000
