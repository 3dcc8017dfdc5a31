"""The official checksums, and the one way to read a file that has one.

The sums of the CIFAR python batches, of the archives and of the .gz files are their publishers' own, as torchvision,
Keras and TensorFlow Datasets carry them. Those of unpacked idx and .bin files are of the content of these archives.
"""

import logging
from hashlib import new
from pathlib import Path

from kerasnn.errors import DataError

log = logging.getLogger(__name__)

# md5 has 32 digits, sha256 has 64. CIFAR-100's unpacked .bin files have no published sum: their size is checked.
CHECKSUMS: dict[str, dict[str, str]] = {
    "mnist": {
        "mnist.npz": "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
    "cifar10": {
        "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
        "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
        "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
        "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
        "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
        "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
        "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
    },
    "cifar100": {
        "cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85",
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8",
    },
}


def read_verified(name: str, path: Path, url: str) -> bytes:
    """The bytes of one file of the published set `name`, if they are the official ones.

    Args:
        name: a key of CHECKSUMS: the set's name, as in `data=`.
        path: the file; its name is looked up in the table (`train-images.idx3-ubyte` counts as `train-images-idx3-…`).
        url: where a whole copy is found, for the message.

    Raises:
        DataError: the file cannot be read, or it is damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"data={name}: {path} cannot be read ({error.strerror}): check its permissions") from error
    verify(name, path, content, url)
    return content


def verify(name: str, path: Path, content: bytes, url: str) -> None:
    """Raises DataError where `content`, which came from `path`, is not what the publishers of `name` released."""
    file = path.name.replace(".idx", "-idx")
    expected = CHECKSUMS[name].get(file)
    if expected is None:
        log.info("data=%s: %s has no published checksum, its size is checked instead", name, path)
        return
    kind, found = _digest(content, expected)
    if found == expected:
        return
    other = next(
        (n for n, sums in CHECKSUMS.items() if sums.get(file) == _digest(content, sums.get(file, ""))[1]), None
    )
    reason = f"is {other}'s file" if other else "is damaged"
    remedy = f"choose data={other}, or get {name}" if other else "delete it and get it"
    raise DataError(
        f"data={name}: {path} {reason}: expected {kind} {expected}, found {found} in {len(content)} bytes; "
        f"{remedy} from {url}"
    )


def _digest(content: bytes, like: str) -> tuple[str, str]:
    kind = "sha256" if len(like) == 64 else "md5"
    return kind, new(kind, content, usedforsecurity=False).hexdigest()
