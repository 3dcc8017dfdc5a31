"""MNIST, Fashion-MNIST, CIFAR and digits in every form: tiny fakes with checksums of their own, and the real ones."""

import gzip
import hashlib
import io
import os
import pickle
import struct
import tarfile
import time
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest

from kerasnn.data import locate, verify
from kerasnn.data.archive import read_members
from kerasnn.data.bundle import make_bundle
from kerasnn.data.cifar import CIFAR100_CLASSES, cifar10, cifar100
from kerasnn.data.digits import digits
from kerasnn.data.mnist import fashion_mnist, mnist
from kerasnn.data.unpickle import unpickle
from kerasnn.errors import DataError

IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> Path:
    """Keras' cache in a temporary folder, and no network."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv("KERASNN_DATA", raising=False)

    def offline(url, timeout):
        raise URLError("Name or service not known")

    monkeypatch.setattr(locate, "urlopen", offline)
    return tmp_path / "keras" / "datasets"


def allow(monkeypatch, name: str, folder: Path) -> None:
    """Takes the files of a fake set as the official ones."""
    files = [path for path in folder.iterdir() if path.is_file()]
    sums = {path.name.replace(".idx", "-idx"): hashlib.md5(path.read_bytes()).hexdigest() for path in files}
    monkeypatch.setitem(verify.CHECKSUMS, name, sums)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def mnist_arrays() -> list[np.ndarray]:
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (50, 28, 28)).astype(np.uint8)
    labels = (np.arange(50) % 10).astype(np.uint8)
    return [images[:40], labels[:40], images[40:], labels[40:]]


def write_mnist(folder: Path, form: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    arrays = mnist_arrays()
    if form == "npz":
        np.savez(folder / "mnist.npz", **dict(zip(("x_train", "y_train", "x_test", "y_test"), arrays, strict=True)))
    for name, array in zip(IDX, arrays, strict=True) if form != "npz" else ():
        name = name.replace("-idx", ".idx") if form == "dotted" else name
        packed = form == "gz" or (form == "mixed" and "labels" in name)
        file = folder / (f"{name}.gz" if packed else name)
        file.write_bytes(gzip.compress(idx(array)) if packed else idx(array))


def batch(count: int, classes: int, start: int = 0) -> tuple[np.ndarray, list[int]]:
    random = np.random.RandomState(start)
    return random.randint(0, 256, (count, 3072)).astype(np.uint8), [(start + i) % classes for i in range(count)]


CIFAR = {
    "cifar10": {
        "python": ("cifar-10-batches-py", [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]),
        "binary": ("cifar-10-batches-bin", [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]),
    },
    "cifar100": {
        "python": ("cifar-100-python", ["train", "test"]),
        "binary": ("cifar-100-binary", ["train.bin", "test.bin"]),
    },
}
SOURCES = {"cifar10": (cifar10, 10), "cifar100": (cifar100, 100)}


def write_cifar(root: Path, name: str, form: str) -> Path:
    folder, files = CIFAR[name][form]
    (root / folder).mkdir(parents=True)
    classes = SOURCES[name][1]
    for number, file in enumerate(files):
        planes, labels = batch(20, classes, start=20 * number)
        if form == "python":
            key = b"labels" if name == "cifar10" else b"fine_labels"
            content = pickle.dumps({b"data": planes, key: labels, b"batch_label": b"fake"}, protocol=4)
        else:
            column = np.array(labels, np.uint8)[:, None]
            columns = [column] if name == "cifar10" else [column // 5, column]  # The coarse label comes first.
            content = np.hstack([*columns, planes]).tobytes()
        (root / folder / file).write_bytes(content)
    return root / folder


def pack(folder: Path, archive: Path) -> None:
    with tarfile.open(archive, "w:gz") as tar:
        for file in sorted(folder.iterdir()):
            tar.add(file, f"{folder.name}/{file.name}")


def expected_cifar(name: str) -> tuple[np.ndarray, list[int]]:
    planes, labels = batch(20, SOURCES[name][1])
    return planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels


@pytest.mark.parametrize("form", ["npz", "gz", "raw", "mixed", "dotted"])
@pytest.mark.parametrize("inside", [".", "mnist", "MNIST/raw"])
def test_mnist_reads_every_form_in_its_folder_or_a_parent(tmp_path, monkeypatch, form, inside):
    write_mnist(tmp_path / inside, form)
    allow(monkeypatch, "mnist", tmp_path / inside)
    source = mnist(str(tmp_path))
    images, labels, _, test_labels = mnist_arrays()
    assert (source.train.images[..., 0] == images).all()
    assert source.train.labels.tolist() == labels.tolist()
    assert source.test.labels.tolist() == test_labels.tolist()
    assert source.licence == "CC BY-SA 3.0"
    assert "LeCun" in source.origin


def test_fashion_mnist_reads_its_own_folder_beside_mnist(tmp_path, monkeypatch):
    write_mnist(tmp_path / "mnist", "gz")
    write_mnist(tmp_path / "fashion-mnist", "gz")
    allow(monkeypatch, "fashion_mnist", tmp_path / "fashion-mnist")
    source = fashion_mnist(str(tmp_path))
    assert source.class_names[0] == "T-shirt/top"
    assert len(source.train) == 40


def test_mistaking_mnist_for_fashion_mnist_is_told(tmp_path, monkeypatch):
    write_mnist(tmp_path, "gz")
    allow(monkeypatch, "mnist", tmp_path)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz is mnist's file: .* choose data=mnist, or get"):
        fashion_mnist(str(tmp_path))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("form", ["python", "binary"])
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_reads_every_form(tmp_path, monkeypatch, name, form, packed):
    folder = write_cifar(tmp_path / "made", name, form)
    allow(monkeypatch, name, folder)
    root = tmp_path / "made"
    if packed:
        root = tmp_path / "packed"
        root.mkdir()
        pack(folder, root / f"{folder.name.replace('batches-py', 'python').replace('batches-bin', 'binary')}.tar.gz")
        allow(monkeypatch, name, root)
    read, _ = SOURCES[name]
    source = read(str(root))
    images, labels = expected_cifar(name)
    assert (source.train.images[:20] == images).all()
    assert source.train.labels[:20].tolist() == labels
    assert len(source.train) == 20 * (len(CIFAR[name][form][1]) - 1)
    assert len(source.test) == 20
    if not packed:
        assert (read(str(folder)).train.images == source.train.images).all()  # The set's own folder.
    else:
        assert [path.name for path in root.iterdir()] == [path.name for path in root.glob("*.tar.gz")]


def test_cifar100_has_its_hundred_names():
    assert len(set(CIFAR100_CLASSES)) == 100
    assert list(CIFAR100_CLASSES) == sorted(CIFAR100_CLASSES)


def test_search_goes_from_dir_to_variable_to_keras_cache(tmp_path, monkeypatch, cache):
    for place in (tmp_path / "given", tmp_path / "shared", cache):
        write_mnist(place, "npz")
    allow(monkeypatch, "mnist", cache)
    monkeypatch.setenv("KERASNN_DATA", str(tmp_path / "shared"))
    read = []
    monkeypatch.setattr(
        locate, "read_verified", lambda name, path, url: read.append(path.parent.name) or path.read_bytes()
    )
    mnist(str(tmp_path / "given"))
    mnist(str(tmp_path / "elsewhere"))
    mnist()
    monkeypatch.delenv("KERASNN_DATA")
    mnist()
    assert read == ["given", "shared", "shared", "datasets"]


def test_keras_own_extracted_cifar_is_found(monkeypatch, cache):
    folder = write_cifar(cache / "cifar-10-batches-py-target", "cifar10", "python")
    allow(monkeypatch, "cifar10", folder)
    assert len(cifar10().train) == 100


def test_damage_names_file_sums_and_remedy(tmp_path, monkeypatch):
    folder = write_cifar(tmp_path, "cifar10", "python")
    allow(monkeypatch, "cifar10", folder)
    file = folder / "data_batch_3"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"x")
    sums = [hashlib.md5(content).hexdigest() for content in (whole, file.read_bytes())]
    with pytest.raises(DataError) as caught:
        cifar10(str(tmp_path))
    message = str(caught.value)
    assert f"{file} is damaged: expected md5 {sums[0]}, found {sums[1]}" in message
    assert "delete it and get it from https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz" in message
    assert "\n" not in message


def test_official_checksums_refuse_a_fake(tmp_path):
    write_cifar(tmp_path, "cifar10", "python")
    with pytest.raises(DataError, match="data_batch_1 is damaged: expected md5 c99cafc152244af753f735de768cd75f"):
        cifar10(str(tmp_path))


def test_absent_and_offline_is_one_line_with_files_places_and_address(tmp_path, cache):
    started = time.monotonic()
    with pytest.raises(DataError) as caught:
        cifar10(str(tmp_path))
    message = str(caught.value)
    for part in (
        "cifar-10-batches-py/data_batch_1",
        "cifar-10-binary.tar.gz",
        f"data.dir ({tmp_path})",
        "$KERASNN_DATA (not set)",
        str(cache),
        "Name or service not known",
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        "data.dir=FOLDER",
    ):
        assert part in message
    assert "\n" not in message
    assert time.monotonic() - started < 2
    assert not cache.exists()


def test_a_network_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr(locate, "CONNECT_SECONDS", 0.05)
    monkeypatch.setattr(locate, "urlopen", lambda url, timeout: time.sleep(1))
    with pytest.raises(TimeoutError, match=r"no answer within 0\.05 s"):
        locate.open_url("https://example.org/set.tar.gz")


def test_download_lands_verified_in_keras_cache(tmp_path, monkeypatch, cache):
    write_mnist(tmp_path / "server", "npz")
    allow(monkeypatch, "mnist", tmp_path / "server")
    content = (tmp_path / "server" / "mnist.npz").read_bytes()
    asked = []
    monkeypatch.setattr(locate, "urlopen", lambda url, timeout: asked.append(url) or io.BytesIO(content))
    assert len(mnist().train) == 40
    assert asked == ["https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"]
    assert [path.name for path in cache.iterdir()] == ["mnist.npz"]
    mnist()
    assert len(asked) == 1


def test_damaged_download_is_not_kept(monkeypatch, cache):
    monkeypatch.setattr(locate, "urlopen", lambda url, timeout: io.BytesIO(b"<html>moved</html>"))
    with pytest.raises(DataError, match=r"mnist.npz is damaged: expected sha256 731c5ac6"):
        mnist()
    assert list(cache.iterdir()) == []


def test_incomplete_set_is_named(tmp_path, caplog):
    folder = write_cifar(tmp_path, "cifar10", "python")
    (folder / "data_batch_4").unlink()
    with pytest.raises(DataError, match="was not found"):
        cifar10(str(tmp_path))
    assert f"{folder} is incomplete: data_batch_4 is missing" in caplog.text


class Command:
    """Unpickled the ordinary way, it runs a command."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_malicious_pickle_is_refused_without_running(tmp_path, monkeypatch):
    folder = write_cifar(tmp_path, "cifar10", "python")
    trace = tmp_path / "trace"
    (folder / "data_batch_1").write_bytes(pickle.dumps({b"data": Command(f"touch {trace}"), b"labels": []}))
    allow(monkeypatch, "cifar10", folder)
    with pytest.raises(
        DataError, match=r"data_batch_1 is not a safe pickle of arrays \(it asks for \w+.system\)"
    ) as caught:
        cifar10(str(tmp_path))
    assert "\n" not in str(caught.value)
    assert not trace.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy\nndarray\n((I1000000000000\ntS'u1'\ntR.",  # The array type itself may not be called.
        b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR.",
        pickle.dumps(np.array([Path("x")], dtype=object)),
        pickle.dumps(np.arange(3), protocol=4)[:-5],
        b"",
    ],
)
def test_unpickle_refuses_everything_but_plain_values_and_number_arrays(content):
    with pytest.raises(DataError, match="batch is not a safe pickle of arrays") as caught:
        unpickle(Path("batch"), content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("protocol", [3, 4])
def test_unpickle_builds_arrays_numbers_and_text(protocol):
    value = {"data": np.arange(6, dtype=np.uint8).reshape(2, 3), "labels": [1, 2.5, None], "names": {"a": (True,)}}
    read = unpickle(Path("batch"), pickle.dumps(value, protocol=protocol))
    assert (read["data"] == value["data"]).all()
    assert read["data"].dtype == np.uint8
    assert read["labels"] == value["labels"]
    assert read["names"] == value["names"]


def hostile_archive(path: Path, outside: Path) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name in ("../evil", "/tmp/evil", str(outside / "evil"), "cifar-10-batches-bin/../../evil"):
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"evil"))
        link = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
        good = tarfile.TarInfo("./set/good")
        good.size = 4
        tar.addfile(good, io.BytesIO(b"good"))


