"""MNIST and Fashion-MNIST: 60,000 + 10,000 grayscale pictures of 28×28, ten classes.

Read from `mnist.npz` (MNIST only) or from the four idx files, each packed (.gz) or not.
"""

from io import BytesIO
from pathlib import Path

import numpy as np

from kerasnn.data.archive import gunzip
from kerasnn.data.bundle import Source
from kerasnn.data.examples import ArrayExamples
from kerasnn.data.locate import Contents, Form, Published, Splits, load
from kerasnn.errors import DataError

_IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_UBYTE = 8  # The idx code of unsigned bytes.


def mnist(dir: str | None = None) -> Source:
    """Handwritten digits, 28×28×1 (LeCun, Bottou, Bengio & Haffner 1998).

    Args:
        dir: the folder of the files, or a folder that holds it as `mnist` or `MNIST/raw`.

    Raises:
        DataError: a file is damaged, or the set is nowhere and cannot be downloaded.

    Example:
        >>> mnist("data").train.images.shape
        (60000, 28, 28, 1)
    """
    train, test = load(_MNIST, dir)
    return Source(
        "mnist",
        train,
        tuple("0123456789"),
        test,
        licence="CC BY-SA 3.0",
        origin="Yann LeCun, Corinna Cortes, Christopher Burges: The MNIST database of handwritten digits, 1998, "
        "http://yann.lecun.com/exdb/mnist/",
    )


def fashion_mnist(dir: str | None = None) -> Source:
    """Pictures of clothing, 28×28×1 (Xiao, Rasul & Vollgraf 2017).

    Args:
        dir: the folder of the files, or a folder that holds it as `fashion-mnist` or `FashionMNIST/raw`.

    Raises:
        DataError: a file is damaged, or the set is nowhere and cannot be downloaded.
    """
    train, test = load(_FASHION, dir)
    return Source(
        "fashion_mnist",
        train,
        ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        test,
        licence="MIT",
        origin="Han Xiao, Kashif Rasul, Roland Vollgraf: Fashion-MNIST, 2017, arXiv:1708.07747, "
        "https://github.com/zalandoresearch/fashion-mnist",
    )


def _read_npz(contents: Contents) -> Splits:
    path, content = next(contents)
    try:
        with np.load(BytesIO(content), allow_pickle=False) as arrays:
            found = [arrays[key] for key in ("x_train", "y_train", "x_test", "y_test")]
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path} is not MNIST's npz file ({error}): get it again") from error
    return _examples(path, *found[:2]), _examples(path, *found[2:])


def _read_idx(contents: Contents) -> Splits:
    images, labels, test_images, test_labels = ((path, _parse(path, gunzip(path, data))) for path, data in contents)
    return _examples(*images, labels[1]), _examples(*test_images, test_labels[1])


def _parse(path: Path, content: bytes) -> np.ndarray:
    """An idx file: two zero bytes, the type, the number of axes, each axis as a big-endian int, then the values."""
    axes = content[3] if len(content) > 3 else 0
    start = 4 + 4 * axes
    if content[:3] != bytes((0, 0, _UBYTE)) or len(content) < start:
        raise DataError(f"{path} is not an idx file of bytes: get it again")
    shape = tuple(np.frombuffer(content[4:start], ">i4").tolist())
    if len(content) - start != np.prod(shape):
        raise DataError(f"{path} should hold {shape} bytes and holds {len(content) - start}: get it again")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _examples(path: Path, images: np.ndarray, labels: np.ndarray) -> ArrayExamples:
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise DataError(f"{path} has pictures {images.shape} for labels {labels.shape}: get it again")
    return ArrayExamples(images[..., None], labels.astype(np.int32))


def _idx_form(*folders: str) -> Form:
    return Form(tuple((name, f"{name}.gz", name.replace("-idx", ".idx")) for name in _IDX), folders, _read_idx)


_MNIST = Published(
    "mnist",
    (Form((("mnist.npz",),), ("mnist", "MNIST/raw"), _read_npz), _idx_form("mnist", "MNIST/raw")),
    ("https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",),
)
_FASHION = Published(
    "fashion_mnist",
    (_idx_form("fashion-mnist", "fashion_mnist", "FashionMNIST/raw"),),
    tuple(f"https://storage.googleapis.com/tensorflow/tf-keras-datasets/{name}.gz" for name in _IDX),
    cache="fashion-mnist",
)
