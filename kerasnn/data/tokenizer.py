"""From text to the numbers of tokens and back: word pieces (BERT), byte pairs (GPT-2), or single characters.

The work is done by Hugging Face's `tokenizers`. What is added here: one numbering of the special tokens, text that
merely looks like a special token stays text, and the same texts give the same vocabulary in every process.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Literal

from kerasnn.errors import DataError

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNK, CLS, SEP, MASK = range(len(SPECIAL))
"""The numbers of the special tokens in every tokenizer: padding, unknown, beginning, end, masked."""

Kind = Literal["word_piece", "byte_pair", "character"]

# Beside the special tokens, at least: a letter that begins a word and one inside it; all bytes; one character.
_SMALLEST = {"word_piece": len(SPECIAL) + 2, "byte_pair": len(SPECIAL) + 256, "character": len(SPECIAL) + 1}
_LETTERS = 1_000  # Of which word pieces are made, at most; what is rarer becomes [UNK]. As for BERT in `tokenizers`.
_PRIVATE = 0xF0000  # The first code point of Unicode's private planes, which hold 131,072.
_INSIDE = "##"
_BATCH = 1_000  # Texts that are encoded at a time: until its numbers are taken, an encoding holds much else.


class Tokenizer:
    """Text to token numbers and back.

    `word_piece` splits at spaces and punctuation, then each word into the longest pieces that it knows: as BERT does.
    `byte_pair` splits any text without loss, as GPT-2 does: `decode(encode(text)) == text` (if case is kept).
    `character` gives each character a token, so text comes back as it was where all its characters are known.

    Args:
        json: as `to_json` gives it.

    Example:
        >>> tokenizer = Tokenizer.train(["to be or not to be"], "character", vocab_size=50)
        >>> tokenizer.decode(tokenizer.encode("not to be"))
        'not to be'
    """

    def __init__(self, json: str):
        self._backend = open_library().Tokenizer.from_str(json)
        self._backend.encode_special_tokens = True  # "[MASK]" in a text is a text: masks are put in by number.

    @classmethod
    def train(cls, texts: Iterable[str], kind: Kind, vocab_size: int, lower_case: bool = False) -> "Tokenizer":
        """Learns a vocabulary. Give the texts of the training split and no others.

        Args:
            texts: what to learn from.
            kind: `word_piece`, `byte_pair` or `character`.
            vocab_size: how many tokens at most, the five special ones included; the most frequent are kept, of letters
                that stand together those that do so at least twice.
            lower_case: whether capitals are made small first (word pieces lose their accents as well).

        Raises:
            DataError: a vocab_size too small for the kind.
        """
        if vocab_size < _SMALLEST[kind]:
            raise DataError(
                f"vocab_size={vocab_size} is too small for a {kind} tokenizer: "
                f"give {_SMALLEST[kind]} or more, of which {len(SPECIAL)} are special tokens"
            )
        learn = {"word_piece": _word_pieces, "byte_pair": _byte_pairs, "character": _characters}[kind]
        return cls(learn(open_library(), texts, vocab_size, lower_case).to_str())

    @classmethod
    def from_json(cls, json: str) -> "Tokenizer":
        """The tokenizer that `to_json` wrote down."""
        return cls(json)

    def to_json(self) -> str:
        """All there is to know of it, in the format of Hugging Face's `tokenizer.json`."""
        return self._backend.to_str()

    @property
    def vocab_size(self) -> int:
        """How many tokens there are, the special ones included."""
        return self._backend.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """The numbers of the text's tokens; no special token is added."""
        return self._backend.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """As `encode`, for many texts, in parallel threads."""
        encode = partial(self._backend.encode_batch_fast, add_special_tokens=False)
        parts = (list(texts[i : i + _BATCH]) for i in range(0, len(texts), _BATCH))
        return [found.ids for part in parts for found in encode(part)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of tokens; special ones, and labels of -1, are left out, but for [UNK], which stands where it is."""
        kept = [int(i) for i in ids if i >= len(SPECIAL) or i == UNK]
        return self._backend.decode(kept, skip_special_tokens=False)


def open_library() -> Any:
    """Hugging Face's `tokenizers`, told beforehand that its threads are wanted: or it warns at every later fork."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    import tokenizers

    return tokenizers


def _byte_pairs(library: Any, texts: Iterable[str], vocab_size: int, lower_case: bool) -> Any:
    bytes_ = library.pre_tokenizers.ByteLevel
    backend = library.Tokenizer(library.models.BPE())
    if lower_case:
        backend.normalizer = library.normalizers.Lowercase()
    backend.pre_tokenizer = bytes_(add_prefix_space=False)
    backend.decoder = library.decoders.ByteLevel()
    backend.train_from_iterator(texts, _pair_trainer(library, vocab_size, initial_alphabet=sorted(bytes_.alphabet())))
    return backend


def _pair_trainer(library: Any, vocab_size: int, **options: Any) -> Any:
    return library.trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,  # As for BERT and GPT-2 in `tokenizers`: of a piece that came once nothing can be learned.
        special_tokens=list(SPECIAL),
        show_progress=False,
        **options,
    )


