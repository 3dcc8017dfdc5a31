"""Words to fill in: texts of which some tokens are hidden, and each hidden one is to be told from what is around it.

Devlin, Chang, Lee, Toutanova 2019, BERT, section 3.1 and appendix A.1, with the counts of its own code: of the tokens
of a text, [CLS] and [SEP] included, 15% are chosen, rounded, at least one; of the chosen 80% become [MASK], 10% a
token drawn from the vocabulary, and 10% stay as they are. Loss and accuracy are over the chosen ones alone. As in Liu
et al. 2019, RoBERTa, section 4.1, each epoch hides others: the stream draws them by (seed, epoch, step). Those of
validation and test are drawn once, the same for every run. Wettig et al. 2023, Should You Mask 15% in Masked Language
Modeling?, find that more may be hidden: `hidden_share`.
"""

import logging
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow as tf

from kerasnn.data.bundle import Hide, Source
from kerasnn.data.examples import TextExamples, TokenExamples
from kerasnn.data.labels import find_root
from kerasnn.data.text import Length, encode_texts, number_labels, read_rows
from kerasnn.data.text_lm import SHARES
from kerasnn.data.text_table import read_text
from kerasnn.data.tokenizer import MASK, SPECIAL, Kind, Tokenizer
from kerasnn.errors import DataError
from kerasnn.ranges import Fraction, Positive

log = logging.getLogger(__name__)

MASKED, RANDOM = 0.8, 0.1  # Of the chosen; the rest stay.
HELD = {"validation": (0, 1), "test": (0, 2)}  # Seeds of the draws that never change.


def masked_words(
    dir: str,
    table: str | None = None,
    tokenizer: Literal["word_piece", "byte_pair", "character"] = "word_piece",
    vocab_size: Positive = 8_000,
    sequence_length: Length = 64,
    lower_case: bool = True,
    hidden_share: Fraction = 0.15,
) -> Source:
    """Texts `[CLS] … [SEP]` with hidden tokens, and for each position the hidden token, or -1.

    In `dir` lies what `data=text` takes, whose labels only settle who is held out: the same texts as there. Or it is a
    plain text file (.txt), of which each line is a text: its first 90% are train, the next 5% validation, the last 5%
    test. The tokenizer learns its vocabulary from the texts of train. Files are UTF-8.

    Args:
        dir: the folder, the table or the file; a relative one is also looked for in `$KERASNN_DATA`.
        table: the table's file name; needed where the folder has several that are not named after splits.
        tokenizer: `word_piece` (BERT's), `byte_pair` (GPT-2's) or `character`.
        vocab_size: how many different tokens at most.
        sequence_length: tokens per text, [CLS] and [SEP] included; what is longer is cut.
        lower_case: whether capitals are made small.
        hidden_share: share of a text's tokens that are chosen, at least one.

    Raises:
        DataError: no text, what `text` raises, or a plain file with too few lines to divide.

    Example:
        >>> masked_words("reviews").train.texts[0]
        'a fine film'
    """
    root = find_root("masked_words", dir)
    if root.is_file() and root.suffix.lower() == ".txt":
        splits = {split: _unlabelled(lines) for split, lines in _lines(root).items()}
    else:
        rows, classes = read_rows(root, table)
        splits = {
            split: _unlabelled([text for text, _ in found], number_labels(found, classes))
            for split, found in rows.items()
        }
    hide = partial(hide_words, share=hidden_share)
    encode = partial(
        encode_masked,
        kind=tokenizer,
        vocab_size=vocab_size,
        sequence_length=sequence_length,
        lower_case=lower_case,
        hide=hide,
    )
    return Source("masked_words", class_names=(), origin=str(root), encode=encode, hide=hide, **splits)


def _unlabelled(texts: list[str], strata: np.ndarray | None = None) -> TextExamples:
    return TextExamples(tuple(texts), np.zeros((len(texts), 0), np.int32), strata)


