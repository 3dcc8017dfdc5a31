"""Any set of TensorFlow Datasets that has pictures and class labels, read into memory."""

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from kerasnn.data.bundle import Source
from kerasnn.data.decode import fit
from kerasnn.data.examples import ArrayExamples
from kerasnn.data.locate import open_url
from kerasnn.errors import DataError, unknown
from kerasnn.ranges import Positive

log = logging.getLogger(__name__)

MEMORY_BYTES = 8 << 30
"""The most that the pictures of a set may take; a larger one is better exported to files."""

_SPLITS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}


def tfds(name: str, dir: str | None = None, picture_size: Positive | None = None) -> Source:
    """A set from the catalogue of TensorFlow Datasets: https://www.tensorflow.org/datasets/catalog

    Prepared sets are looked for in `dir`, `$KERASNN_DATA` and TensorFlow Datasets' own folder (`$TFDS_DATA_DIR` or
    `~/tensorflow_datasets`); one that is nowhere is downloaded into the latter. A split without labels is left out.

    Args:
        name: as in the catalogue, with the config and the version if wanted: `kmnist`, `cmaterdb/bangla:1.0.0`.
        dir: the set's folder, or the folder that holds it.
        picture_size: side in pixels to which pictures are brought while they are read (shorter side scaled, middle
            kept); needed where they come in many sizes.

    Raises:
        DataError: an unknown name, no network, no picture or no class label among the features, too much for memory.

    Example:
        >>> tfds("kmnist").train.images.shape
        (60000, 28, 28, 1)
    """
    builder = _find(name, dir)
    image, label = _keys(name, builder.info)
    found: dict[str, ArrayExamples] = {}
    for split, part in _SPLITS.items():
        if split in builder.info.splits and part not in found:
            examples = _read(name, builder, split, image, label, picture_size)
            if examples:
                found[part] = examples
    if "train" not in found:
        raise DataError(
            f"data=tfds: '{name}' has no labelled split train: its splits are {', '.join(builder.info.splits)}"
        )
    licence = (builder.info.redistribution_info.license or "not stated").strip()
    origin = f"{builder.info.homepage} {' '.join(str(builder.info.citation).split())}".strip()
    names = tuple(builder.info.features[label].names)
    return Source(f"tfds/{name}", class_names=names, licence=licence, origin=origin, **found)


def _find(name: str, dir: str | None) -> Any:
    """The builder of a prepared set, from the first place that has it."""
    import tensorflow_datasets as catalogue

    folder = name.partition(":")[0].partition("/")[0]
    given = [Path(place).expanduser() for place in (dir, os.environ.get("KERASNN_DATA")) if place]
    own = Path(catalogue.core.constants.DATA_DIR)
    for place in (*given, *(place.parent for place in given if place.name == folder), own):
        if (place / folder).is_dir():
            builder = _builder(catalogue, name, place)
            if builder.is_prepared():
                return builder
    return _download(name, _builder(catalogue, name, own))


def _builder(catalogue: Any, name: str, place: Path) -> Any:
    try:
        return catalogue.builder(name, data_dir=str(place))
    except catalogue.core.registered.DatasetNotFoundError as error:
        raise DataError(
            f"data=tfds: {_unknown_name(name, catalogue.list_builders(with_community_datasets=False))}"
        ) from error
    except (AssertionError, ValueError) as error:
        raise DataError(f"data=tfds: '{name}' cannot be opened: {_first_line(error)}") from error


def _unknown_name(name: str, known: list[str]) -> str:
    """The catalogue has more than a thousand names, too many for one line."""
    return unknown("set", name, known).partition(" known: ")[0] + " see https://www.tensorflow.org/datasets/catalog"


def _download(name: str, builder: Any) -> Any:
    """TensorFlow Datasets tries again for minutes where there is no network, so one look comes first."""
    address = "https://storage.googleapis.com"
    try:
        address = next(iter(builder.url_infos or ()), address)
        open_url(address).close()
        log.info("data=tfds: downloading '%s' to %s", name, builder.data_path)
        builder.download_and_prepare()
    except ImportError as error:
        raise DataError(f"data=tfds: '{name}' needs a package to be prepared: pip install {error.name}") from error
    except Exception as error:  # Builders are the catalogue's code and fail in ways of their own.
        raise DataError(
            f"data=tfds: '{name}' is not prepared (looked in data.dir, $KERASNN_DATA and {builder.data_dir}), and the "
            f"download from {address} failed ({_first_line(error)}); prepare it where there is a network, with "
            f"`tfds build {name}`, and give its folder as data.dir=FOLDER"
        ) from error
    return builder


def _keys(name: str, info: Any) -> tuple[str, str]:
    """The features to learn from and to predict: those of supervised use, or the only picture and the only label."""
    from tensorflow_datasets.core.features import ClassLabel, Image

    features = dict(info.features.items()) if hasattr(info.features, "items") else {}
    pictures = [key for key, feature in features.items() if isinstance(feature, Image)]
    labels = [key for key, feature in features.items() if isinstance(feature, ClassLabel)]
    usual = tuple(info.supervised_keys or ("image", "label"))[:2]
    if usual[0] in pictures and usual[1] in labels:
        return usual
    if len(pictures) == 1 and len(labels) == 1:
        return pictures[0], labels[0]
    raise DataError(
        f"data=tfds: '{name}' is not a set of pictures with one class each: its features are {', '.join(features)}"
    )


def _read(name: str, builder: Any, split: str, image: str, label: str, size: int | None) -> ArrayExamples | None:
    import tensorflow_datasets as catalogue

    *sides, channels = builder.info.features[image].shape
    if channels not in (1, 3) or builder.info.features[image].np_dtype != np.uint8:
        raise DataError(f"data=tfds: '{name}' has pictures of {channels} channels, 1 or 3 of 8 bits can be read")
    if None in sides and size is None:
        raise DataError(f"data=tfds: '{name}' has pictures of many sizes: give data.picture_size=64, say")
    shape = (builder.info.splits[split].num_examples, *([size, size] if size else sides), channels)
    if np.prod(shape, dtype=float) > MEMORY_BYTES:
        raise DataError(
            f"data=tfds: '{name}' would take {np.prod(shape, dtype=float) / 2**30:.1f} GiB: export it to files"
        )
    images, labels = np.empty(shape, np.uint8), np.empty(shape[0], np.int32)
    in_order = catalogue.ReadConfig(interleave_cycle_length=1, try_autocache=False)
    stream = builder.as_dataset(split=split, shuffle_files=False, read_config=in_order)
    for i, example in enumerate(stream.as_numpy_iterator()):
        images[i] = fit(example[image], size, "crop") if size else example[image]
        labels[i] = example[label]
    if not len(labels) or labels.min() < 0:
        log.warning("data=tfds: '%s' has no labels in its split %s, which is left out", name, split)
        return None
    return ArrayExamples(images, labels)


def _first_line(error: Exception) -> str:
    lines = [line for line in str(getattr(error, "reason", None) or error).splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__
