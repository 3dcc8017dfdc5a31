"""What every data source returns (`Source`), and what training sees (`Bundle`, which `make_bundle` makes of it)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from kerasnn.data.examples import ArrayExamples, Examples, FileExamples, TextExamples, TokenExamples
from kerasnn.data.split import hold_out, subset, subset_of_each
from kerasnn.data.tokenizer import Tokenizer
from kerasnn.errors import DataError
from kerasnn.ranges import Fraction, Positive

Hide = Callable[[Any, Any, Any, int], tuple[Any, Any]]

Resize = Literal["pad", "stretch", "crop"]

STATISTICS_EXAMPLES = 5_000
STATISTICS_FILES = 1_000  # Decoding costs milliseconds each; a thousand pictures give the mean to three digits.
SPLIT_SEED = 0  # One hold-out for every run: what varies between runs is the model, never who sits in validation.


@dataclass(frozen=True)
class Source:
    """A data set as it comes: what a function in `kerasnn.data` returns.

    Args:
        name: the set's name, as in `data=`.
        train: examples to learn from.
        test: examples for the one final test; None where the set has none (a share of train is then held out).
        validation: examples to choose by; None where the set has none (a share of train is then held out).
        class_names: one per class, in the order of the labels; none where the labels are tokens.
        licence: as stated where the set comes from.
        origin: who made it, and where it is found.
        tokenizer: between text and the tokens of the examples; None for pictures.
        encode: for texts: turns the splits into tokens, once it is settled who is in train, from which alone the
            tokenizer may learn; or by the `tokenizer` that it is given.
        reread: for texts that are tokens already: the same source, read by another tokenizer.
        hide: `hide(tokens, labels, seed, vocab_size)` hides some tokens of each training batch, which are then what is
            to be told, from both sides; the stream draws them anew in each epoch. None hides nothing.
    """

    name: str
    train: Examples
    class_names: tuple[str, ...]
    test: Examples | None = None
    validation: Examples | None = None
    licence: str = "not stated"
    origin: str = ""
    tokenizer: Tokenizer | None = None
    encode: Callable[..., tuple[dict[str, TokenExamples], Tokenizer]] | None = None
    reread: Callable[[Tokenizer], "Source"] | None = None
    hide: Hide | None = None


@dataclass(frozen=True)
class Bundle:
    """A data set ready to train on: three splits that share no example, and the facts that models and records need.

    Of pictures, `input_shape` is `(height, width, channels)` as the model sees it; the stream brings each picture there
    by `resize`. `mean` and `deviation` are per channel, of the training pictures scaled to [0, 1]; the stream
    standardises by them. Of tokens, `input_shape` is `(T,)`, or `(2, T)` for a source and a target; there is no `mean`
    and no `deviation`, and `resize` means nothing. `hide` is the source's.
    """

    name: str
    train: Examples
    validation: Examples
    test: Examples
    class_names: tuple[str, ...]
    input_shape: tuple[int, ...]
    resize: Resize
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    licence: str = "not stated"
    origin: str = ""
    tokenizer: Tokenizer | None = None
    hide: Hide | None = None

    @property
    def kind(self) -> Literal["pictures", "tokens"]:
        """What the examples are, and so which models fit."""
        return "tokens" if isinstance(self.train, TokenExamples) else "pictures"

    @property
    def vocab_size(self) -> int | None:
        """How many different tokens there are, the special ones included; None for pictures."""
        return self.tokenizer.vocab_size if self.tokenizer else None

    @property
    def num_classes(self) -> int:
        """How many answers a model can give: the classes, or the whole vocabulary where each position has a label."""
        each_position = isinstance(self.train, TokenExamples) and self.train.each_position
        return self.vocab_size if each_position else len(self.class_names)

    @property
    def splits(self) -> dict[str, Examples]:
        """The three splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @cached_property
    def hashes(self) -> dict[str, str]:
        """SHA-256 per split: equal hashes mean that two runs saw the same examples."""
        return {name: examples.digest for name, examples in self.splits.items()}