def test_archive_writes_nothing_and_follows_no_link(tmp_path):
    (tmp_path / "inside").mkdir()
    archive = tmp_path / "inside" / "cifar-10-binary.tar.gz"
    hostile_archive(archive, tmp_path)
    content = archive.read_bytes()
    assert read_members(archive, content, ["set/good"]) == [(archive / "set/good", b"good")]
    with pytest.raises(DataError, match=r"does not hold the file cifar-10-batches-bin/data_batch_1\.bin"):
        read_members(archive, content, ["cifar-10-batches-bin/data_batch_1.bin"])
    with pytest.raises(DataError, match="cannot be read as a tar archive"):
        read_members(archive, content[: len(content) // 2], ["set/good"])
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["cifar-10-binary.tar.gz", "inside"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0\0\x08\x03", "is not an idx file of bytes"),
        (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "is not an idx file of bytes"),
        (struct.pack(">BBBB3I", 0, 0, 8, 3, 40, 28, 28) + b"123", r"should hold \(40, 28, 28\) bytes and holds 3"),
    ],
)
def test_idx_that_is_none_is_refused(tmp_path, monkeypatch, content, message):
    write_mnist(tmp_path / "mnist", "raw")
    (tmp_path / "mnist" / IDX[0]).write_bytes(content)
    allow(monkeypatch, "mnist", tmp_path / "mnist")
    with pytest.raises(DataError, match=message):
        mnist(str(tmp_path))


def test_digits_are_the_real_ones_with_a_fixed_test_split():
    source = digits(dir="ignored")
    # A fifth of 1,797 is 359.4.
    assert (len(source.train), len(source.test)) == (1438, 359)
    assert source.train.images.shape[1:] == (8, 8, 1)
    assert (source.train.images.min(), source.train.images.max()) == (0, 255)
    both = np.concatenate([source.train.labels, source.test.labels])
    assert np.bincount(both).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    bundle = make_bundle(source, image_size=32, resize="stretch")
    assert bundle.input_shape == (32, 32, 1)
    assert bundle.hashes == make_bundle(digits(), image_size=32, resize="stretch").hashes


def test_real_cifar10_and_its_checksums(shared_data):
    source = cifar10(str(shared_data))
    assert source.train.images.shape == (50_000, 32, 32, 3)
    assert np.bincount(source.train.labels).tolist() == [5000] * 10
    assert np.bincount(source.test.labels).tolist() == [1000] * 10
    # The means that everyone quotes for CIFAR-10.
    assert source.train.images.mean((0, 1, 2)) / 255 == pytest.approx((0.4914, 0.4822, 0.4465), abs=1e-4)
    bundle = make_bundle(source)
    assert {name: len(examples) for name, examples in bundle.splits.items()} == {
        "train": 45_000,
        "validation": 5_000,
        "test": 10_000,
    }
    # The binary form holds the same pictures as records of label and planes, so its sums follow from these batches.
    planes = source.test.images.transpose(0, 3, 1, 2).reshape(10_000, -1)
    binary = np.hstack([source.test.labels[:, None].astype(np.uint8), planes]).tobytes()
    verify.verify("cifar10", Path("test_batch.bin"), binary, "")


def test_real_mnist_and_its_checksums(shared_data):
    source = mnist(str(shared_data))
    assert source.train.images.shape == (60_000, 28, 28, 1)
    assert source.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    # The mean that everyone quotes for MNIST.
    assert source.train.images.mean() / 255 == pytest.approx(0.1307, abs=1e-4)
    verify.verify("mnist", Path("t10k-images.idx3-ubyte"), idx(source.test.images[..., 0]), "")
    assert make_bundle(source, image_size=32).input_shape == (32, 32, 1)
