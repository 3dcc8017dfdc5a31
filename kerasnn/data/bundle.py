"""What every data source returns (`Source`), and what training sees (`Bundle`, which `make_bundle` makes of it)."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np

from kerasnn.data.split import hold_out, subset
from kerasnn.errors import DataError
from kerasnn.ranges import Fraction, Positive

Resize = Literal["pad", "stretch", "crop"]

TEST_FRACTION = 0.2
STATISTICS_EXAMPLES = 5_000
STATISTICS_FILES = 1_000  # Decoding costs milliseconds each; a thousand pictures give the mean to three digits.
SPLIT_SEED = 0  # One hold-out for every run: what varies between runs is the model, never who sits in validation.


@dataclass(frozen=True)
class ArrayExamples:
    """Labelled pictures in memory.

    Args:
        images: uint8 `(examples, height, width, channels)`.
        labels: int32 `(examples,)`, the index of the class.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> "ArrayExamples":
        """The examples at `indices`, in that order."""
        return ArrayExamples(self.images[indices], self.labels[indices])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of pictures and labels, in order."""
        seal = sha256(repr(self.images.shape).encode())
        seal.update(np.ascontiguousarray(self.images))
        seal.update(np.ascontiguousarray(self.labels, dtype="<i4"))
        return seal.hexdigest()


@dataclass(frozen=True)
class FileExamples:
    """Labelled pictures on disk, decoded when they are needed.

    Args:
        paths: file names, `(examples,)`.
        labels: int32 `(examples,)`, the index of the class.
        channels: 1 (grayscale) or 3 (colour): what every file is converted to.
    """

    paths: tuple[str, ...]
    labels: np.ndarray
    channels: int = 3

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> "FileExamples":
        """The examples at `indices`, in that order."""
        return FileExamples(tuple(self.paths[i] for i in indices), self.labels[indices], self.channels)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the files' bytes and labels, in order."""
        seal = sha256()
        for path, label in zip(self.paths, self.labels, strict=True):
            seal.update(sha256(Path(path).read_bytes()).digest() + int(label).to_bytes(4, "little"))
        return seal.hexdigest()


Examples = ArrayExamples | FileExamples


@dataclass(frozen=True)
class Source:
    """A data set as it comes: what a function in `kerasnn.data` returns.

    Args:
        name: the set's name, as in `data=`.
        train: examples to learn from.
        test: examples for the one final test; None where the set has none (a share of train is then held out).
        validation: examples to choose by; None where the set has none (a share of train is then held out).
        class_names: one per class, in the order of the labels.
        licence: as stated where the set comes from.
        origin: who made it, and where it is found.
    """

    name: str
    train: Examples
    class_names: tuple[str, ...]
    test: Examples | None = None
    validation: Examples | None = None
    licence: str = "not stated"
    origin: str = ""


@dataclass(frozen=True)
class Bundle:
    """A data set ready to train on: three splits that share no example, and the facts that models and records need.

    `input_shape` is `(height, width, channels)` as the model sees it; the stream brings each picture there by `resize`.
    `mean` and `deviation` are per channel, of the training pictures scaled to [0, 1]; the stream standardises by them.
    """

    name: str
    train: Examples
    validation: Examples
    test: Examples
    class_names: tuple[str, ...]
    input_shape: tuple[int, int, int]
    resize: Resize
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    licence: str = "not stated"
    origin: str = ""

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

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
    resize: Resize = "pad",
    validation_fraction: Fraction = 0.1,
    train_examples: Positive | None = None,
) -> Bundle:
    """Holds out what the source does not hold out itself, and works out what models and the stream need to know.

    Who is held out depends on the labels alone, never on the run's seed: runs are compared on the same examples. A
    source without a test split gives a fifth of its examples to one; validation is then taken from what is left.

    Args:
        source: the set as it comes.
        image_size: side in pixels of the square that pictures are brought to; None keeps the set's own size.
        resize: how, as in `kerasnn.data.decode.fit`.
        validation_fraction: share of train that becomes validation where the source has none, class by class.
        train_examples: how many examples of train, after the hold-out, are used, class by class; None takes all.

    Raises:
        DataError: fewer than two classes, a class without training examples, an empty split, a file in two splits,
            more train_examples than there are, too few for every class, or files and no image_size.

    Example:
        >>> make_bundle(digits(), image_size=32, resize="stretch").input_shape
        (32, 32, 1)
    """
    _check_source(source, image_size)
    train, test = _divide(source.train, source.test, TEST_FRACTION)
    train, validation = _divide(train, source.validation, validation_fraction)
    if train_examples is not None:
        train = _take_subset(source, train, train_examples)
    _check_splits(source, {"train": train, "validation": validation, "test": test})
    shape = _input_shape(train, image_size)
    mean, deviation = _statistics(train, shape, resize)
    return Bundle(
        source.name,
        train,
        validation,
        test,
        source.class_names,
        shape,
        resize,
        mean,
        deviation,
        source.licence,
        source.origin,
    )


