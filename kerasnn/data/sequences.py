"""Strings of digits to turn round, sort or add: sequence to sequence, for the encoder with a decoder, made up here."""

from typing import Literal

import numpy as np

from kerasnn.data.bundle import Source
from kerasnn.data.examples import TokenExamples
from kerasnn.data.tokenizer import CLS, PAD, SEP, Tokenizer
from kerasnn.errors import DataError
from kerasnn.ranges import Count, Positive


def sequences(
    task: Literal["reverse", "sort", "add"] = "reverse",
    dir: str | None = None,
    examples: Positive = 20_000,
    digits: Positive = 8,
    seed: Count = 0,
) -> Source:
    """Pairs of a source and a target: `"20417"` → `"71402"` (reverse) or `"01247"` (sort), `"58+7"` → `"65"` (add).

    An example's tokens are `(2, T)`: the source, and the target as the decoder is fed with it, [CLS] first. Its labels
    `(T,)` are the target and then [SEP], with -1 where nothing is to be said. T is what the longest takes:
    `digits + 1`, or `2 · digits + 1` to add.
    No two examples have the same source (for add: nor the same numbers the other way round), so no split shares any.

    Args:
        task: what to do with the digits.
        dir: taken so that a sweep over data sets may give `data.dir`; it is not used, nothing is read.
        examples: how many in all; a tenth each are the validation and the test split.
        digits: at most how many the source has, or each of the two numbers to add; at least half as many.
        seed: another seed, other strings; the same seed, the same ones.

    Raises:
        DataError: more examples than half of the strings that there are.

    Example:
        >>> sequences(examples=100, digits=5).train.tokens.shape
        (80, 2, 6)
    """
    fewest = (digits + 1) // 2
    different = sum(10**n for n in range(fewest, digits + 1))
    most = different * (different + 1) // 4 if task == "add" else different // 2
    if not 10 <= examples <= most:
        raise DataError(
            f"data.examples={examples} must be at least 10, and at most {most}, which is half of what data.task={task} "
            f"has with data.digits={digits}: give fewer examples, or more digits"
        )
    sources = _draw_sources(np.random.RandomState(seed), task, examples, fewest, digits)
    tokenizer = Tokenizer.train(["+0123456789"], "character", vocab_size=16)
    length = 2 * digits + 1 if task == "add" else digits + 1
    rows = _rows(tokenizer, sources, [_target(task, source) for source in sources], length)
    tenth = examples // 10
    order = np.arange(examples)
    return Source(
        "sequences",
        rows.take(order[: -2 * tenth]),
        class_names=(),
        validation=rows.take(order[-2 * tenth : -tenth]),
        test=rows.take(order[-tenth:]),
        licence="CC0 1.0",
        origin="drawn by kerasnn.data.sequences",
        tokenizer=tokenizer,
    )


def _draw_sources(draw: np.random.RandomState, task: str, examples: int, fewest: int, most: int) -> list[str]:
    """Different sources in the order of their drawing. RandomState, since NumPy promises never to change its draws."""
    drawn: dict[tuple[str, ...], str] = {}
    while len(drawn) < examples:
        numbers = tuple(
            "".join(map(str, draw.randint(0, 10, draw.randint(fewest, most + 1)))) for _ in range(1 + (task == "add"))
        )
        drawn.setdefault(tuple(sorted(numbers)), "+".join(numbers))
    return list(drawn.values())


def _target(task: str, source: str) -> str:
    if task == "add":
        return str(sum(map(int, source.split("+"))))
    return source[::-1] if task == "reverse" else "".join(sorted(source))


def _rows(tokenizer: Tokenizer, sources: list[str], targets: list[str], length: int) -> TokenExamples:
    given, wanted = tokenizer.encode_batch(sources), tokenizer.encode_batch(targets)
    tokens = np.full((len(given), 2, length), PAD, np.int32)
    labels = np.full((len(given), length), -1, np.int32)
    for row, label, source, target in zip(tokens, labels, given, wanted, strict=True):
        row[0, : len(source)] = source
        row[1, : len(target) + 1] = [CLS, *target]
        label[: len(target) + 1] = [*target, SEP]
    return TokenExamples(tokens, labels)
