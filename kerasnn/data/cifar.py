"""CIFAR-10 and CIFAR-100: 50,000 + 10,000 colour pictures of 32×32 (Krizhevsky 2009).

Read from the python batches or from the binary ones, each as a folder or as the official tar.gz.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from kerasnn.data.archive import read_members
from kerasnn.data.bundle import Source
from kerasnn.data.examples import ArrayExamples
from kerasnn.data.locate import Contents, Form, Published, Splits, load
from kerasnn.data.unpickle import unpickle
from kerasnn.errors import DataError

_SIDE = 32
_ORIGIN = (
    "Alex Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009, "
    "https://www.cs.toronto.edu/~kriz/cifar.html"
)

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_HUNDRED = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man
    maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree
    plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper
    snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train
    trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
CIFAR100_CLASSES = tuple(_HUNDRED.split())


def cifar10(dir: str | None = None) -> Source:
    """Ten kinds of animals and vehicles, 32×32×3.

    Args:
        dir: the folder of the batches, or a folder that holds it (`cifar-10-batches-py`) or the tar.gz.

    Raises:
        DataError: a file is damaged, or the set is nowhere and cannot be downloaded.

    Example:
        >>> cifar10("data").train.images.shape
        (50000, 32, 32, 3)
    """
    train, test = load(_CIFAR10, dir)
    return Source("cifar10", train, CIFAR10_CLASSES, test, licence="not stated", origin=_ORIGIN)


def cifar100(dir: str | None = None) -> Source:
    """A hundred kinds of things (the fine labels), 32×32×3.

    Args:
        dir: the folder of the batches, or a folder that holds it (`cifar-100-python`) or the tar.gz.

    Raises:
        DataError: a file is damaged, or the set is nowhere and cannot be downloaded.
    """
    train, test = load(_CIFAR100, dir)
    return Source("cifar100", train, CIFAR100_CLASSES, test, licence="not stated", origin=_ORIGIN)


Batch = tuple[np.ndarray, np.ndarray]
"""Planes `(examples, 3072)` as they lie in the file, and labels `(examples,)`."""


def _python_batch(label_key: bytes, path: Path, content: bytes) -> Batch:
    batch = unpickle(path, content)
    try:
        return np.asarray(batch[b"data"]), np.asarray(batch[label_key], np.int32)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is not a CIFAR batch ({error}): get the official file") from error


def _binary_batch(label_bytes: int, path: Path, content: bytes) -> Batch:
    """Records of labels (the finest one last) and 3,072 bytes of red, green and blue planes."""
    record = label_bytes + 3 * _SIDE * _SIDE
    if not content or len(content) % record:
        raise DataError(f"{path} holds {len(content)} bytes, not a multiple of {record}: get the official file")
    rows = np.frombuffer(content, np.uint8).reshape(-1, record)
    return rows[:, label_bytes:], rows[:, label_bytes - 1].astype(np.int32)


def _read(batch: Callable[[Path, bytes], Batch], num_classes: int, contents: Contents) -> Splits:
    """All files but the last are for training."""
    parts = []
    for path, content in contents:
        parts.append(batch(path, content))
        _check(path, *parts[-1], num_classes)
    return _examples(parts[:-1]), _examples(parts[-1:])


def _check(path: Path, planes: np.ndarray, labels: np.ndarray, num_classes: int) -> None:
    if planes.dtype != np.uint8 or planes.shape != (len(labels), 3 * _SIDE * _SIDE):
        raise DataError(f"{path} has pictures {planes.shape} for {len(labels)} labels: get the official file")
    if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
        raise DataError(f"{path} has labels outside 0..{num_classes - 1}: get the official file")


def _examples(parts: list[Batch]) -> ArrayExamples:
    """Planes of red, green and blue, interleaved straight into one array."""
    labels = np.concatenate([labels for _, labels in parts])
    images = np.empty((len(labels), _SIDE, _SIDE, 3), np.uint8)
    start = 0
    for planes, _ in parts:
        images[start : start + len(planes)] = planes.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)
        start += len(planes)
    return ArrayExamples(images, labels)


def _read_archive(read: Callable[[Contents], Splits], names: tuple[str, ...], contents: Contents) -> Splits:
    path, content = next(contents)
    return read(iter(read_members(path, content, names)))


def _forms(folder: str, files: tuple[str, ...], archive: str, read: Callable[[Contents], Splits]) -> tuple[Form, Form]:
    kept_by_keras = f"{folder}-target/{folder}"
    from_archive = partial(_read_archive, read, tuple(f"{folder}/{file}" for file in files))
    return (
        Form(tuple((file,) for file in files), (folder, kept_by_keras), read),
        Form(((archive,),), (), from_archive),
    )


_TEN = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
_CIFAR10 = Published(
    "cifar10",
    _forms("cifar-10-batches-py", _TEN, "cifar-10-python.tar.gz", partial(_read, partial(_python_batch, b"labels"), 10))
    + _forms(
        "cifar-10-batches-bin",
        tuple(f"{file}.bin" for file in _TEN),
        "cifar-10-binary.tar.gz",
        partial(_read, partial(_binary_batch, 1), 10),
    ),
    ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
)
_CIFAR100 = Published(
    "cifar100",
    _forms(
        "cifar-100-python",
        ("train", "test"),
        "cifar-100-python.tar.gz",
        partial(_read, partial(_python_batch, b"fine_labels"), 100),
    )
    + _forms(
        "cifar-100-binary",
        ("train.bin", "test.bin"),
        "cifar-100-binary.tar.gz",
        partial(_read, partial(_binary_batch, 2), 100),
    ),
    ("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
)
