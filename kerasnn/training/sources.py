"""Weights that a training starts from: whose they are, what they expect of their inputs, how they come into a network.

`from=` and `model.weights=` name them alike: `imagenet` or an official `.h5` file (`kerasnn.training.weights`), a run,
a `.keras` or `.weights.h5` file, `models:/NAME/VERSION` in MLflow's registry, `hub:PRESET` of KerasHub. They move layer
by layer, by name; nothing is written into the network before it is clear that they are that network's.
"""

import json
import logging
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from keras.src.utils.naming import to_snake_case  # By which a weights file calls layers.

from kerasnn.config.inherit import HUB, PUBLISHED
from kerasnn.config.plugins import plugin_packages
from kerasnn.data.bundle import Bundle, Source, make_bundle
from kerasnn.data.tokenizer import Tokenizer
from kerasnn.errors import DataError
from kerasnn.layers.position_embedding import PositionEmbedding
from kerasnn.layers.tied_embedding import TiedEmbedding
from kerasnn.models.heads import is_head
from kerasnn.tracking import runs
from kerasnn.tracking.reload.models import load_model
from kerasnn.tracking.runs import located
from kerasnn.training.contract import Contract, applied, check_batch, warn_of_overlap
from kerasnn.training.hub import POSITIONS, Preset
from kerasnn.training.weights import (
    Report,
    as_published,
    as_trained,
    check_half,
    imagenet_weights,
    misfit,
    weighted,
)

log = logging.getLogger(__name__)

CODE = ("Lambda", "__lambda__")  # What a `.keras` file calls a function that travels inside it.
TRUSTED = ("keras", "keras_cv", "keras_hub", "kerasnn", "builtins", "")  # Whose classes a model file may name.


@dataclass(frozen=True)
class Start:
    """Weights that were found, and not yet moved.

    Args:
        label: what messages call them.
        apply: makes a bundle's inputs what the weights expect.
        load: moves them into a network, for these class names; returns what became of its layers.
        contract: what they expect of their inputs.
        run: whose they are; None for published ones.
    """

    label: str
    apply: Callable[[Bundle], Bundle]
    load: Callable[[keras.Model, tuple[str, ...]], Report]
    contract: Contract = field(default_factory=Contract)
    run: runs.Start | None = None

    def check(self, bundle: Bundle, inputs: np.ndarray, fractions: Mapping[str, Any] | None = None) -> None:
        """The data set, and its first batch as the network will see it, but for augmentation, against what they know.

        Args:
            bundle: as `apply` made it.
            inputs: `(batch, *bundle.input_shape)`.
            fractions: what `make_bundle` was given beside the source.

        Raises:
            DataError: an input that nothing the weights know could have become.
        """
        check_batch(self.contract, self.label, bundle, inputs)
        if self.run:
            default = signature(make_bundle).parameters["test_fraction"].default
            theirs, ours = (held.get("test_fraction", default) for held in (self.run.data, fractions or {}))
            warn_of_overlap(self.contract, self.label, self.run.hashes, theirs, bundle, ours)


def open_start(named: str, variant: str, uri: str | None = None) -> Start:
    """What `named` stands for.

    Args:
        named: as `from=` has it.
        variant: the network it is for, such as "resnet50".
        uri: the tracking store that runs are looked up in; None is the default one.

    Raises:
        KerasnnError: nothing is called so, or it cannot be read; one line.
    """
    if named.startswith(HUB):
        preset = _preset(named)
        return Start(named, preset.apply, lambda model, _: preset.load(model), preset.contract)
    path = named if named == PUBLISHED else str(located(named))
    official = named.endswith((".h5", ".hdf5")) and not named.endswith(".weights.h5")
    if named == PUBLISHED or official:
        return Start(
            named,
            lambda bundle: as_trained(bundle, path, variant),
            lambda model, _: imagenet_weights(model, variant, path),
            as_published(variant),
        )
    found = runs.find(named, uri)
    contract = Contract.of(found.facts)
    apply, load = partial(applied, contract, found.label), partial(_load_file, found, contract)
    return Start(found.label, apply, load, contract, found)


