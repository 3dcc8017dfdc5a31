"""What weights expect of their inputs, and whether a data set gives it: said once, before the first step."""

import logging
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np

from kerasnn.data.bundle import Bundle
from kerasnn.errors import DataError, ModelError

log = logging.getLogger(__name__)

FAR = 1.5  # Deviations by which the mean of a batch may miss the one that weights know: black on white does.
FLAT = 0.1  # A batch that varies less than that in deviations shows nothing.


@dataclass(frozen=True)
class Contract:
    """How the inputs were made that weights were trained on, and what the answers stood for; empty where unknown.

    Pictures are RGB or grey, scaled to [0, 1], then (x - mean) / deviation per channel.

    Args:
        mean: per channel.
        deviation: per channel.
        input_shape: of one example.
        class_names: in the order of the logits.
        tokenizer: fingerprint of the tokenizer, for tokens.
        data: name of the data set.
        origin: where it was found.
    """

    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    input_shape: tuple[int, ...] = ()
    class_names: tuple[str, ...] = ()
    tokenizer: str = ""
    data: str = ""
    origin: str = ""

    @classmethod
    def of(cls, facts: dict[str, Any]) -> "Contract":
        """The contract in what a run wrote down; older runs say less."""
        sequences = {key: tuple(facts.get(key) or ()) for key in ("mean", "deviation", "input_shape", "class_names")}
        tokenizer, data, origin = (str(facts.get(key) or "") for key in ("tokenizer", "data", "origin"))
        tokenizer = fingerprint(tokenizer) if tokenizer.startswith("{") else tokenizer
        return cls(**sequences, tokenizer=tokenizer, data=data, origin=origin)


def fingerprint(tokenizer: str) -> str:
    """Two tokenizers with one fingerprint give each word the same numbers.

    Example:
        >>> fingerprint(bundle.tokenizer.to_json())[:7]
        '9f86d08'
    """
    return sha256(tokenizer.encode()).hexdigest()


def applied(contract: Contract, label: str, bundle: Bundle) -> Bundle:
    """`bundle` with its inputs made as the weights expect them.

    Raises:
        ModelError: no preparation can help: another number of channels, other tokens, words for pictures.
    """
    knows = "tokens" if contract.tokenizer else "pictures" if contract.mean else bundle.kind
    if knows != bundle.kind:
        raise ModelError(
            f"{label} was trained on {knows}, but data={bundle.name} gives {bundle.kind}: choose other data"
        )
    if bundle.kind == "tokens":
        if contract.tokenizer and contract.tokenizer != fingerprint(bundle.tokenizer.to_json()):
            raise ModelError(
                f"{label} was trained with another tokenizer, by which data={bundle.name}'s numbers are other words: "
                "take data that goes by it: data=text, masked_words or text_lm"
            )
        return bundle
    if not contract.mean:
        log.warning("%s does not say how its pictures were made: this data's own mean and deviation are used", label)
        return bundle
    if len(contract.mean) != bundle.input_shape[-1]:
        kinds = {1: "grey pictures, one channel", 3: "colours, three channels"}
        sees = kinds.get(len(contract.mean), f"{len(contract.mean)} channels")
        raise ModelError(
            f"{label} sees {sees}, but data={bundle.name} has {bundle.input_shape[-1]}: choose other data, or "
            "data.channels where the set has that option"
        )
    if contract.input_shape and contract.input_shape != bundle.input_shape:
        forms = ("×".join(map(str, shape)) for shape in (contract.input_shape, bundle.input_shape))
        log.info("%s was trained on pictures of %s; here they are %s", label, *forms)
    return replace(bundle, mean=contract.mean, deviation=contract.deviation)