def _lines(file: Path) -> dict[str, list[str]]:
    lines = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    borders = [0, *(round(len(lines) * share) for share in np.cumsum(list(SHARES.values())))]
    splits = {split: lines[borders[i] : borders[i + 1]] for i, split in enumerate(SHARES)}
    for split, found in splits.items():
        if not found:
            raise DataError(
                f"masked_words: {file} has {len(lines)} lines with text, too few to give {split} one: "
                "write a text on each line, twenty or more"
            )
    return splits


def encode_masked(
    splits: dict[str, TextExamples],
    kind: Kind,
    vocab_size: int,
    sequence_length: int,
    lower_case: bool,
    hide: Hide,
    tokenizer: Tokenizer | None = None,
) -> tuple[dict[str, TokenExamples], Tokenizer]:
    """Texts as rows of tokens; those of train whole, for the stream to hide some, of the others some hidden for good.

    Args:
        splits: by name.
        kind: of the tokenizer that is learned where none is given.
        vocab_size: of that one, at most.
        sequence_length: tokens per row.
        lower_case: whether that one makes capitals small.
        hide: what hides tokens.
        tokenizer: a trained one to use instead.
    """
    framed, tokenizer = encode_texts(splits, kind, vocab_size, sequence_length, lower_case, tokenizer)
    encoded = {}
    for split, examples in framed.items():
        tokens = examples.tokens
        labels = np.where(tokens >= len(SPECIAL), tokens, -1)
        empty = (labels < 0).all(axis=1)
        if empty.any():
            log.info("masked_words: %s: %d texts left out, since none of their tokens is known", split, empty.sum())
            tokens, labels = tokens[~empty], labels[~empty]
        if not len(tokens):
            raise DataError(f"masked_words: {split} has no text with a token that the tokenizer knows: add some")
        if split in HELD:
            with tf.device("/CPU:0"):  # Where the stream draws too: a GPU may rank otherwise.
                hidden = hide(tokens, labels, tf.constant(HELD[split], tf.int32), tokenizer.vocab_size)
            tokens, labels = (np.asarray(part) for part in hidden)
        encoded[split] = TokenExamples(tokens, labels)
    return encoded, tokenizer


def hide_words(
    tokens: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, vocab_size: int, share: float = 0.15
) -> tuple[tf.Tensor, tf.Tensor]:
    """Hides some tokens of each row, by draws that are a function of the seed.

    Args:
        tokens: int32 `(batch, T)`, zeros for padding.
        labels: int32 `(batch, T)`, the token where it may be chosen, -1 elsewhere; at least one of each row may.
        seed: int32 `(2,)`.
        vocab_size: of the tokenizer; a token that stands for another is any but the special ones.
        share: of each row's tokens, padding not counted, that are chosen; rounded, at least one.

    Returns:
        (tokens, labels): the tokens with some replaced, and labels of -1 where none was chosen.

    Example:
        >>> tokens, labels = hide_words([[2, 17, 9, 11, 3]], [[-1, 17, 9, 11, -1]], [0, 0], vocab_size=20)
        >>> labels      # One of five is chosen, such as [[-1, -1, 9, -1, -1]]; most often, tokens has a 4 there.
    """
    tokens, labels = tf.convert_to_tensor(tokens, tf.int32), tf.convert_to_tensor(labels, tf.int32)
    shape = tf.shape(tokens)
    order, fate, others = (tf.random.fold_in(seed, number) for number in range(3))
    lengths = tf.cast(tf.math.count_nonzero(tokens, axis=1, keepdims=True), tf.float32)
    count = tf.maximum(1, tf.cast(tf.round(share * lengths), tf.int32))  # (B, 1)
    # Whoever draws the lowest numbers is chosen; who may not be draws one above all others.
    draws = tf.where(labels >= 0, tf.random.stateless_uniform(shape, order), 2.0)
    ranks = tf.argsort(tf.argsort(draws, axis=1, stable=True), axis=1, stable=True)
    chosen = (ranks < count) & (labels >= 0)
    fates = tf.random.stateless_uniform(shape, fate)
    drawn = tf.random.stateless_uniform(shape, others, len(SPECIAL), vocab_size, tf.int32)
    replaced = tf.where(fates < MASKED, MASK, tf.where(fates < MASKED + RANDOM, drawn, tokens))
    return tf.where(chosen, replaced, tokens), tf.where(chosen, labels, -1)
