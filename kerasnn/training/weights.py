"""Published ImageNet weights: the networks of keras.applications, moved into ours layer by layer, by name.

Ours all see RGB scaled to [0, 1], then (x - mean) / deviation per channel; `contract` says by which mean and deviation.
Where a published network was trained on something else, its first kernel makes good the difference, and biases before
batch normalization, which ours do without, move into its moving mean: the outputs are the same.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path
from typing import Literal

import keras
import numpy as np
from keras import layers

from kerasnn.data.bundle import Bundle
from kerasnn.errors import DataError, ModelError
from kerasnn.models.heads import is_head
from kerasnn.models.mobilenet import block_filters
from kerasnn.training.contract import Contract, warn_of_size

Channels = tuple[float, float, float]

HDF5 = b"\x89HDF\r\n\x1a\n"  # The first bytes of such a file.

DEVIATION = (0.229, 0.224, 0.225)

# How keras.applications calls a way to prepare pictures: mean and deviation per channel of RGB in [0, 1]
CONTRACTS = {
    "torch": ((0.485, 0.456, 0.406), DEVIATION),
    "tf": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    # BGR in [0, 255] less its mean, undivided: `_first_kernel` turns and scales it.
    "caffe": ((123.68 / 255, 116.779 / 255, 103.939 / 255), DEVIATION),
}


@dataclass(frozen=True)
class Reference:
    """A network of keras.applications.

    Args:
        application: its function there.
        mode: how its pictures are prepared, a row of CONTRACTS; also where the preparation is part of the model.
        size: height and width of its pictures.
        classifier: the name of its last layer.
    """

    application: str
    mode: Literal["caffe", "tf", "torch"]
    size: int = 224
    classifier: str = "predictions"


REFERENCES = {
    "vgg16": Reference("VGG16", "caffe"),
    "vgg19": Reference("VGG19", "caffe"),
    "resnet50": Reference("ResNet50", "caffe"),
    "resnet101": Reference("ResNet101", "caffe"),
    "resnet152": Reference("ResNet152", "caffe"),
    "densenet121": Reference("DenseNet121", "torch"),
    "mobilenet_v2": Reference("MobileNetV2", "tf"),
    **{
        f"efficientnet_b{number}": Reference(f"EfficientNetB{number}", "torch", size)
        for number, size in enumerate((224, 240, 260, 300, 380, 456, 528, 600))
    },
    "convnext_tiny": Reference("ConvNeXtTiny", "torch", classifier="convnext_tiny_head_dense"),
}

ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)  # Widths of MobileNetV2 that are published.

UNREADABLE = (ValueError, OSError, KeyError)  # What Keras raises for a file of another network, or a damaged one.


@dataclass(frozen=True)
class Report:
    """What became of each of our layers with weights.

    Args:
        loaded: took the published values.
        skipped: have other shapes, and keep their own start: name and reason.
        missing: have no counterpart, and keep their own start.
    """

    loaded: tuple[str, ...]
    skipped: dict[str, str]
    missing: tuple[str, ...]

    def __str__(self) -> str:
        new = [*(f"{name} ({reason})" for name, reason in self.skipped.items()), *self.missing]
        return f"{len(self.loaded)} layers loaded, {', '.join(new) or 'none'} new"


def as_trained(bundle: Bundle, source: str, variant: str) -> Bundle:
    """`bundle`, standardised by what the published weights of `variant` expect instead of by its own statistics.

    Pictures of another size than those that the weights were trained on are a warning.

    Raises:
        ModelError: there are no published weights, or the pictures are not in colour.
    """
    published = as_published(variant)
    _check_channels(variant, source, bundle.input_shape[-1])
    warn_of_size(published, f"the published {variant}", bundle)
    return replace(bundle, mean=published.mean, deviation=published.deviation)


def as_published(variant: str) -> Contract:
    """What the published weights of `variant` expect of their pictures, whose size is that of ImageNet's there.

    Raises:
        ModelError: keras.applications has no such network.
    """
    mean, deviation = contract(variant)
    size = _reference(variant).size
    return Contract(mean, deviation, (size, size, 3))


def contract(variant: str) -> tuple[Channels, Channels]:
    """Mean and deviation per channel of RGB in [0, 1] by which to standardise for the published weights of `variant`.

    Raises:
        ModelError: keras.applications has no such network.

    Example:
        >>> contract("mobilenet_v2")
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    """
    return CONTRACTS[_reference(variant).mode]


def imagenet_weights(model: keras.Model, variant: str, source: str = "imagenet") -> Report:
    """Moves the published weights of `variant` into `model`, which may have other classes or another picture size.

    Args:
        model: ours, for pictures of three channels.
        variant: a key of REFERENCES.
        source: `imagenet` downloads the official file through Keras' cache; else the path of that file, with or without
            its classifier.

    Raises:
        ModelError: there are no published weights for it, or for its width and blocks, or the pictures are not in
            colour.
        DataError: the file cannot be had, or is that of another network.
    """
    reference = _reference(variant)
    _check_channels(variant, source, model.input_shape[-1])
    if reference.application == "MobileNetV2":
        _check_blocks(model, source)
    theirs = _download(variant, reference, model) if source == "imagenet" else _read(variant, reference, model, source)
    return transfer(theirs, model, reference)


def transfer(theirs: keras.Model, ours: keras.Model, reference: Reference) -> Report:
    """Moves the weights of `theirs` into the layers of the same name in `ours`, all of those that fit or none.

    Args:
        theirs: built by keras.applications; its models within the model are opened.
        ours: the same network, as kerasnn builds it.
        reference: says how `theirs` wants its pictures and calls its classifier.

    Raises:
        ModelError: fewer than half of the layers below the head fit. Nothing was moved then.
    """
    names = {reference.classifier: "predictions"}
    published = {names.get(layer.name, layer.name): layer for layer in weighted(theirs)}
    mine = list(weighted(ours))
    first = next((layer for layer in mine if isinstance(layer, layers.Conv2D)), None)
    normalized = {id(layer.input) for layer in mine if isinstance(layer, layers.BatchNormalization)}
    moves, skipped, missing, biases = [], {}, [], {}
    for layer in mine:
        if layer.name not in published:
            missing.append(layer.name)
            continue
        values = _as_ours(layer, published[layer.name])
        if layer is first:
            values[0] = _first_kernel(values[0], reference)
        bias = values.pop() if _is_biased(values, layer) and id(layer.output) in normalized else None
        reason = misfit(values, layer)
        if reason:
            skipped[layer.name] = reason
            continue
        if bias is not None:
            biases[id(layer.output)] = bias
        if isinstance(layer, layers.BatchNormalization):
            values[-2] = values[-2] - biases.get(id(layer.input), 0)  # conv + bias - mean = conv - (mean - bias)
        moves.append((layer, values))
    remedy = "build the network as it was published, by the model's defaults"
    check_half([layer for layer, _ in moves], ours, theirs.name, f"the published {reference.application}", remedy)
    for layer, values in moves:
        layer.set_weights(values)
    return Report(tuple(layer.name for layer, _ in moves), skipped, tuple(missing))


def check_half(fit: Sequence[keras.Layer], ours: keras.Model, theirs: str, label: str, remedy: str) -> None:
    """Raises ModelError where weights fit fewer than half of the layers of `ours` below its head, and so are another's.

    Args:
        fit: layers that they fit.
        ours: the network.
        theirs: name of the network that they are of.
        label: what messages call them.
        remedy: what to do about it.
    """
    body = [layer for layer in weighted(ours) if not is_head(layer)]
    found = [layer for layer in fit if not is_head(layer)]
    if not fit or 2 * len(found) < len(body):
        raise ModelError(
            f"{label} holds the weights of another network ({theirs}): {len(found)} of {len(body)} layers of "
            f"{ours.name} below its head fit, and nothing was loaded; {remedy}, or take other weights"
        )


def weighted(model: keras.Model) -> Iterator[keras.Layer]:
    """The layers that hold weights, those of models within the model included."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from weighted(layer)
        elif layer.weights:
            yield layer