def make_bundle(
    source: Source,
    image_size: Positive | None = None,
    resize: Resize | None = None,
    test_fraction: Fraction = 0.2,
    validation_fraction: Fraction = 0.1,
    train_examples: Positive | None = None,
    train_per_class: Positive | None = None,
) -> Bundle:
    """Holds out what the source does not hold out itself, and works out what models and the stream need to know.

    Who is held out depends on the labels alone, never on the run's seed: runs are compared on the same examples. A
    source without a test split gives a share of its examples to one; validation is then taken from what is left.
    How many of train are used after that changes neither.
    Where each position has a label any example may be held out, unless the source has classes beside the labels: by
    these the same ones are then held out as of the source that learns them, so that weights of the one never saw what
    the other is tested on.

    Args:
        source: the set as it comes.
        image_size: side in pixels of the square that pictures are brought to; None keeps the set's own size.
        resize: how, as in `kerasnn.data.decode.fit`; None pads.
        test_fraction: share of train that becomes the test split where the source has none, class by class.
        validation_fraction: share of what is left then that becomes validation, likewise.
        train_examples: how many examples of train, after the hold-out, are used, class by class; None takes all.
        train_per_class: how many of each class instead, of all classes the same.

    Raises:
        DataError: fewer than two classes, a class without training examples, an empty split, a file in two splits,
            more train_examples than there are, too few for every class, more of a class than it has, files and no
            image_size, or tokens and one.

    Example:
        >>> make_bundle(digits(), image_size=32, resize="stretch").input_shape
        (32, 32, 1)
    """
    _check_options(source, image_size, resize)
    _check_source(source)
    train, test = _divide(source.train, source.test, test_fraction)
    train, validation = _divide(train, source.validation, validation_fraction)
    if train_examples is not None:
        train = _take_subset(source, train, train_examples)
    if train_per_class is not None:
        train = _take_of_each(source, train, train_per_class, train_examples)
    splits = {"train": train, "validation": validation, "test": test}
    _check_splits(source, splits)
    splits, tokenizer = source.encode(splits) if source.encode else (splits, source.tokenizer)
    shape = _input_shape(splits["train"], image_size)
    is_picture = isinstance(splits["train"], ArrayExamples | FileExamples)
    mean, deviation = _statistics(splits["train"], shape, resize or "pad") if is_picture else ((), ())
    return Bundle(
        source.name,
        **splits,
        class_names=source.class_names,
        input_shape=shape,
        resize=resize or "pad",
        mean=mean,
        deviation=deviation,
        licence=source.licence,
        origin=source.origin,
        tokenizer=tokenizer,
        hide=source.hide,
    )


def _check_options(source: Source, image_size: int | None, resize: Resize | None) -> None:
    for key, value in (("image_size", image_size), ("resize", resize)):
        if value is not None and isinstance(source.train, TokenExamples | TextExamples):
            raise DataError(
                f"data.{key}={value} does not apply to data={source.name}: its examples are tokens, not pictures; "
                f"leave data.{key} out"
            )
    if isinstance(source.train, FileExamples) and image_size is None:
        raise DataError(f"{source.name} has pictures of any size: give data.image_size=64, say, to bring them to one")


def _check_source(source: Source) -> None:
    if isinstance(source.train, TokenExamples):
        _check_tokens(source)
    if _each_position(source.train):
        return
    if len(source.class_names) < 2:
        raise DataError(f"{source.name} has {len(source.class_names)} class, a classifier needs at least 2")
    for name, examples in _given(source):
        labels = examples.labels
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(source.class_names):
            raise DataError(
                f"{source.name} has labels {labels.min()}..{labels.max()} in {name}, "
                f"but {len(source.class_names)} class names: labels must be 0..{len(source.class_names) - 1}"
            )


def _check_tokens(source: Source) -> None:
    if source.tokenizer is None:
        raise DataError(f"{source.name} has tokens and no tokenizer: a Source of tokens needs the one they come from")
    last = source.tokenizer.vocab_size - 1
    for name, examples in _given(source):
        if examples.tokens.shape[1:] != source.train.tokens.shape[1:]:
            raise DataError(
                f"{source.name} has sequences of {examples.tokens.shape[1:]} in {name} and of "
                f"{source.train.tokens.shape[1:]} in train: they must be of one length"
            )
        for what, least, values in (("tokens", 0, examples.tokens), ("labels", -1, examples.labels)):
            numbers = what == "tokens" or examples.each_position
            if numbers and values.size and not least <= values.min() <= values.max() <= last:
                raise DataError(
                    f"{source.name} has {what} {values.min()}..{values.max()} in {name}, "
                    f"but its tokenizer knows {last + 1}: they must be {least}..{last}"
                )


def _given(source: Source) -> list[tuple[str, Examples]]:
    splits = {"train": source.train, "validation": source.validation, "test": source.test}
    return [(name, examples) for name, examples in splits.items() if examples is not None]


def _each_position(examples: Examples) -> bool:
    return examples.labels.ndim > 1


def _strata(examples: Examples) -> np.ndarray:
    """The class of each example, which hold-outs keep in its share; a single one where positions have labels."""
    return np.zeros(len(examples), np.int32) if _each_position(examples) else examples.labels