def warn_of_size(contract: Contract, label: str, bundle: Bundle) -> None:
    """Says that pictures have another size than those that published weights know, and what to do about it."""
    if contract.input_shape and contract.input_shape[:2] != bundle.input_shape[:2]:
        theirs, ours = ("×".join(map(str, shape[:2])) for shape in (contract.input_shape, bundle.input_shape))
        log.warning(
            "%s was trained on pictures of %s, and here they are %s: data.image_size=%d shows them as it knows them",
            label, theirs, ours, contract.input_shape[0],
        )  # fmt: skip


def warn_of_overlap(
    contract: Contract, label: str, hashes: dict[str, str], fraction: float | None, bundle: Bundle, own: float | None
) -> None:
    """Says that some of what is tested here may be what the weights learned from: the same data, otherwise divided.

    Args:
        contract: of a run.
        label: what messages call that run.
        hashes: of its splits.
        fraction: its data.test_fraction; None where unknown.
        bundle: what is tested on.
        own: data.test_fraction here; None where unknown.
    """
    if not contract.data or not hashes.get("test") or contract.origin != bundle.origin:
        return
    if contract.class_names and bundle.class_names and not {*contract.class_names} & {*bundle.class_names}:
        return  # Other people, other things: none of them was seen.
    if contract.data == bundle.name and (bundle.kind == "pictures" or contract.input_shape == bundle.input_shape):
        other = hashes["test"] != bundle.hashes["test"]
    else:  # Words to fill in, then the same texts with their classes, or longer: what the hashes are of is another.
        other = bool(bundle.origin) and fraction != own
    if other:
        log.warning(
            "%s was trained on this data too (%s), of which another part was its test split: what is tested here may "
            "be what it learned from; take data.test_fraction and what else chooses the examples as it had them",
            label, contract.data,
        )  # fmt: skip


def check_batch(contract: Contract, label: str, bundle: Bundle, inputs: np.ndarray) -> None:
    """The first batch, as the network will see it, against what the weights know; far from it is a warning.

    Args:
        contract: of the weights; what it does not say is taken from the bundle.
        label: what messages call the weights.
        bundle: pictures or tokens.
        inputs: `(batch, *bundle.input_shape)`.

    Raises:
        DataError: an input that no picture in [0, 1], and no token of the vocabulary, could have become.
    """
    if tuple(inputs.shape[1:]) != tuple(bundle.input_shape):
        raise DataError(f"{bundle.name} gives inputs of {inputs.shape[1:]}, but the network takes {bundle.input_shape}")
    if bundle.kind == "tokens":
        low, high = 0, bundle.vocab_size - 1
    else:
        mean, deviation = np.array(contract.mean or bundle.mean), np.array(contract.deviation or bundle.deviation)
        if inputs.shape[-1] != len(mean):
            raise DataError(f"{bundle.name} gives {inputs.shape[-1]} channels, but {label} knows {len(mean)}")
        low, high = -mean / deviation - 1e-3, (1 - mean) / deviation + 1e-3
    if not (np.isfinite(inputs).all() and (inputs >= low).all() and (inputs <= high).all()):
        raise DataError(
            f"{bundle.name} gives inputs from {inputs.min():.3g} to {inputs.max():.3g}, but {label} expects "
            f"{np.min(low):.3g} to {np.max(high):.3g}: pictures must be 0 to 255, tokens within the vocabulary"
        )
    if bundle.kind == "pictures" and contract.mean:
        _warn_of_statistics(label, bundle, inputs.reshape(-1, inputs.shape[-1]))


def _warn_of_statistics(label: str, bundle: Bundle, values: np.ndarray) -> None:
    """By the weights' own mean and deviation, what they were trained on has about 0 and 1."""
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    if np.abs(mean).max() > FAR or deviation.max() < FLAT:
        log.warning(
            "%s gives inputs with a mean of %s and a deviation of %s per channel, where %s knows about 0 and 1: look "
            "at figures/augmented_inputs.png; pictures must be 0 to 255",
            bundle.name, _told(mean), _told(deviation), label,
        )  # fmt: skip


def _told(values: np.ndarray) -> str:
    return ", ".join(f"{value:.2f}" for value in values)