def with_tokenizer_of(named: str | None, source: Source, uri: str | None = None) -> Source:
    """The source, its texts to be read by the tokenizer of what a training starts from, if that has one.

    Args:
        named: as `from=` has it; None starts from nothing.
        source: texts, which then go by that tokenizer; other sources come back as they are.
        uri: the tracking store that runs are looked up in; None is the default one.
    """
    if not named or named == PUBLISHED or (source.encode is None and source.reread is None):
        return source
    if named.startswith(HUB):
        words = _preset(named).words
        label, tokenizer = named, words and words.tokenizer
    else:
        found = runs.find(str(located(named)), uri)
        label, tokenizer = found.label, found.tokenizer and Tokenizer.from_json(found.tokenizer)
    if not tokenizer:
        return source
    log.info("%s: tokens by the tokenizer of %s, %s of them", source.name, label, f"{tokenizer.vocab_size:,}")
    if source.reread:
        return source.reread(tokenizer)
    return replace(source, encode=partial(source.encode, tokenizer=tokenizer))


def _preset(named: str) -> Preset:
    name = named.removeprefix(HUB)
    folder = located(name)
    return Preset(named, str(folder) if name and folder.is_dir() else name)


def by_name(theirs: keras.Model, ours: keras.Model, label: str, other_classes: bool = False) -> Report:
    """Moves the weights of `theirs` into the layers of the same name in `ours`.

    Args:
        theirs: trained; a layer with LoRA counts as its kernel with the update added. A table of positions of words may
            be longer than that of `ours`, which takes its first rows.
        ours: may have another head.
        label: what messages call `theirs`.
        other_classes: the answers stand for something else, so that no head is kept, whatever its shape.

    Raises:
        ModelError: another network: fewer than half of the layers below the head fit. Nothing was moved then.
    """
    trained = {layer.name: layer for layer in weighted(theirs)}
    moves, skipped, missing = [], {}, []
    for layer in weighted(ours):
        if layer.name not in trained:
            missing.append(layer.name)
        elif other_classes and is_head(layer):
            skipped[layer.name] = "other classes"
        else:
            values = _values(trained[layer.name], layer)
            reason = misfit(values, layer)
            if reason:
                skipped[layer.name] = reason
            else:
                moves.append((layer, values))
    remedy = f"choose model={theirs.name}" if theirs.name != ours.name else "build the network as it was trained"
    check_half([layer for layer, _ in moves], ours, theirs.name, label, remedy)
    for layer, values in moves:
        layer.set_weights(values)
    return Report(tuple(layer.name for layer, _ in moves), skipped, tuple(missing))


def _values(trained: keras.Layer, ours: keras.Layer) -> list[np.ndarray]:
    if getattr(trained, "lora_enabled", False):
        return [keras.ops.convert_to_numpy(value) for value in (trained.kernel, trained.bias) if value is not None]
    if ours.name == POSITIONS and isinstance(ours, PositionEmbedding):  # A shorter text begins at the same place.
        return [table[: ours.embeddings.shape[0]] for table in trained.get_weights()]
    if isinstance(trained, TiedEmbedding) and isinstance(ours, TiedEmbedding):
        # A number per word belongs to the head that tells words: the table is the same with and without it.
        there = {weight.name: weight.numpy() for weight in trained.weights}
        return [there.get(weight.name, value) for weight, value in zip(ours.weights, ours.get_weights(), strict=True)]
    return trained.get_weights()


