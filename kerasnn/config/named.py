"""Whether what a config names is there, asked before TensorFlow is imported and before a run leaves anything behind.

What lies inside (classes, columns, layers) only the training sees.
"""

from collections.abc import Iterable
from typing import Any

from kerasnn.config.inherit import HUB, PUBLISHED
from kerasnn.config.signature import signature
from kerasnn.config.strict import RunConfig
from kerasnn.data.labels import find_root
from kerasnn.errors import DataError
from kerasnn.tracking import runs
from kerasnn.tracking.folders import RunFolder


def check_named(configs: Iterable[RunConfig]) -> None:
    """Looks for the user's own data, and for the weights to start from, of every run.

    Raises:
        DataError: no such folder, file or run.
    """
    configs = list(configs)
    ours = [config for config in configs if config.data.target.startswith("kerasnn.data.")]  # They all ask find_root.
    for name, place in sorted({(config.choices["data"], place) for config in ours if (place := own_data(config))}):
        find_root(name, place)
    starts = {(config.weights, config.tracking.uri or "") for config in configs if config.weights}
    for named, uri in sorted(starts):
        if named.endswith(runs.FILES):
            runs.require_file(named)
        elif named != PUBLISHED and not named.startswith(HUB):
            runs.find(named, uri or None)


def own_data(config: RunConfig) -> str | None:
    """The user's own folder or file, where a data set is read from that and from nowhere else; else None.

    Such a set is what lies there, which a config's digest does not tell; a published one is the same wherever it lies.
    """
    place = signature(config.data.target).parameters.get("dir")
    return config.data.arguments["dir"] if place is not None and place.required else None


def same_data(config: RunConfig, run: RunFolder) -> bool:
    """Whether a run of the same digest has the same data of the user's own; not one that does not tell any more."""
    place = own_data(config)
    return place is None or value(run, "data.dir") == place


def value(run: RunFolder, key: str) -> Any:
    """What a run's config has for a key such as `data.dir`; None where it has no such key, or cannot be read."""
    try:
        found: Any = run.values
    except DataError:
        return None
    for name in key.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found