def _characters(library: Any, texts: Iterable[str], vocab_size: int, lower_case: bool) -> Any:
    counts: Counter[str] = Counter()
    normalizer = library.normalizers.Lowercase() if lower_case else None
    for text in texts:
        counts.update(normalizer.normalize_str(text) if normalizer else text)
    letters = sorted(_most_frequent(counts, vocab_size - len(SPECIAL)))
    vocabulary = {token: i for i, token in enumerate((*SPECIAL, *letters))}
    backend = library.Tokenizer(library.models.WordLevel(vocabulary, unk_token=SPECIAL[UNK]))
    if normalizer:
        backend.normalizer = normalizer
    backend.pre_tokenizer = library.pre_tokenizers.Split(library.Regex(r"[\s\S]"), behavior="isolated")
    backend.decoder = library.decoders.Fuse()
    return backend


def _word_pieces(library: Any, texts: Iterable[str], vocab_size: int, lower_case: bool) -> Any:
    """Learned as byte pairs over letters of our own numbering: the library's own trainer numbers letters by chance."""
    normalizer = library.normalizers.BertNormalizer(lowercase=lower_case)
    splitter = library.pre_tokenizers.BertPreTokenizer()
    words: Counter[str] = Counter()
    for text in texts:
        words.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    vocabulary = _learn_pieces(library, words, vocab_size)
    backend = library.Tokenizer(library.models.WordPiece(vocabulary, unk_token=SPECIAL[UNK]))
    backend.normalizer = normalizer
    backend.pre_tokenizer = splitter
    backend.decoder = library.decoders.WordPiece(prefix=_INSIDE)
    return backend


def _learn_pieces(library: Any, words: Counter[str], vocab_size: int) -> dict[str, int]:
    """The pieces by number: each letter twice, as it begins a word and inside one, and what was merged of them."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for letter in word:
            counts[letter] += count
    letters = sorted(_most_frequent(counts, min(_LETTERS, (vocab_size - len(SPECIAL)) // 2)))
    first = {letter: chr(_PRIVATE + i) for i, letter in enumerate(letters)}
    inside = {letter: chr(_PRIVATE + len(letters) + i) for i, letter in enumerate(letters)}
    pieces = {code: letter for letter, code in first.items()} | {code: letter for letter, code in inside.items()}

    def spelled() -> Iterator[list[str]]:
        for word, count in sorted(words.items()):
            if all(letter in first for letter in word):
                yield [first[word[0]] + "".join(inside[letter] for letter in word[1:])] * count

    trained = library.Tokenizer(library.models.BPE())
    # Also a letter that never began a word may begin one to come.
    trained.train_from_iterator(spelled(), _pair_trainer(library, vocab_size, initial_alphabet=list(pieces)))
    codes = [code for code, _ in sorted(trained.get_vocab().items(), key=lambda item: item[1])][len(SPECIAL) :]
    within = set(inside.values())
    found = [(_INSIDE if code[0] in within else "") + "".join(pieces[c] for c in code) for code in codes]
    return {token: i for i, token in enumerate((*SPECIAL, *found))}


def _most_frequent(counts: Counter[str], most: int) -> list[str]:
    """The letters that come most often; among equals the first in Unicode, so that chance decides nothing."""
    return sorted(counts, key=lambda letter: (-counts[letter], letter))[:most]
