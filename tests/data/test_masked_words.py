"""Hidden words: which tokens are chosen and what becomes of them, and when the draws change."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from kerasnn.data.bundle import make_bundle
from kerasnn.data.masked_words import hide_words, masked_words
from kerasnn.data.stream import batch_at, evaluation_stream, train_stream
from kerasnn.data.text import text
from kerasnn.data.tokenizer import Tokenizer
from kerasnn.errors import DataError

VOCABULARY = 1_005  # A thousand words beside the five special tokens.
SEED = (3, 4)


def rows(count: int, words: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens `[CLS] words [SEP] padding`, and as labels the words."""
    tokens = np.zeros((count, length), np.int32)
    tokens[:, 0], tokens[:, words + 1] = 2, 3
    tokens[:, 1 : words + 1] = 5 + np.arange(count * words).reshape(count, words) % 1_000
    return tokens, np.where(tokens >= 5, tokens, -1)


def hide(tokens, labels, seed=SEED):
    hidden, told = hide_words(tokens, labels, tf.constant(seed), VOCABULARY)
    return hidden.numpy(), told.numpy()


@pytest.mark.parametrize(("words", "chosen"), [(1, 1), (8, 2), (18, 3), (38, 6)])
def test_as_many_words_of_each_text_are_hidden_as_in_berts_code(words, chosen):
    # 15% of the tokens with [CLS] and [SEP], rounded, at least one: 0.45 → 1, 1.5 → 2 (even), 3.0 → 3, 6.0 → 6.
    tokens, labels = rows(50, words, length=48)
    hidden, told = hide(tokens, labels)
    assert ((told >= 0).sum(axis=1) == chosen).all()
    # What is to be told is what stood there; what is not chosen stays, padding and special tokens among it.
    np.testing.assert_array_equal(told[told >= 0], tokens[told >= 0])
    np.testing.assert_array_equal(hidden[told < 0], tokens[told < 0])
    assert (tokens[told >= 0] >= 5).all()


def test_four_fifths_become_a_mask_a_tenth_another_word_and_a_tenth_stay():
    tokens, labels = rows(2_000, 38, length=40)
    hidden, told = hide(tokens, labels)
    chosen = told >= 0
    masked, same = hidden[chosen] == 4, hidden[chosen] == told[chosen]
    # Of 12,000 chosen, with deviations of √(12,000 · p · (1 - p)): 44 for a share of 0.8 and 33 for one of 0.1. Four
    # of them each. A drawn word is the very word once in a thousand times.
    assert abs(masked.sum() - 9_600) < 176
    assert abs(same.sum() - 1_200) < 132
    drawn = hidden[chosen][~masked & ~same]
    assert abs(len(drawn) - 1_200) < 132
    assert 5 <= drawn.min() < 10  # Of 1,200 numbers out of a thousand, the lowest five are all missed once in 400.
    assert 1_000 <= drawn.max() < VOCABULARY
    assert abs(drawn.mean() - 504.5) < 4 * 289 / np.sqrt(len(drawn))  # Evenly from 5 to 1,004: a deviation of 289.
    # No place is preferred: each of 38 is chosen 6 times in 38, 316 of 2,000; 16 is the deviation.
    places = chosen.sum(axis=0)[1:39]
    assert np.abs(places - 12_000 / 38).max() < 4.5 * 16.3


def test_another_share_may_be_hidden(reviews):
    tokens, labels = rows(10, 18, length=24)
    _, told = hide_words(tokens, labels, tf.constant(SEED), VOCABULARY, share=0.4)
    assert ((told.numpy() >= 0).sum(axis=1) == 8).all()  # 0.4 of 20.
    bundle = make_bundle(masked_words(str(reviews), sequence_length=12, hidden_share=0.4))
    # "good film number 7 , seen twice" is nine tokens with [CLS] and [SEP] or more: 3.6 and up.
    assert (bundle.test.labels >= 0).sum(axis=1).min() >= 4
    assert (batch_at(bundle, seed=0, batch_size=9, epoch=0, step=0)[1].numpy() >= 0).sum(axis=1).min() >= 4


def test_draws_are_a_function_of_the_seed():
    tokens, labels = rows(20, 18, length=24)
    first, again, other = hide(tokens, labels), hide(tokens, labels), hide(tokens, labels, (3, 5))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[1], other[1])
    # As in the stream: traced, with a number of rows that is not known beforehand.
    rows_of_24, pair, number = (tf.TensorSpec(shape, tf.int32) for shape in ((None, 24), (2,), ()))
    traced = tf.function(hide_words, input_signature=[rows_of_24, rows_of_24, pair, number])
    np.testing.assert_array_equal(first, traced(tokens, labels, tf.constant(SEED), VOCABULARY))


