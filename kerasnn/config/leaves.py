"""A config as a flat list: every value with the key that one sets it by."""

from collections.abc import Iterator
from typing import Any


def leaves(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings with their dotted keys, in order; an empty mapping is a value.

    Example:
        >>> dict(leaves({"model": {"depth": 2, "widths": [4, 8]}, "seed": 0}))
        {'model.depth': 2, 'model.widths': [4, 8], 'seed': 0}
    """
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