def _load_file(found: runs.Start, contract: Contract, model: keras.Model, class_names: tuple[str, ...]) -> Report:
    theirs = (_open_weights if found.model.name.endswith(".weights.h5") else _open_model)(found, model)
    other = bool(contract.class_names and class_names) and contract.class_names != tuple(class_names)
    report = by_name(theirs, model, found.label, other)
    kept = [layer.name for layer in weighted(model) if is_head(layer) and layer.name in report.loaded]
    if kept and class_names and not contract.class_names:
        log.warning(
            "%s does not say what its classes are: its head is kept, since it has as many as this data, %d; if they "
            "are others, give finetune.head_epochs time to learn them",
            found.label, len(class_names),
        )  # fmt: skip
    return report


def _open_model(found: runs.Start, _: keras.Model) -> keras.Model:
    """The network in a `.keras` file, of which no code is ever run."""
    try:
        with zipfile.ZipFile(found.model) as archive:
            described = json.loads(archive.read("config.json"))
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise DataError(f"{found.label} is no Keras model: {found.model.name} cannot be read as one") from error
    for part in _parts(described):
        if part["class_name"] in CODE:
            raise DataError(
                f"{found.label} is refused: it holds a Lambda layer, which is code of whoever made the file, and "
                "nothing of it was run; save the network without it"
            )
        package = str(part.get("module") or "").partition(".")[0]
        if package not in (*TRUSTED, *(name.partition(".")[0] for name in plugin_packages())):
            raise DataError(f"{found.label} is refused: it names {part['class_name']} of {package}, no class of Keras'")
    try:
        return load_model(str(found.model), compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever its classes do.
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{found.label} is no Keras model that can be opened: {reason}") from error


def _parts(described: Any) -> Iterator[dict[str, Any]]:
    """Everything in a model's description that names a class."""
    if isinstance(described, dict):
        if isinstance(described.get("class_name"), str):
            yield described
        described = list(described.values())
    for part in described if isinstance(described, list) else ():
        yield from _parts(part)


def _open_weights(found: runs.Start, model: keras.Model) -> keras.Model:
    """A twin of `model` with the weights of a `.weights.h5` file; layers that the file does not fit have none.

    Such a file tells layers by kind and order, not by name, so it must be of the same network but for the head.
    """
    if not h5py.is_hdf5(found.model):
        raise DataError(f"{found.label} is no .weights.h5 file of Keras'")
    twin = type(model).from_config(model.get_config())
    for layer in weighted(twin):
        layer.set_weights([np.full(value.shape, np.nan) for value in layer.get_weights()])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of what does not fit our own report tells.
            twin.load_weights(found.model, skip_mismatch=True)
    except (ValueError, OSError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{found.label} does not hold weights of {model.name}: {reason}") from error
    filled = [layer for layer in weighted(twin) if not any(np.isnan(value).any() for value in layer.get_weights())]
    return _Filled(model.name, [*filled, *_others(found.model, twin, {layer.name for layer in filled})])


def _others(file: Path, twin: keras.Model, filled: set[str]) -> Iterator["_Stored"]:
    """What the file has for layers that could not take it, such as a head of other classes."""
    kinds: Counter[str] = Counter()
    with h5py.File(file) as stored:
        for layer in twin.layers:
            kind = to_snake_case(type(layer).__name__)
            place = f"layers/{kind}_{kinds[kind]}/vars" if kinds[kind] else f"layers/{kind}/vars"
            kinds[kind] += 1
            if layer.weights and layer.name not in filled and len(stored.get(place, ())):
                yield _Stored(layer.name, [stored[place][number][()] for number in sorted(stored[place], key=int)])


@dataclass(frozen=True)
class _Stored:
    """Weights in a file, with what of a layer `by_name` reads."""

    name: str
    weights: list[np.ndarray]

    def get_weights(self) -> list[np.ndarray]:
        """As a layer has it."""
        return self.weights


@dataclass(frozen=True)
class _Filled:
    """What of a twin took weights or found others, with the two attributes of a model that `by_name` reads."""

    name: str
    layers: list[keras.Layer | _Stored]
