"""A preset's words: token for token those of keras-hub's own tokenizers, in another numbering."""

import json
import warnings
from unicodedata import normalize

import numpy as np
import pytest

from kerasnn.data.preset_words import byte_pairs, word_pieces
from kerasnn.data.tokenizer import SEP, SPECIAL, Tokenizer
from kerasnn.errors import DataError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # What it says on import is not about us.
    hub = pytest.importorskip("keras_hub", reason="needs the extra `hub`")
    import regex  # Which it brings along.
    import tensorflow as tf

FORMS = ("NFC", "NFD", "NFKC", "NFKD")
NAMES = dict(enumerate(SPECIAL))
AWKWARD = [
    "The quick brown fox jumped, didn't it?",
    "NAÏVE café CAFÉ Straße ΣΊΣΥΦΟΣ Σίσυφος ﬁne ᾳ ᾴ ῼ İstanbul ǅ e\u0301",
    "¿Qué? ¡no!… ‼ «wow» — ok; $5 ^2 `a` ~b|c+d<=>",
    "日本語の文章 中文abc 㐀 豈 한국어 조선",
    "x\u00a0y \u2009z a\u200bb soft\u00adhyphen \x1b[0m \x7f",
    "two  spaces   \t\ttab\r\nline\n\n\nend",
    "❤️ 👩\u200d👧 🙂!! \U0010fffd",
    "[MASK] [CLS] [UNK] ##x",
    "don't We'LL they'd've 1234567 3.14 x² ½ №5 ①② ！？",
    "zebra",  # No z is known.
    "a" * 120,
    "",
    "  ",
]


def bert_vocabulary() -> list[str]:
    """Every letter of the texts, folded or not, as it begins a word and inside one, but for z and 日; a few words."""
    plain = "".join(AWKWARD)
    forms = {letter for text in (plain, plain.casefold()) for form in FORMS for letter in normalize(form, text)}
    letters = sorted(forms - set("z日 \t\r\n"))
    words = ["the", "quick", "##ck", "str", "##ass", "...", "##ing"]
    inside = [f"##{letter}" for letter in letters]
    # Special tokens stand where nothing of ours would expect them.
    return [*words, "[UNK]", *letters[:40], "[CLS]", "[MASK]", *letters[40:], "[SEP]", "[PAD]", *inside]


@pytest.mark.parametrize("lower_case", [False, True])
@pytest.mark.parametrize("strip_accents", [False, True])
def test_word_pieces_are_those_of_keras_hub(lower_case, strip_accents):
    vocabulary = bert_vocabulary()
    theirs = hub.models.BertTokenizer(vocabulary=vocabulary, lowercase=lower_case, strip_accents=strip_accents)
    words = word_pieces(vocabulary, NAMES, lower_case, strip_accents)
    assert words.tokenizer.vocab_size == len(vocabulary) == len(words.rows)
    assert [vocabulary[row] for row in words.rows[:5]] == list(SPECIAL)
    assert sorted(words.rows) == list(range(len(vocabulary)))
    for text in AWKWARD:
        expected = [vocabulary[row] for row in np.array(theirs(text))]
        assert [vocabulary[words.rows[number]] for number in words.tokenizer.encode(text)] == expected, text
        assert len(expected) < 3 or expected.count("[UNK]") <= 2  # So that most of what agrees says something.
    kept = Tokenizer.from_json(words.tokenizer.to_json())  # As a run's folder keeps it.
    assert kept.encode_batch(AWKWARD) == words.tokenizer.encode_batch(AWKWARD)


def test_every_character_can_be_read():
    """The library has panicked, which no `except Exception` meets, where something was put in before the first one."""
    words = word_pieces(["a", "##a", *SPECIAL], NAMES, lower_case=True, strip_accents=True)
    every = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000 and (code < 0x3400 or code % 41 == 0)]
    assert len(words.tokenizer.encode_batch(every)) == len(every)
    assert words.tokenizer.encode("".join(every))


def gpt_words() -> tuple[dict[str, int], list[str]]:
    """256 bytes, what was merged of a few texts, and the end of a text as the last one, as in GPT-2's vocabulary."""
    model = json.loads(Tokenizer.train(AWKWARD * 3, "byte_pair", 400).to_json())["model"]
    vocabulary = {token: number - 5 for token, number in model["vocab"].items() if number >= 5}
    return vocabulary | {"<|endoftext|>": len(vocabulary)}, [" ".join(pair) for pair in model["merges"]]


def test_byte_pairs_are_those_of_keras_hubs_pipelines():
    vocabulary, merges = gpt_words()
    theirs = hub.models.GPT2Tokenizer(vocabulary=vocabulary, merges=merges)
    words = byte_pairs(vocabulary, merges, "<|endoftext|>")
    missing = [name for name, row in zip(SPECIAL, words.rows, strict=False) if row is None]
    assert missing == ["[PAD]", "[UNK]", "[CLS]", "[MASK]"]
    assert words.rows[SEP] == vocabulary["<|endoftext|>"]
    assert words.tokenizer.vocab_size == len(vocabulary) + 4
    texts = [text for text in AWKWARD if text.strip() and "\n\n" not in text]
    [expected] = tf.data.Dataset.from_tensors(texts).map(theirs)
    for text, row in zip(texts, expected.to_list(), strict=True):
        assert [words.rows[number] for number in words.tokenizer.encode(text)] == row, text
    for text in AWKWARD:
        assert words.tokenizer.decode(words.tokenizer.encode(text)) == text


def test_byte_pairs_part_a_text_where_gpt2_does():
    # The pattern of the authors' encoder.py. keras-hub's pipelines differ from it in rows of line ends and in spaces at
    # the end of a text, its tokenizer by itself also in long numbers, of which it parts three digits at a time.
    pattern = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
    vocabulary, _ = gpt_words()
    words = byte_pairs(vocabulary, [], "<|endoftext|>")
    splitter = words.tokenizer._backend.pre_tokenizer
    for text in [*AWKWARD, "a\n\n\nb", "end  ", "a\r\nb", "1234567"]:
        assert [text[start:end] for _, (start, end) in splitter.pre_tokenize_str(text)] == pattern.findall(text)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: word_pieces(["a", *SPECIAL, "a"], NAMES, True, False), "vocabulary holds 'a' twice"),
        (lambda: word_pieces(["a", *SPECIAL[1:]], NAMES, True, False), r"vocabulary lacks '\[PAD\]'"),
        (lambda: byte_pairs({"a": 0}, [], "<|endoftext|>"), r"vocabulary lacks '<\|endoftext\|>'"),
    ],
)
def test_vocabulary_that_cannot_be_is_one_line(make, message):
    with pytest.raises(DataError, match=message):
        make()
