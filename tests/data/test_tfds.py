"""Sets of TensorFlow Datasets, built in a temporary folder."""

from urllib.error import URLError

import numpy as np
import pytest
import tensorflow_datasets

from kerasnn.data import tfds as source
from kerasnn.data.bundle import make_bundle
from kerasnn.data.tfds import tfds
from kerasnn.errors import DataError

FEATURES = tensorflow_datasets.features


class Builder(tensorflow_datasets.core.GeneratorBasedBuilder, skip_registration=True):
    """Pictures filled with their own number; every second one is of class b."""

    VERSION = tensorflow_datasets.core.Version("1.0.0")
    code_path = None  # Or checksums of downloads would be looked for beside this file.
    features = FEATURES.FeaturesDict(
        {
            "image": FEATURES.Image(shape=(8, 6, 1)),
            "label": FEATURES.ClassLabel(names=["a", "b"]),
            "id": FEATURES.Text(),
        }
    )
    splits = {"train": 40, "test": 10}  # noqa: RUF012

    def _info(self):
        return tensorflow_datasets.core.DatasetInfo(
            builder=self, features=self.features, homepage="https://example.org", citation="@misc{stripes}"
        )

    def _split_generators(self, dl_manager):
        return {name: self._generate_examples(name, count) for name, count in self.splits.items()}

    def _generate_examples(self, split, count):
        for i in range(count):
            yield i, {"image": np.full((8, 6, 1), i, np.uint8), "label": i % 2, "id": str(i)}


class Stripes(Builder, skip_registration=True):
    name = "stripes"


class Ragged(Builder, skip_registration=True):
    name = "ragged"
    features = FEATURES.FeaturesDict(
        {"photo": FEATURES.Image(shape=(None, None, 3)), "species": FEATURES.ClassLabel(num_classes=2)}
    )
    splits = {"train": 40, "test": 3}  # noqa: RUF012

    def _generate_examples(self, split, count):
        for i in range(count):
            label = i % 2 if split == "train" else -1
            yield i, {"photo": np.full((8 + i, 20, 3), 7, np.uint8), "species": label}


class Sentences(Builder, skip_registration=True):
    name = "sentences"
    features = FEATURES.FeaturesDict({"text": FEATURES.Text(), "label": FEATURES.ClassLabel(num_classes=2)})

    def _generate_examples(self, split, count):
        yield 0, {"text": "one", "label": 0}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    for builder in (Stripes, Ragged, Sentences):
        builder(data_dir=str(folder)).download_and_prepare()
    return folder


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    def refuse(url):
        raise URLError("Name or service not known")

    monkeypatch.setattr(source, "open_url", refuse)
    monkeypatch.setattr(tensorflow_datasets.core.constants, "DATA_DIR", str(tmp_path / "own"))


@pytest.mark.parametrize("place", [".", "stripes"])
def test_tfds_reads_a_prepared_set_from_its_folder_or_its_parent(prepared, place):
    read = tfds("stripes:1.0.0", dir=str(prepared / place))
    assert read.name == "tfds/stripes:1.0.0"
    assert read.class_names == ("a", "b")
    assert read.train.images.shape == (40, 8, 6, 1)
    assert len(read.test) == 10
    # Whatever the order on disk, each picture has kept its label.
    assert (read.train.images[:, 0, 0, 0] % 2 == read.train.labels).all()
    assert read.origin == "https://example.org @misc{stripes}"
    assert tfds("stripes", dir=str(prepared)).train.digest == read.train.digest
    assert make_bundle(read, image_size=8).input_shape == (8, 8, 1)


def test_tfds_looks_in_the_variable(prepared, monkeypatch, tmp_path):
    monkeypatch.setenv("KERASNN_DATA", str(prepared))
    assert len(tfds("stripes", dir=str(tmp_path)).train) == 40


def test_tfds_brings_pictures_of_many_sizes_to_one(prepared, caplog):
    with pytest.raises(DataError, match=r"pictures of many sizes: give data\.picture_size=64"):
        tfds("ragged", dir=str(prepared))
    read = tfds("ragged", dir=str(prepared), picture_size=16)
    assert read.train.images.shape == (40, 16, 16, 3)
    assert (read.train.images == 7).all()
    assert read.test is None
    assert "has no labels in its split test" in caplog.text


def test_tfds_needs_a_picture_and_a_label(prepared):
    with pytest.raises(DataError, match=r"not a set of pictures with one class each: its features are \w+, \w+"):
        tfds("sentences", dir=str(prepared))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("minst", "unknown set 'minst': did you mean 'mnist'"),
        ("mnist:9.9.9", "'mnist:9.9.9' cannot be opened: .*cannot be loaded at version 9.9.9"),
        ("cmaterdb/bangal", "'cmaterdb/bangal' cannot be opened"),
    ],
)
def test_tfds_of_an_unknown_name_is_one_line(name, message):
    with pytest.raises(DataError, match=message) as caught:
        tfds(name)
    assert "\n" not in str(caught.value)


def test_tfds_offline_is_one_line_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "_builder", lambda catalogue, name, place: Stripes(data_dir=str(place)))
    with pytest.raises(DataError) as caught:
        tfds("stripes", dir=str(tmp_path))
    message = str(caught.value)
    assert "'stripes' is not prepared" in message
    assert "Name or service not known" in message
    assert "`tfds build stripes`" in message
    assert "\n" not in message


def test_tfds_too_large_for_memory_is_told(prepared, monkeypatch):
    monkeypatch.setattr(source, "MEMORY_BYTES", 1000)
    # 40 pictures of 8×6 are 1,920 bytes.
    with pytest.raises(DataError, match=r"'stripes' would take .* GiB: export it to files"):
        tfds("stripes", dir=str(prepared))