def _divide(train: Examples, held: Examples | None, fraction: float) -> tuple[Examples, Examples]:
    if held is not None:
        return train, held
    beside = train.strata if isinstance(train, TextExamples) else None
    kept, taken = hold_out(_strata(train) if beside is None else beside, fraction, SPLIT_SEED)
    return train.take(kept), train.take(taken)


def _take_subset(source: Source, train: Examples, count: int) -> Examples:
    if count > len(train):
        raise DataError(f"data.train_examples={count} is more than the {len(train)} that {source.name} has to train on")
    if count < len(source.class_names):
        raise DataError(
            f"data.train_examples={count} is too few for the {len(source.class_names)} classes of {source.name}: "
            f"give at least one for each, at most {len(train)}"
        )
    taken = train.take(subset(_strata(train), count, SPLIT_SEED)) if count < len(train) else train
    lost = np.setdiff1d(_strata(train), _strata(taken))
    if len(lost):
        sizes = np.unique(train.labels, return_counts=True)[1]
        raise DataError(
            f"data.train_examples={count} leaves no training example of the class '{source.class_names[lost[0]]}', "
            f"since {source.name} has few of it: give {-(-len(train) // sizes.min())} or more, at most {len(train)}"
        )
    return taken


def _take_of_each(source: Source, train: Examples, count: int, other: int | None) -> Examples:
    if other is not None:
        raise DataError(
            f"data.train_per_class={count} and data.train_examples={other} both say how many to train on: give one"
        )
    if _each_position(train):
        raise DataError(f"data.train_per_class={count} needs classes, and {source.name} has none: use train_examples")
    sizes = np.bincount(train.labels, minlength=len(source.class_names))
    if sizes.all() and sizes.min() < count:
        raise DataError(
            f"data.train_per_class={count} is more than the {sizes.min()} that {source.name} has to train on of "
            f"the class '{source.class_names[int(sizes.argmin())]}': give {sizes.min()} or fewer, or hold out less"
        )
    return train.take(subset_of_each(train.labels, count, SPLIT_SEED))


def _check_splits(source: Source, splits: dict[str, Examples]) -> None:
    counts = np.bincount(_strata(splits["train"]), minlength=len(source.class_names))
    if not counts.all():
        empty = source.class_names[int(counts.argmin())]
        raise DataError(f"{source.name} has no training example of the class '{empty}': add some, or remove the class")
    for name, examples in splits.items():
        if not len(examples):
            shared_out = name != "train" and getattr(source, name) is None
            remedy = f", or raise data.{name}_fraction" if shared_out else ""
            raise DataError(f"{source.name} has no example left for {name}: add some{remedy}")
    seen: dict[str, str] = {}
    for name, examples in splits.items():
        for path in examples.paths if isinstance(examples, FileExamples) else ():
            if seen.setdefault(path, name) != name:
                raise DataError(f"{source.name} has {path} in {seen[path]} and in {name}: a file may be in one split")


def _input_shape(train: Examples, image_size: int | None) -> tuple[int, ...]:
    if isinstance(train, TokenExamples):
        return train.tokens.shape[1:]
    if isinstance(train, FileExamples):
        return image_size, image_size, train.channels
    height, width, channels = train.images.shape[1:]
    return (image_size or height, image_size or width, channels)


def _statistics(
    train: ArrayExamples | FileExamples, shape: tuple[int, ...], resize: Resize
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation per channel in [0, 1], of evenly spaced examples: exact whatever the order of summation."""
    from kerasnn.data.decode import load_examples  # Which itself needs the classes above.

    most = STATISTICS_FILES if isinstance(train, FileExamples) else STATISTICS_EXAMPLES
    chosen = np.unique(np.linspace(0, len(train) - 1, min(len(train), most)).round().astype(int))
    histogram = np.zeros((shape[-1], 256), np.int64)
    for part in np.array_split(chosen, -(-len(chosen) // 500)):
        pictures = load_examples(train.take(part), shape, resize)
        for channel in range(shape[-1]):
            histogram[channel] += np.bincount(pictures[..., channel].ravel(), minlength=256)
    levels = np.arange(256) / 255
    mean = histogram @ levels / histogram.sum(axis=1)
    variance = (histogram * (levels - mean[:, None]) ** 2).sum(axis=1) / histogram.sum(axis=1)
    deviation = np.maximum(np.sqrt(variance), 1 / 255)  # A channel without any variation is still divided by.
    return tuple(map(float, mean)), tuple(map(float, deviation))