def _check_source(source: Source, image_size: int | None) -> None:
    given = {"train": source.train, "validation": source.validation, "test": source.test}
    if len(source.class_names) < 2:
        raise DataError(f"{source.name} has {len(source.class_names)} class, a classifier needs at least 2")
    for name, examples in given.items():
        labels = () if examples is None else examples.labels
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(source.class_names):
            raise DataError(
                f"{source.name} has labels {labels.min()}..{labels.max()} in {name}, "
                f"but {len(source.class_names)} class names: labels must be 0..{len(source.class_names) - 1}"
            )
    if isinstance(source.train, FileExamples) and image_size is None:
        raise DataError(f"{source.name} has pictures of any size: give data.image_size=64, say, to bring them to one")


def _divide(train: Examples, held: Examples | None, fraction: float) -> tuple[Examples, Examples]:
    if held is not None:
        return train, held
    kept, taken = hold_out(train.labels, fraction, SPLIT_SEED)
    return train.take(kept), train.take(taken)


def _take_subset(source: Source, train: Examples, count: int) -> Examples:
    if count > len(train):
        raise DataError(f"data.train_examples={count} is more than the {len(train)} that {source.name} has to train on")
    if count < len(source.class_names):
        raise DataError(
            f"data.train_examples={count} is too few for the {len(source.class_names)} classes of {source.name}: "
            f"give at least one for each, at most {len(train)}"
        )
    taken = train.take(subset(train.labels, count, SPLIT_SEED)) if count < len(train) else train
    lost = np.setdiff1d(train.labels, taken.labels)
    if len(lost):
        sizes = np.unique(train.labels, return_counts=True)[1]
        raise DataError(
            f"data.train_examples={count} leaves no training example of the class '{source.class_names[lost[0]]}', "
            f"since {source.name} has few of it: give {-(-len(train) // sizes.min())} or more, at most {len(train)}"
        )
    return taken


def _check_splits(source: Source, splits: dict[str, Examples]) -> None:
    counts = np.bincount(splits["train"].labels, minlength=len(source.class_names))
    if not counts.all():
        empty = source.class_names[int(counts.argmin())]
        raise DataError(f"{source.name} has no training example of the class '{empty}': add some, or remove the class")
    for name, examples in splits.items():
        if not len(examples):
            remedy = ", or raise data.validation_fraction" if name == "validation" and source.validation is None else ""
            raise DataError(f"{source.name} has no example left for {name}: add some{remedy}")
    seen: dict[str, str] = {}
    for name, examples in splits.items():
        for path in examples.paths if isinstance(examples, FileExamples) else ():
            if seen.setdefault(path, name) != name:
                raise DataError(f"{source.name} has {path} in {seen[path]} and in {name}: a file may be in one split")


def _input_shape(train: Examples, image_size: int | None) -> tuple[int, int, int]:
    if isinstance(train, FileExamples):
        return image_size, image_size, train.channels
    height, width, channels = train.images.shape[1:]
    return (image_size or height, image_size or width, channels)


def _statistics(
    train: Examples, shape: tuple[int, int, int], resize: Resize
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
