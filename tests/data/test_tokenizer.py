"""Three kinds of tokenizers: one numbering of the special tokens, no loss where none is promised, no chance."""

import hashlib
import os
import subprocess
import sys

import pytest

from kerasnn.data.tokenizer import CLS, MASK, PAD, SEP, SPECIAL, UNK, Tokenizer
from kerasnn.errors import DataError

TEXTS = ["To be, or not to be: that is the question.", "Whether 'tis nobler in the mind to suffer", "The slings!"] * 3
KINDS = {"word_piece": 90, "byte_pair": 300, "character": 40}
UNICODE = "naïve Ω≈ç 日本語 🙂👩‍👧 \u200b\ttab\r\nline  two spaces   [MASK] [PAD] ##x \x00 \U0010ffff e\u0301"


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def train(kind: str, **options) -> Tokenizer:
    return Tokenizer.train(TEXTS, kind, KINDS[kind], **options)


def test_tokenizer_numbers_special_tokens_alike(kind):
    assert (PAD, UNK, CLS, SEP, MASK) == (0, 1, 2, 3, 4)
    tokenizer = train(kind)
    assert [tokenizer._backend.id_to_token(i) for i in range(5)] == list(SPECIAL)
    assert 5 < tokenizer.vocab_size <= KINDS[kind]
    # A text that looks like a special token is a text: none of its tokens has such a number, but for the unknown.
    assert not set(tokenizer.encode("[CLS] to be [SEP] [PAD] [MASK]")) & {PAD, CLS, SEP, MASK}


def test_tokenizer_encodes_one_and_many_alike(kind):
    tokenizer = train(kind)
    many = [f"{text} {i}" for i in range(400) for text in TEXTS]  # More than are encoded at a time.
    assert tokenizer.encode_batch(many) == [tokenizer.encode(text) for text in many]
    assert tokenizer.encode_batch([]) == []
    assert tokenizer.encode("") == []


def test_tokenizer_survives_its_json(kind):
    tokenizer = train(kind, lower_case=True)
    again = Tokenizer.from_json(tokenizer.to_json())
    assert again.to_json() == tokenizer.to_json()
    assert again.encode(UNICODE) == tokenizer.encode(UNICODE)
    assert again.vocab_size == tokenizer.vocab_size


def test_byte_pair_gives_back_any_text_exactly():
    tokenizer = train("byte_pair")
    every = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x10000, 7), *range(0x10000, 0x110000, 997))))
    for text in (UNICODE, every, "", " ", "\n\n", "  leading and trailing  ", *TEXTS):
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("kind", ["word_piece", "byte_pair"])
def test_letters_that_meet_once_are_not_joined(kind):
    tokenizer = Tokenizer.train(["once", "twice", "twice"], kind, 400)
    assert len(tokenizer.encode("twice")) == 1
    # "ce" comes three times: with "on" before it, once is three tokens.
    assert len(tokenizer.encode("once")) == 3


def test_byte_pair_merges_what_comes_often():
    tokenizer = train("byte_pair")
    # "question" comes three times: 300 tokens leave 39 merges beside 5 + 256, enough to join some of its letters.
    assert len(tokenizer.encode(" the question")) < len(" the question")


def test_character_gives_back_what_it_knows_and_marks_what_it_does_not():
    tokenizer = train("character")
    for text in ("the mind\nto be".replace("\n", " "), "", TEXTS[0]):
        ids = tokenizer.encode(text)
        assert len(ids) == len(text)
        assert tokenizer.decode(ids) == text
    assert tokenizer.encode("日t")[0] == UNK
    assert tokenizer.decode(tokenizer.encode("日t")) == "[UNK]t"
    lines = Tokenizer.train(["a\nb\r\tc"], "character", 20)
    assert lines.decode(lines.encode("c\t\r\n\nab")) == "c\t\r\n\nab"