def _as_ours(layer: keras.Layer, published: keras.Layer) -> list[np.ndarray]:
    values = published.get_weights()
    if isinstance(layer, layers.DepthwiseConv2D) and not isinstance(published, layers.DepthwiseConv2D):
        values[0] = np.swapaxes(values[0], 2, 3)  # A convolution in as many groups as channels: (k, k, 1, C).
    return values


def _first_kernel(kernel: np.ndarray, reference: Reference) -> np.ndarray:
    """The kernel that makes of our standardised RGB what the published one makes of its own input, `(k, k, in, out)`.

    Zeros that pad the one are zeros in the other, so the edges agree too.
    """
    if reference.mode != "caffe":
        return kernel
    scale = 255 * np.array(DEVIATION)  # BGR - mean = 255 · deviation · standardised
    return (kernel[:, :, ::-1] * scale[:, None]).astype(kernel.dtype)


def _is_biased(values: list[np.ndarray], layer: keras.Layer) -> bool:
    return isinstance(layer, layers.Conv2D) and len(values) == 2 and not layer.use_bias


def misfit(values: list[np.ndarray], layer: keras.Layer) -> str | None:
    """Why a layer cannot take these values, such as "(4, 3) is not (4, 5)"; None where it can."""
    theirs, ours = [value.shape for value in values], [tuple(weight.shape) for weight in layer.weights]
    if theirs == ours:
        return None
    pairs = zip(theirs, ours, strict=False)
    return next((f"{a} is not {b}" for a, b in pairs if a != b), f"{len(theirs)} weights are not {len(ours)}")


