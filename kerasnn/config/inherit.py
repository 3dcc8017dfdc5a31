"""`from=RUN` without a `model=` beside it means that run's network too: its values, as overrides before all others."""

import json
import re
from collections.abc import Sequence

from kerasnn.config.leaves import leaves
from kerasnn.errors import ConfigError
from kerasnn.tracking import runs

PUBLISHED, HUB = "imagenet", "hub:"
"""Weights that are no run's: of keras.applications, and what comes before the name of a preset of KerasHub's."""

QUOTES = ("'", '"')
ESCAPED = re.compile(r"\\([\\()\[\]{}:=, \t])")

OWN = ("_target_", "weights", "pretrain")
"""What of a run's section `model` says where that run started: the one that goes on starts elsewhere."""


def inherited(overrides: Sequence[str]) -> list[str]:
    """The overrides that choose the network of the run that `from=` names; none where the user or a recipe chooses.

    Args:
        overrides: the user's own, which come after these and so beat them.

    Raises:
        DataError: there is no such run.
        ConfigError: several runs at once, each with a network of its own.

    Example:
        >>> inherited(["from=3f2a91c", "data=cifar10"])
        ['model=resnet20', '++model.pretrain=null', '++model.variant="resnet20"', '++model.dropout=0.0']
    """
    given = dict(override.lstrip("+").partition("=")[::2] for override in overrides)
    named = _plain(given.get("from", "null"))
    chosen = "model" in given or given.get("experiment", "null") != "null"
    if chosen or named in ("null", "", PUBLISHED) or named.startswith(HUB):
        return []
    if "," in ESCAPED.sub("", given["from"]) and given["from"][0] not in QUOTES:
        raise ConfigError(f"from={named} names several runs, which bring a network each: choose one for all by model=")
    start = runs.find(named, _plain(given["tracking.uri"]) if "tracking.uri" in given else None)
    if start.choice is None:
        return []
    own = {key: value for key, value in start.network.items() if key not in OWN}
    values = [f"++{key}={json.dumps(value, ensure_ascii=False)}" for key, value in leaves(own, "model.")]
    further = ["++model.pretrain=null"] if start.network.get("pretrain") else []
    return [f"model={start.choice}", *further, *values]


def _plain(value: str) -> str:
    """A value as it was meant: without quotes, or without the backslashes that Hydra writes into a sweep's cells."""
    return value.strip("\"'") if value.startswith(QUOTES) else ESCAPED.sub(r"\1", value)
