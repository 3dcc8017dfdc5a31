"""Plain text to continue: windows of tokens, and for each position the token that follows."""

import logging
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from kerasnn.data.bundle import Source
from kerasnn.data.examples import TokenExamples
from kerasnn.data.labels import files_below, find_root
from kerasnn.data.text_table import read_text
from kerasnn.data.tokenizer import SEP, UNK, Tokenizer
from kerasnn.errors import DataError
from kerasnn.ranges import Positive

log = logging.getLogger(__name__)

SHARES = {"train": 0.9, "validation": 0.05, "test": 0.05}
_LINE = 1_000  # A border moves to the end of its line, if that is not further away than so many characters.
_END = "\0"  # Between two files while they are one text; no text holds it. It becomes [SEP].


def text_lm(
    dir: str,
    tokenizer: Literal["word_piece", "byte_pair", "character"] = "character",
    vocab_size: Positive = 8_000,
    sequence_length: Positive = 64,
    stride: Positive | None = None,
    lower_case: bool = False,
) -> Source:
    """Windows of a text, for next-token prediction: tokens `i … i + T - 1`, labels `i + 1 … i + T`.

    The text is a file, or all .txt files of a folder in the order of their names, with [SEP] between two of them. Its
    first 90% are train, the next 5% validation, the last 5% test; no window reaches across a border, and the tokenizer
    learns its vocabulary from train alone. Files are UTF-8.

    Args:
        dir: the folder, or the file itself; a relative one is also looked for in `$KERASNN_DATA`.
        tokenizer: `character`, `byte_pair` (GPT-2's) or `word_piece` (BERT's, which keeps no line breaks).
        vocab_size: how many different tokens at most.
        sequence_length: T, the tokens of a window.
        stride: tokens from one window's beginning to the next one's; None takes T, so that each token is predicted
            once.
        lower_case: whether capitals are made small.

    Raises:
        DataError: no text, one that is not UTF-8, or one too short for a window in every split.

    Example:
        >>> text_lm("tinyshakespeare").train.tokens.shape
        (15685, 64)
    """
    root = find_root("text_lm", dir)
    parts = _cut(_read(root))
    learned = Tokenizer.train(_lines(parts["train"]), tokenizer, vocab_size, lower_case)
    return _windowed(learned, root, parts, sequence_length, stride or sequence_length)


def _windowed(tokenizer: Tokenizer, root: Path, parts: dict[str, str], sequence_length: int, stride: int) -> Source:
    """The source, its text read by a trained tokenizer."""
    splits = {}
    for split, part in parts.items():
        ids = _encode(tokenizer, part)
        if len(ids) <= sequence_length:
            raise DataError(
                f"text_lm: {split} has {len(ids)} tokens of {root}, a window needs {sequence_length + 1}: "
                "give more text, or a smaller data.sequence_length"
            )
        splits[split] = _windows(ids, sequence_length, stride)
        counts = len(ids), tokenizer.vocab_size, (ids == UNK).sum(), len(splits[split])
        log.info(
            "text_lm: %s: %s tokens of %s kinds, %s of them unknown, in %s windows",
            *(split, *(f"{count:,}" for count in counts)),
        )
    reread = partial(_windowed, root=root, parts=parts, sequence_length=sequence_length, stride=stride)
    return Source("text_lm", class_names=(), origin=str(root), tokenizer=tokenizer, reread=reread, **splits)


def _read(root: Path) -> str:
    if root.is_file():
        files = [root]
    else:
        files = [path for path in files_below(root) if path.suffix.lower() == ".txt"]
        if not files:
            raise DataError(f"text_lm: {root} has no .txt file: put the text there, or give the file itself")
    content = _END.join(filter(None, map(read_text, files)))
    if not content.strip(f"{_END} \r\n\t"):
        raise DataError(f"text_lm: {root} is empty: give a text to learn from")
    log.info("text_lm: %s characters from %s, files: %d", f"{len(content):,}", root, len(files))
    return content


def _cut(content: str) -> dict[str, str]:
    """The text in three parts, one after the other, cut at the ends of lines where there are any."""
    borders = [0]
    for share in np.cumsum(list(SHARES.values()))[:-1]:
        place = round(len(content) * share)
        end = content.find("\n", max(0, place - 1), place + _LINE)
        borders.append(place if end < 0 else end + 1)
    return {split: content[start:end] for split, (start, end) in zip(SHARES, pairwise([*borders, None]), strict=True)}


def _lines(part: str) -> list[str]:
    """The part in pieces that are encoded each for itself: joined, they are the part, but for what lies between files.

    Tokens never reach over a line's end. That costs nothing that these tokenizers would merge but rows of empty lines.
    """
    return [line for file in part.split(_END) for line in file.splitlines(keepends=True)]


def _encode(tokenizer: Tokenizer, part: str) -> np.ndarray:
    """All tokens of a part in their order, int32 `(tokens,)`."""
    ids: list[int] = []
    for i, file in enumerate(part.split(_END)):
        ids += [SEP] if i else []
        for line in tokenizer.encode_batch(file.splitlines(keepends=True)):
            ids += line
    return np.array(ids, np.int32)


def _windows(ids: np.ndarray, length: int, stride: int) -> TokenExamples:
    rows = np.lib.stride_tricks.sliding_window_view(ids, length + 1)[::stride]
    return TokenExamples(np.ascontiguousarray(rows[:, :-1]), np.ascontiguousarray(rows[:, 1:]))
