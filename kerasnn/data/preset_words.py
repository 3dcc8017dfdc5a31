"""The words of a KerasHub preset, as a tokenizer of this package: the same pieces of every text, otherwise numbered.

Here the special tokens are 0 to 4 in every tokenizer, and padding is 0 in the networks; in BERT's vocabulary [CLS] is
101, and in GPT-2's there is no padding at all. So a preset's words are renumbered, special ones first, and the table of
their vectors is read by `rows` when it moves: what a network answers does not depend on how its words are numbered, and
everything else, from a run's folder to a network that hides padding, goes on knowing one numbering.

A special token that a preset lacks takes the mean of all its vectors. In a softmax over V words and n such ones, these
then have at most the share n / (V + n), that of equal logits, since the mean of exponentials is no less than the
exponential of the mean. Zeros could take nearly all of it, where the other logits are far below 0, as GPT-2's are.

Word pieces are split as KerasHub does it, not as `Tokenizer.train` does: control characters part words instead of
vanishing, only ASCII's spaces are spaces, and capitals are folded after words are parted, by NFKC_Casefold (but for
Cherokee and some phonetic letters), so that "…" is one word of three dots. A word of more than 100 letters is unknown;
there, of more than 100 bytes. Byte pairs are split by GPT-2's own pattern, which the weights learned from. KerasHub
keeps to it in its pipelines but for rows of line ends and spaces at the end of a text; called by itself, its tokenizer
has the pattern of Llama 3. Text that looks like a special token stays text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kerasnn.data.tokenizer import CLS, MASK, PAD, SEP, SPECIAL, UNK, Tokenizer, open_library
from kerasnn.errors import DataError

SPLIT = "\n"  # What parts words while the text is normalized: the one character that none of them can hold then.
SPACE = r"[\t\n\f\r ]|\p{Cc}|\p{Cf}"
MARK = r"[!-/:-@\[-`{-~]|\p{P}"
CJK = (
    r"[\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2B73F}\x{2B740}-\x{2B81F}"
    r"\x{2B820}-\x{2CEAF}\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}]"
)
INVISIBLE = r"[\x{34F}\x{115F}\x{1160}\x{17B4}\x{17B5}\x{180B}-\x{180F}\x{FE00}-\x{FE0F}\x{E0100}-\x{E01EF}]"


@dataclass(frozen=True)
class PresetWords:
    """A preset's words in this package's numbering.

    Args:
        tokenizer: between text and the numbers.
        rows: of each number, where the preset's table has its vector; None where the preset has no such word.
    """

    tokenizer: Tokenizer
    rows: tuple[int | None, ...]


def word_pieces(
    vocabulary: Sequence[str],
    special: Mapping[int, str],
    lower_case: bool,
    strip_accents: bool,
    split_on_cjk: bool = True,
    inside: str = "##",
) -> PresetWords:
    """BERT's words.

    Args:
        vocabulary: every piece, in the order of the table.
        special: what the preset calls the special tokens, by our numbers; all five.
        lower_case: whether capitals are folded.
        strip_accents: whether accents are taken off.
        split_on_cjk: whether each Chinese character is a word.
        inside: what pieces begin with that do not begin a word.

    Raises:
        DataError: a word that the vocabulary holds twice, or a special one that it lacks.

    Example:
        >>> words = word_pieces(["[PAD]", "the", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], special, True, False)
        >>> words.tokenizer.encode("The!"), words.rows      # ([5, 1], (0, 2, 3, 4, 5, 1))
    """
    numbers = {token: row for row, token in enumerate(vocabulary)}
    if len(numbers) < len(vocabulary):
        twice = next(token for row, token in enumerate(vocabulary) if numbers[token] != row)
        raise DataError(f"the preset's vocabulary holds '{twice}' twice, so that its numbers are not certain")
    own, rows = _renumbered(numbers, special)
    library = open_library()
    model = library.models.WordPiece(own, unk_token=SPECIAL[UNK], continuing_subword_prefix=inside)
    backend = library.Tokenizer(model)
    backend.normalizer = _normalizer(library, lower_case, strip_accents, split_on_cjk)
    backend.pre_tokenizer = library.pre_tokenizers.Split(SPLIT, behavior="removed")
    backend.decoder = library.decoders.WordPiece(prefix=inside)
    return PresetWords(Tokenizer(backend.to_str()), rows)


def _normalizer(library: Any, lower_case: bool, strip_accents: bool, split_on_cjk: bool) -> Any:
    """What parts words, takes off accents and folds capitals, in KerasHub's order."""
    normal, replace = library.normalizers, library.normalizers.Replace
    parted = f"{MARK}|{CJK}" if split_on_cjk else MARK
    steps = [normal.NFD(), replace(library.Regex(r"\p{Mn}"), "")] if strip_accents else []
    # The library stumbles over what is put in before the first character: so that one is ours.
    steps += [
        normal.Prepend(SPLIT),
        replace(library.Regex(SPACE), SPLIT),
        replace(library.Regex(f"(?={parted})|(?<={parted})"), SPLIT),
    ]
    if lower_case:
        steps += [
            *(normal.NFKD(), replace("\u0345", "ι"), normal.Lowercase()),  # The iota below a letter stands beside it.
            *(replace("ß", "ss"), replace("ς", "σ"), replace(library.Regex(INVISIBLE), ""), normal.NFKC()),
        ]
    return normal.Sequence(steps)


def byte_pairs(
    vocabulary: Mapping[str, int], merges: Sequence[str], end: str, add_prefix_space: bool = False
) -> PresetWords:
    """GPT-2's words.

    Args:
        vocabulary: every token, with its place in the table.
        merges: pairs of tokens that become one, the first ones first: "h e".
        end: what the preset calls the end of a text, which also begins the next one: our [SEP].
        add_prefix_space: whether a text begins with a space that it does not have.

    Raises:
        DataError: the vocabulary lacks the end.

    Example:
        >>> words = byte_pairs({"<|endoftext|>": 0, "h": 1, "e": 2, "he": 3}, ["h e"], "<|endoftext|>")
        >>> words.tokenizer.encode("he"), words.rows      # ([7], (None, None, None, 0, None, 1, 2, 3))
    """
    own, rows = _renumbered(vocabulary, {SEP: end})
    library = open_library()
    pairs = [tuple(merge.split(" ")) for merge in merges if "#version:" not in merge]
    backend = library.Tokenizer(library.models.BPE(own, pairs))
    backend.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    backend.decoder = library.decoders.ByteLevel()
    return PresetWords(Tokenizer(backend.to_str()), rows)


def _renumbered(vocabulary: Mapping[str, int], special: Mapping[int, str]) -> tuple[dict[str, int], tuple]:
    """Our numbers of the words, special ones first and the others in their order; the preset's number of each."""
    for name in special.values():
        if name not in vocabulary:
            raise DataError(f"the preset's vocabulary lacks '{name}'")
    others = sorted(vocabulary.keys() - {*special.values(), *SPECIAL}, key=vocabulary.__getitem__)
    places = [vocabulary.get(special.get(number, SPECIAL[number])) for number in (PAD, UNK, CLS, SEP, MASK)]
    numbers = {token: number for number, token in enumerate((*SPECIAL, *others))}
    return numbers, (*places, *(vocabulary[token] for token in others))