def test_character_keeps_the_most_frequent():
    # Three letters of a, two of b, one of c and d: with 5 + 3 tokens, c is kept before d, since it comes first.
    tokenizer = Tokenizer.train(["aaabbdc"], "character", 8)
    assert [tokenizer._backend.id_to_token(i) for i in range(5, 8)] == ["a", "b", "c"]
    assert tokenizer.encode("d") == [UNK]


def test_word_pieces_split_words_as_bert_does():
    tokenizer = train("word_piece", lower_case=True)
    pieces = tokenizer._backend.encode("Thé nobler", add_special_tokens=False).tokens
    assert pieces[0] == "the"  # Small, without its accent, and frequent enough for a piece of its own.
    assert "".join(piece.removeprefix("##") for piece in pieces[1:]) == "nobler"
    assert all(piece.startswith("##") for piece in pieces[2:])
    assert tokenizer.decode(tokenizer.encode("To be, or not")) == "to be, or not"
    # "d" never began a word and "T" never stood inside one: still both have a piece.
    assert UNK not in tokenizer.encode("dt td")
    # A letter that was never seen makes its whole word unknown, and no other.
    assert tokenizer.encode("日") == [UNK]
    assert tokenizer.encode("the 日 to") == [*tokenizer.encode("the"), UNK, *tokenizer.encode("to")]


def test_word_pieces_without_room_for_all_letters_leave_out_the_rare():
    # Nine tokens: five special ones, and two letters twice. "ab" comes often and "z" once.
    tokenizer = Tokenizer.train(["ab ab ab ba", "z"], "word_piece", 9)
    assert tokenizer.vocab_size == 9
    assert tokenizer.encode("z") == [UNK]
    assert UNK not in tokenizer.encode("ab ba aa bb")


def test_case_is_kept_unless_it_is_given_up(kind):
    kept, lowered = train(kind), train(kind, lower_case=True)
    assert kept.encode("To") != kept.encode("to")
    assert lowered.encode("To") == lowered.encode("to")


def test_decode_leaves_out_special_tokens_and_labels_that_are_none():
    tokenizer = train("character")
    ids = tokenizer.encode("be")
    assert tokenizer.decode([CLS, ids[0], MASK, -1, ids[1], SEP, PAD, PAD]) == "be"


def test_tokenizer_of_the_same_texts_is_the_same_in_every_process(kind, root):
    code = (
        "import sys, hashlib; from kerasnn.data.tokenizer import Tokenizer; "
        "print(hashlib.sha256(Tokenizer.train(eval(sys.argv[1]), sys.argv[2], int(sys.argv[3])).to_json().encode())"
        ".hexdigest()); assert 'tensorflow' not in sys.modules"
    )
    found = {hashlib.sha256(train(kind).to_json().encode()).hexdigest() for _ in range(3)}
    for seed in "12":
        command = [sys.executable, "-c", code, repr(TEXTS), kind, str(KINDS[kind])]
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(root)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=root)
        found.add(done.stdout.strip())
        assert "fork" not in done.stderr
    assert len(found) == 1


def test_tokenizer_does_not_warn_when_a_process_is_started_after_it(root):
    code = (
        "import os, kerasnn.data.tokenizer as t; k = t.Tokenizer.train(['a b'] * 2000, 'byte_pair', 270); "
        "k.encode_batch(['a b'] * 2000); child = os.fork(); child or os._exit(0); os.waitpid(child, 0)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "TOKENIZERS_PARALLELISM"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=root)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(("kind", "least"), [("word_piece", 7), ("byte_pair", 261), ("character", 6)])
def test_tokenizer_names_the_smallest_vocabulary(kind, least):
    message = f"vocab_size={least - 1} is too small for a {kind} tokenizer: give {least} or more"
    with pytest.raises(DataError, match=message):
        Tokenizer.train(TEXTS, kind, least - 1)
    assert Tokenizer.train(TEXTS, kind, least).vocab_size == least
