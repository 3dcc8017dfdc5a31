"""Whether what a config names is there, asked before TensorFlow is imported and before a run leaves anything behind.

What lies inside (classes, columns, layers) only the training sees.
"""

from collections.abc import Iterable
from typing import Any

from kerasnn.config.inherit import HUB, PUBLISHED
from kerasnn.config.signature import signature
from kerasnn.config.strict import RunConfig
from kerasnn.data.labels import find_root
from kerasnn.tracking import runs


def check_named(configs: Iterable[RunConfig]) -> None:
    """Looks for the user's own data, and for the weights to start from, of every run.

    Raises:
        DataError: no such folder, file or run.
    """
    for name, place in sorted({(config.choices["data"], place) for config in configs if (place := own_data(config))}):
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
    own = config.data.target.startswith("kerasnn.data.") and place is not None and place.required
    return config.data.arguments["dir"] if own else None


def same_data(config: RunConfig, values: dict[str, Any]) -> bool:
    """Whether a run of the same digest, whose plain config is `values`, has the same data of the user's own."""
    return own_data(config) in (None, values.get("data", {}).get("dir"))