def _reference(variant: str) -> Reference:
    if variant not in REFERENCES:
        known = ", ".join(sorted(REFERENCES))
        raise ModelError(f"keras.applications has no ImageNet weights for {variant}; it has them for {known}")
    return REFERENCES[variant]


def _check_channels(variant: str, source: str, channels: int) -> None:
    if channels != 3:
        raise ModelError(
            f"model.weights={source}: the published {variant} sees colours, three channels, but the pictures have "
            f"{channels}: choose data in colour, or model.weights=null"
        )


def _check_blocks(model: keras.Model, source: str) -> None:
    """MobileNetV2 numbers its blocks through, so one more or fewer would give each that follows another's weights."""
    filters = tuple(layer.filters for layer in model.layers if layer.name.endswith("_project"))
    published = {alpha: block_filters(alpha) for alpha in ALPHAS}
    if filters in published.values():
        return
    if len(filters) != len(published[1.0]):
        raise ModelError(
            f"model.weights={source}: the published mobilenet_v2 has {len(published[1.0])} blocks, this one "
            f"{len(filters)}: leave model.depths=null, or model.weights=null"
        )
    raise ModelError(
        f"model.weights={source}: mobilenet_v2 is published with model.depths=null and model.width_multiplier="
        f"{', '.join(map(str, ALPHAS))}; the filters of the blocks here (in the last {filters[-1]}, as of width "
        f"{filters[-1] / 320:g}) are of none of these: choose one, or model.weights=null"
    )


def _download(variant: str, reference: Reference, model: keras.Model) -> keras.Model:
    # VGG's dense layers fit pictures of its own size alone, and are nine tenths of its file.
    flat = any(isinstance(layer, layers.Flatten) for layer in model.layers)
    top = not flat or tuple(model.input_shape[1:3]) == (reference.size, reference.size)
    try:
        return _build(reference, model, top, "imagenet")
    except Exception as error:
        # Keras raises a plain one where it cannot download; the others are a line that broke, or a damaged file.
        if type(error) is not Exception and not isinstance(error, (HTTPException, *UNREADABLE)):
            raise
        reason = str(error).strip().split("\n")[0]
        address = re.search(r"https?://\S+?(?=[\s:]|$)", reason)
        name = address[0].rpartition("/")[2] if address else "FILE.h5"
        folder = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models"
        raise DataError(
            f"the ImageNet weights of {variant} cannot be had: {reason}; where there is a network, download "
            f"{address[0] if address else 'the file that keras.io/api/applications leads to'} and put it at "
            f"{folder / name}, or give model.weights=PATH/{name}"
        ) from error


def _read(variant: str, reference: Reference, model: keras.Model, source: str) -> keras.Model:
    path, kind = Path(source).expanduser(), f"a .h5 file of keras.applications.{reference.application}"
    if not path.is_file():
        raise DataError(f"model.weights={source}: there is no such file; give imagenet, or the path of {kind}")
    with path.open("rb") as file:
        is_hdf5 = file.read(len(HDF5)) == HDF5
    if not is_hdf5 or path.suffix not in (".h5", ".hdf5"):
        raise DataError(f"model.weights={source}: {path.name} is not {kind}; give imagenet, or the path of one")
    for top in (True, False):
        theirs = _build(reference, model, top)
        try:
            theirs.load_weights(path)
            return theirs
        except UNREADABLE as error:
            reason = str(error).strip().split("\n")[0].rstrip(".")
    raise DataError(
        f"model.weights={source} does not hold the weights of {variant} ({reason}): give imagenet, or {kind}"
    )


def _build(reference: Reference, model: keras.Model, top: bool, weights: str | None = None) -> keras.Model:
    shape = (reference.size, reference.size, 3)
    options = {}
    if reference.application == "MobileNetV2":
        options["alpha"] = model.get_layer("block_16_project").filters / 320  # 320 filters at width 1
    build = getattr(keras.applications, reference.application)
    return build(include_top=top, weights=weights, input_shape=shape, **options)
