"""Everything that kerasnn raises on purpose.

    KerasnnError            one line for the user, no traceback
    ├── ConfigError         a key, value, choice or target that cannot be meant            exit code 2
    ├── DataError           data that is absent, damaged or does not fit                   exit code 2
    ├── ModelError          a network that cannot be built for this input                  exit code 2
    ├── DeviceError         hardware that was asked for and is not there                   exit code 2
    └── TrainingError       a training that cannot go on, such as a loss that became NaN   exit code 1

Each message says what was received, what is allowed, and how to mend it.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class KerasnnError(Exception):
    """Base of the tree; `str(error)` is the one line that the user reads."""

    exit_code = 2


class ConfigError(KerasnnError):
    """A key, value, choice or target that cannot be meant."""


class DataError(KerasnnError):
    """Data that is absent, damaged or does not fit."""


class ModelError(KerasnnError):
    """A network that cannot be built for this input."""


class DeviceError(KerasnnError):
    """Hardware that was asked for and is not there."""


class TrainingError(KerasnnError):
    """A training that cannot go on."""

    exit_code = 1


def suggestion(received: str, known: Iterable[str]) -> str:
    """The tail of an "unknown name" message: the nearest match, if any, and all that is known.

    Example:
        >>> suggestion("vg16", ["vgg16", "vgg19"])
        "did you mean 'vgg16'? known: vgg16, vgg19"
    """
    names = sorted(known)
    nearest = get_close_matches(received, names, n=1)
    hint = f"did you mean '{nearest[0]}'? " if nearest else ""
    return f"{hint}known: {', '.join(names) or 'none'}"


def unknown(kind: str, received: str, known: Iterable[str]) -> str:
    """The message for a name that does not exist: "unknown model 'vg16': did you mean 'vgg16'? known: …"."""
    return f"unknown {kind} '{received}': {suggestion(received, known)}"