@pytest.fixture
def reviews(tmp_path) -> Path:
    """Forty texts in a table with labels."""
    lines = [f"{i % 2}\t{('bad', 'good')[i % 2]} film number {i} , seen twice" for i in range(40)]
    (tmp_path / "reviews.tsv").write_text("label\tsentence\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def test_bundle_hides_words_of_validation_and_test_for_good_and_leaves_train_whole(reviews):
    first, second = (make_bundle(masked_words(str(reviews), sequence_length=12)) for _ in range(2))
    assert first.hashes == second.hashes
    # A fifth of 40, and a tenth of the remaining 32.
    assert [len(examples) for examples in first.splits.values()] == [29, 3, 8]
    assert (first.input_shape, first.num_classes, first.class_names) == ((12,), first.vocab_size, ())
    assert not (first.train.tokens == 4).any()
    np.testing.assert_array_equal(first.train.labels, np.where(first.train.tokens > 4, first.train.tokens, -1))
    for examples in (first.validation, first.test):
        assert 1 <= (examples.labels >= 0).sum(axis=1).min() <= (examples.labels >= 0).sum(axis=1).max() <= 2
        whole = np.where(examples.labels >= 0, examples.labels, examples.tokens)
        texts = {first.tokenizer.decode(row) for row in whole}
        assert all("film number" in words and "seen twice" in words for words in texts)
    # Evaluation sees them as they are.
    ((tokens, labels),) = evaluation_stream(first.test, first, batch_size=8)
    np.testing.assert_array_equal(tokens, first.test.tokens)
    np.testing.assert_array_equal(labels, first.test.labels)


def test_texts_that_are_held_out_are_those_of_text(tmp_path):
    # A class of thirty and one of ten, one after the other, and no column `split`: a draw from all alike would take
    # others than a draw from each class.
    rows = [f"{'good' if i < 30 else 'bad'}\tfilm{i}" for i in range(40)]
    (tmp_path / "reviews.tsv").write_text("label\ttext\n" + "\n".join(rows) + "\n", encoding="utf-8")
    options = {"sequence_length": 12, "tokenizer": "character"}

    def held(source, **fractions):
        bundle = make_bundle(source, **fractions)
        whole = [
            np.where(examples.labels >= 0, examples.labels, examples.tokens)
            if examples.each_position
            else examples.tokens
            for examples in (bundle.validation, bundle.test)
        ]
        return [sorted(bundle.tokenizer.decode(row) for row in part) for part in whole]

    for fractions in ({}, {"test_fraction": 0.35, "validation_fraction": 0.2}):
        validation, test = held(masked_words(str(tmp_path), **options), **fractions)
        assert [validation, test] == held(text(str(tmp_path), **options), **fractions)
        assert not set(validation) & set(test)
        # A fifth of forty, or 35%.
        assert len(test) == (14 if fractions else 8)


@pytest.mark.parametrize("cache_bytes", [2**31, 0], ids=["held", "read"])
def test_stream_hides_other_words_in_each_epoch_by_seed_epoch_and_step(reviews, cache_bytes):
    bundle = make_bundle(masked_words(str(reviews), sequence_length=12))
    common = {"seed": 5, "batch_size": 9}
    whole = [tuple(map(np.array, batch)) for batch in train_stream(bundle, epochs=3, cache_bytes=cache_bytes, **common)]
    later = [tuple(map(np.array, batch)) for batch in train_stream(bundle, epochs=3, first_epoch=2, **common)]
    assert len(whole) == 9
    for one, other in zip(whole[6:], later, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(whole[7], batch_at(bundle, epoch=2, step=1, **common))
    # The same text, hidden anew: texts by what they were, and what was hidden of them in each epoch.
    hidden: dict[bytes, set[bytes]] = {}
    for tokens, labels in whole:
        for row, label in zip(tokens, labels, strict=True):
            hidden.setdefault(np.where(label >= 0, label, row).tobytes(), set()).add(label.tobytes())
    assert set(hidden) == {row.tobytes() for row in bundle.train.tokens}
    assert sum(len(ways) > 1 for ways in hidden.values()) > len(hidden) / 2


def test_plain_file_gives_a_text_for_each_line(tmp_path):
    (tmp_path / "novel.txt").write_text("\n\n".join(f"line number {i}" for i in range(40)), encoding="utf-8")
    source = masked_words(str(tmp_path / "novel.txt"))
    # 90%, 5% and 5% of 40 lines, one after the other.
    assert [len(examples) for examples in (source.train, source.validation, source.test)] == [36, 2, 2]
    assert source.test.texts == ("line number 38", "line number 39")
    (tmp_path / "short.txt").write_text("a\nb\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"short\.txt has 2 lines with text, too few to give validation one"):
        masked_words(str(tmp_path / "short.txt"))


def test_texts_without_a_known_token_are_left_out_and_a_split_of_them_is_refused(reviews, caplog):
    caplog.set_level("INFO", "kerasnn")
    source = masked_words(str(reviews), sequence_length=12)
    letters = Tokenizer.train(["film"], "character", 9)
    # "number" has an m, so none is left out; of Greek nothing is known.
    encoded, used = source.encode({"train": source.train, "test": source.train.take(np.arange(3))}, tokenizer=letters)
    assert used is letters
    assert len(encoded["train"]) == 40
    greek = type(source.train)(("αβγ", "film αβγ"), np.zeros((2, 0), np.int32))
    encoded, _ = source.encode({"train": source.train, "test": greek}, tokenizer=letters)
    assert len(encoded["test"]) == 1
    assert "masked_words: test: 1 texts left out" in caplog.text
    with pytest.raises(DataError, match="test has no text with a token that the tokenizer knows"):
        source.encode({"train": source.train, "test": greek.take(np.array([0]))}, tokenizer=letters)


def test_text_may_be_encoded_by_a_tokenizer_from_elsewhere(reviews):
    pieces = Tokenizer.train(["quite another text"], "word_piece", 50)
    source = text(str(reviews), sequence_length=12)
    encoded, used = source.encode({"train": source.train}, tokenizer=pieces)
    assert used is pieces
    assert encoded["train"].tokens.max() < pieces.vocab_size


def test_real_sentences_of_sst2_are_hidden(shared_data):
    source = masked_words(str(shared_data / "sst2"), sequence_length=32, vocab_size=2_000)
    bundle = make_bundle(source, train_examples=2_000)
    assert [len(examples) for examples in bundle.splits.values()] == [2_000, 872, 1_821]
    share = (bundle.test.labels >= 0).sum() / (bundle.test.tokens > 0).sum()
    assert abs(share - 0.15) < 0.01  # Of long sentences rounding moves little.
