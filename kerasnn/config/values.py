"""Does a value fit a type? One answer for command line, YAML files, dataclasses and builders' signatures."""

import math
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from kerasnn.errors import suggestion
from kerasnn.ranges import Range

NAMES = {
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
    str: "text",
    dict: "a mapping",
    list: "a list",
}


def misfit(value: Any, annotation: Any) -> str | None:
    """Why `value` cannot be an `annotation`, as the end of a sentence; None if it fits.

    Example:
        >>> misfit(1.5, Fraction)
        'must be in 0 <= x < 1'
    """
    if fits(value, annotation):
        return None
    options = list(_options(annotation))
    literals = [text for option in options if get_origin(option) is Literal for text in map(_yaml, get_args(option))]
    if literals and isinstance(value, str):
        return f"is not a choice: {suggestion(value, literals)}"
    ranges = [str(option.__metadata__[0]) for option in options if _of_right_type(value, option)]
    if ranges:
        return f"must be in {' or '.join(ranges)}"
    return f"must be {describe(annotation)}"


def fits(value: Any, annotation: Any) -> bool:
    """Whether `value`, as YAML gives it, may be passed for a parameter annotated `annotation`."""
    origin = get_origin(annotation)
    if annotation is Any or origin is Callable or isinstance(annotation, str):
        return True
    if origin in (Union, types.UnionType):
        return any(fits(value, option) for option in get_args(annotation))
    if origin is Annotated:
        inner, *extras = get_args(annotation)
        return fits(value, inner) and all(value in extra for extra in extras if isinstance(extra, Range))
    if origin is Literal:
        return any(value == option and type(value) is type(option) for option in get_args(annotation))
    if origin in (tuple, list, Sequence):
        return _sequence_fits(value, origin, get_args(annotation))
    if origin is dict:
        return isinstance(value, dict)
    return _is(value, annotation)


def describe(annotation: Any) -> str:
    """A type in a user's words: "a whole number with 1 <= x, or null"."""
    return " or ".join(dict.fromkeys(_describe_one(option) for option in _options(annotation)))


def _describe_one(option: Any) -> str:
    origin = get_origin(option)
    if option is type(None):
        return "null"
    if origin is Annotated:
        inner, *extras = get_args(option)
        return " ".join([describe(inner), *(f"with {extra}" for extra in extras if isinstance(extra, Range))])
    if origin is Literal:
        return f"one of {', '.join(map(_yaml, get_args(option)))}"
    if origin in (tuple, list, Sequence):
        inner = [argument for argument in get_args(option) if argument is not Ellipsis]
        return f"a list of {' and '.join(dict.fromkeys(map(_plural, inner)))}" if inner else "a list"
    return NAMES.get(origin or option, getattr(option, "__name__", str(option)))


def _plural(annotation: Any) -> str:
    return describe(annotation).replace("a whole number", "whole numbers").replace("a finite number", "numbers")


def _options(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) in (Union, types.UnionType):
        for option in get_args(annotation):
            yield from _options(option)
    else:
        yield annotation


def _of_right_type(value: Any, option: Any) -> bool:
    return get_origin(option) is Annotated and fits(value, get_args(option)[0])


def _sequence_fits(value: Any, origin: type, arguments: tuple) -> bool:
    if not isinstance(value, list | tuple):
        return False
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        return len(value) == len(arguments) and all(map(fits, value, arguments))
    return all(fits(item, arguments[0]) for item in value) if arguments else True


def _is(value: Any, kind: Any) -> bool:
    if kind is None or kind is type(None):
        return value is None
    if kind in (list, tuple, Sequence):
        return isinstance(value, list | tuple)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind) if isinstance(kind, type) and kind in NAMES else True


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
