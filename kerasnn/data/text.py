"""Labelled texts of the user's own, in tables or in folders: classification of sentences and documents."""

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from kerasnn.data.bundle import Source
from kerasnn.data.examples import TextExamples, TokenExamples
from kerasnn.data.labels import check_classes, find_root, list_classes, sort_names
from kerasnn.data.text_table import TEXT_SPLITS, Rows, find_tables, read_tables, read_text
from kerasnn.data.tokenizer import CLS, PAD, SEP, Kind, Tokenizer
from kerasnn.errors import DataError
from kerasnn.ranges import Positive, Range

log = logging.getLogger(__name__)

Length = Annotated[int, Range(low=3)]
"""Tokens in a sequence: the beginning, the end, and at least one between them."""


def text(
    dir: str,
    table: str | None = None,
    tokenizer: Literal["word_piece", "byte_pair", "character"] = "word_piece",
    vocab_size: Positive = 8_000,
    sequence_length: Length = 64,
    lower_case: bool = True,
) -> Source:
    """Texts with one class each, as tokens `[CLS] … [SEP]`, cut or padded to `sequence_length`.

    In `dir` lies either a table (.csv, or .tsv with tabs and without quoting) with the columns `label` and `text` (or
    `sentence`, `content`) and perhaps `split`; or one table for each split, named train, dev (or val, valid,
    validation) and test; or a sub-folder for each class with a .txt file for each text, with or without train, dev and
    test above them. What is not there is held out of train. The tokenizer learns its vocabulary from the training
    texts that are left then, and from no other. Files are UTF-8.

    Args:
        dir: the folder, or the table itself; a relative one is also looked for in `$KERASNN_DATA`.
        table: the table's file name; needed where the folder has several that are not named after splits.
        tokenizer: `word_piece` (BERT's), `byte_pair` (GPT-2's) or `character`.
        vocab_size: how many different tokens at most.
        sequence_length: tokens per text, [CLS] and [SEP] included.
        lower_case: whether capitals are made small.

    Raises:
        DataError: no table and no folders, a missing column, an unknown split, a text that is empty, has no label or is
            not UTF-8, a class without training texts.

    Example:
        >>> text("reviews").class_names
        ('negative', 'positive')
    """
    root = find_root("text", dir)
    rows, class_names = read_rows(root, table)
    splits = {
        split: TextExamples(tuple(text for text, _ in found), number_labels(found, class_names))
        for split, found in rows.items()
    }
    for split, examples in splits.items():
        for label in np.setdiff1d(np.arange(len(class_names)), examples.labels):
            log.warning("text: the class '%s' has no text in %s", class_names[label], split)
    encode = partial(
        encode_texts, kind=tokenizer, vocab_size=vocab_size, sequence_length=sequence_length, lower_case=lower_case
    )
    return Source("text", class_names=class_names, origin=str(root), encode=encode, **splits)


def encode_texts(
    splits: dict[str, TextExamples],
    kind: Kind,
    vocab_size: int,
    sequence_length: int,
    lower_case: bool,
    tokenizer: Tokenizer | None = None,
) -> tuple[dict[str, TokenExamples], Tokenizer]:
    """Texts as rows of token numbers, by a tokenizer that has seen the split train alone, unless one is given.

    What was cut, and how many held-out texts are in train too, word for word, is said in the log.

    Args:
        splits: by name.
        kind: of the tokenizer that is learned.
        vocab_size: of that one, at most.
        sequence_length: tokens per row.
        lower_case: whether that one makes capitals small.
        tokenizer: a trained one to use instead, such as that of the weights that a training starts from.
    """
    if tokenizer is None:
        tokenizer = Tokenizer.train(splits["train"].texts, kind, vocab_size, lower_case)
        log.info(
            "text: %s tokens (%s) learned from %s", f"{tokenizer.vocab_size:,}", kind, f"{len(splits['train']):,} texts"
        )
    known = set(splits["train"].texts)
    encoded = {}
    for split, examples in splits.items():
        ids = tokenizer.encode_batch(examples.texts)
        encoded[split] = TokenExamples(frame(ids, sequence_length), examples.labels)
        cut = sum(len(row) > sequence_length - 2 for row in ids) / max(1, len(ids))
        log.info("text: %s: %.1f%% of the texts are longer than %d tokens and cut", split, 100 * cut, sequence_length)
        doubled = 0 if split == "train" else sum(text in known for text in examples.texts)
        if doubled:
            log.warning("text: %s: %s of %s texts are in train too", split, f"{doubled:,}", f"{len(examples):,}")
    return encoded, tokenizer


def number_labels(found: Sequence[tuple[str, str]], class_names: Sequence[str]) -> np.ndarray:
    """The index of the class of each (text, label): int32 `(examples,)`."""
    numbers = {name: i for i, name in enumerate(class_names)}
    return np.array([numbers[label] for _, label in found], np.int32)


def frame(encoded: Sequence[list[int]], sequence_length: int) -> np.ndarray:
    """Rows of `[CLS] … [SEP]`, cut at their end or filled with [PAD]: int32 `(rows, sequence_length)`."""
    rows = np.full((len(encoded), sequence_length), PAD, np.int32)
    for row, ids in zip(rows, encoded, strict=True):
        framed = [CLS, *ids[: sequence_length - 2], SEP]
        row[: len(framed)] = framed
    return rows


def read_rows(root: Path, table: str | None) -> tuple[Rows, tuple[str, ...]]:
    """(text, label) of each example by split, and the labels in their order, from tables or folders as `text` takes.

    Raises:
        DataError: what `text` raises.
    """
    tables = find_tables(root, table)
    return _from_tables(tables) if tables else _from_folders(root)


def _from_tables(tables: dict[str | None, Path]) -> tuple[Rows, tuple[str, ...]]:
    rows = read_tables(tables)
    return rows, sort_names(label for found in rows.values() for _, label in found)


def _from_folders(root: Path) -> tuple[Rows, tuple[str, ...]]:
    if not any(path.is_dir() for path in root.iterdir()):
        raise DataError(f"text: {root} has no table (.csv, .tsv) and no sub-folders of .txt files: add one of them")
    listing = list_classes("text", root, TEXT_SPLITS)
    kept = [row for row in listing.rows if row[1].suffix.lower() == ".txt"]
    for path in sorted({path for _, path, _ in listing.rows} - {path for _, path, _ in kept}):
        log.warning("text: skipped %s: it is no .txt file", path)
    check_classes("text", "text", listing, kept)
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        texts = list(pool.map(_document, [path for _, path, _ in kept]))
    rows: Rows = {}
    for (split, _, label), content in zip(kept, texts, strict=True):
        rows.setdefault(split, []).append((content, listing.class_names[label]))
    return rows, listing.class_names


def _document(file: Path) -> str:
    content = read_text(file).strip()
    if not content:
        raise DataError(f"text: {file} is empty: write the text, or remove the file")
    return content
