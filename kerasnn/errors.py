"""Everything that kerasnn raises on purpose.

    KerasnnError            one line for the user, no traceback
    ├── ConfigError         a key, value, choice or target that cannot be meant            exit code 2
    ├── DataError           data that is absent, damaged or does not fit                   exit code 2
    ├── ModelError          a network that cannot be built for this input                  exit code 2
    ├── DeviceError         hardware that was asked for and is not there                   exit code 2
    └── TrainingError       a training that cannot go on, such as a loss that became NaN   exit code 1

Each message says what was received, what is allowed, and how to mend it.
"""

from argparse import ArgumentParser
from collections.abc import Iterable
from difflib import get_close_matches
from typing import NoReturn


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


def refuse_in_one_line(parser: ArgumentParser) -> None:
    """Makes `parser` raise a `ConfigError` with the nearest option, instead of printing its usage and leaving.

    Example:
        >>> refuse_in_one_line(parser)
        >>> parser.parse_args(["--prot", "3"])
        ConfigError: unrecognized arguments: --prot 3: did you mean '--port'? known: --help, --host, --port, --uri
    """

    def refuse(message: str) -> NoReturn:
        if not message.startswith("unrecognized"):
            raise ConfigError(f"{message} (see --help)")
        words = message.partition(": ")[2].split()
        word = next((word for word in words if word.startswith("-")), words[0]).split("=")[0]
        options = [option for action in parser._actions for option in action.option_strings if option.startswith("--")]
        raise ConfigError(f"{message}: {suggestion(word, options)}")

    parser.error = refuse
