"""Windows of plain text, each with the token that follows every one of its tokens."""

import logging
from pathlib import Path

import numpy as np
import pytest

from kerasnn.data.bundle import make_bundle
from kerasnn.data.text_lm import text_lm
from kerasnn.data.tokenizer import SEP
from kerasnn.errors import DataError

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def write(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode())
    return path


def lines(count: int = 100) -> str:
    """Ten characters each: a number of three digits, six letters that follow from it, and the line's end."""
    return "".join(f"{i:03}{(LETTERS * 2)[i % 26 : i % 26 + 6]}\n" for i in range(count))


def joined(bundle, split: str) -> str:
    """The text of a split whose windows lie side by side: all its tokens, and the last label."""
    examples = bundle.splits[split]
    ids = [*examples.tokens.ravel(), examples.labels[-1, -1]]
    return bundle.tokenizer.decode(ids)


def test_windows_are_labelled_with_what_follows(tmp_path):
    bundle = make_bundle(text_lm(str(write(tmp_path / "a.txt", lines())), sequence_length=8))
    assert (bundle.kind, bundle.input_shape) == ("tokens", (8,))
    # Digits, letters and the line's end, beside the five special tokens.
    assert bundle.num_classes == bundle.vocab_size == 5 + 10 + 26 + 1
    for examples in bundle.splits.values():
        np.testing.assert_array_equal(examples.tokens[:, 1:], examples.labels[:, :-1])
        np.testing.assert_array_equal(examples.tokens[1:, 0], examples.labels[:-1, -1])  # Window after window.
        assert (examples.labels >= 0).all()


def test_parts_follow_each_other_and_share_nothing(tmp_path):
    whole = lines()
    bundle = make_bundle(text_lm(str(write(tmp_path / "a.txt", whole)), sequence_length=7))
    train, validation, test = (joined(bundle, split) for split in ("train", "validation", "test"))
    # Of 1,000 characters the borders lie at 900 and 950, where lines end; a rest that fills no window is left out.
    assert train == whole[: 128 * 7 + 1]
    assert validation == whole[900 : 900 + 7 * 7 + 1]
    assert test == whole[950 : 950 + 7 * 7 + 1]
    assert len(set(bundle.hashes.values())) == 3


def test_border_moves_to_the_end_of_its_line(tmp_path):
    # One sign, then 30 lines of 20 characters: lines begin at 541, 561 and 581.
    whole = "!" + "".join(f"{i:019}\n" for i in range(30))
    bundle = make_bundle(text_lm(str(write(tmp_path / "a.txt", whole)), sequence_length=1))
    # 0.9 and 0.95 of 601 round to 541, where a line begins, and 571, in the midst of one that then stays whole.
    assert joined(bundle, "validation") == whole[541:581]
    assert joined(bundle, "test") == whole[581:]


def test_text_without_lines_is_cut_where_the_share_says(tmp_path):
    bundle = make_bundle(text_lm(str(write(tmp_path / "a.txt", LETTERS * 100)), sequence_length=1))
    assert [len(joined(bundle, split)) for split in bundle.splits] == [2_340, 130, 130]


def test_stride_sets_how_far_windows_lie_apart(tmp_path):
    file = str(write(tmp_path / "a.txt", lines(1_000)))
    dense = text_lm(file, sequence_length=8, stride=3).train
    # Windows of 9 tokens begin at 0, 3, … of 9,000.
    assert len(dense) == (9_000 - 9) // 3 + 1
    np.testing.assert_array_equal(dense.tokens[1, :5], dense.tokens[0, 3:])
    assert len(text_lm(file, sequence_length=8).train) == (9_000 - 9) // 8 + 1


def test_files_of_a_folder_are_one_text_with_a_mark_between(tmp_path):
    for name in ("b", "a", "deeper/c"):
        write(tmp_path / f"{name}.txt", f"{name[-1]}:" + lines(40))
    write(tmp_path / "notes.md", "not a text")
    bundle = make_bundle(text_lm(str(tmp_path), sequence_length=1))
    ids = np.concatenate([[e.tokens[0, 0], *e.labels[:, 0]] for e in bundle.splits.values()])
    assert (ids == SEP).sum() == 2
    assert bundle.tokenizer.decode(ids) == "a:" + lines(40) + "b:" + lines(40) + "c:" + lines(40)
    # The first file of 402 characters, and the mark.
    assert np.flatnonzero(ids == SEP).tolist() == [402, 805]


@pytest.mark.parametrize("tokenizer", ["byte_pair", "word_piece"])
def test_other_tokenizers_learn_from_train_alone(tmp_path, tokenizer):
    # The word at the end is not in train, so it is spelled with more tokens than one, or unknown.
    whole = "the same words over and over\n" * 97 + "but zzyzx at its end: zzyzx zzyzx\n" * 3
    file = str(write(tmp_path / "a.txt", whole))
    bundle = make_bundle(text_lm(file, tokenizer=tokenizer, vocab_size=400, sequence_length=4))
    assert len(bundle.tokenizer.encode(" over")) == 1
    assert len(bundle.tokenizer.encode(" zzyzx")) > 1 or bundle.tokenizer.encode(" zzyzx") == [1]
    if tokenizer == "byte_pair":
        assert joined(bundle, "train").startswith("the same words over and over\nthe same")


def test_unknown_characters_of_held_out_text_are_told(tmp_path, caplog):
    caplog.set_level(logging.INFO, "kerasnn")
    source = text_lm(str(write(tmp_path / "a.txt", lines() + "???????\n" * 6)), sequence_length=4)
    assert "7 of them unknown" not in caplog.text
    found = {split: (getattr(source, split).labels == 1).sum() for split in ("train", "validation", "test")}
    assert found["train"] == 0
    assert found["test"] > 0
    assert "text_lm: train: 950 tokens of 42 kinds, 0 of them unknown, in 237 windows" in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", lines(10), r"validation has 10 tokens of .*, a window needs 65: give more text, or a smaller"),
        ("a.txt", " \n\n", "is empty: give a text to learn from"),
        ("a.md", "text", r"has no \.txt file: put the text there, or give the file itself"),
    ],
)
def test_text_that_does_not_fit_is_told_in_one_line(tmp_path, name, content, message):
    write(tmp_path / name, content)
    with pytest.raises(DataError, match=message) as caught:
        text_lm(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_text_that_is_not_utf8_is_named_with_its_line(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"fine\nna\xefve")
    with pytest.raises(DataError, match=r"a\.txt is not UTF-8 in line 2 \(byte 0xef\)"):
        text_lm(str(tmp_path))


def test_real_plays_of_shakespeare(shared_data):
    first, second = (make_bundle(text_lm(str(shared_data / "tinyshakespeare"))) for _ in range(2))
    assert first.hashes == second.hashes
    # The 65 characters that everyone counts in it, all of them in train, and five special tokens.
    assert first.num_classes == first.vocab_size == 70
    # 1,115,394 characters: 1,003,855 of them and the rest of a line are train, in windows of 64.
    assert [len(examples) for examples in first.splits.values()] == [15_685, 871, 871]
    assert joined(first, "train").startswith("First Citizen:\nBefore we proceed any further, hear me speak.")
    whole = (shared_data / "tinyshakespeare" / "input.txt").read_text()
    for split in first.splits:
        assert joined(first, split) in whole
