"""The command line: `train` when the first word is an override or absent, otherwise the named command."""

import os
import sys
from collections.abc import Callable
from importlib import import_module

from kerasnn.errors import ConfigError, KerasnnError, unknown

COMMANDS = {
    "train": "kerasnn.config.launch",
    "compare": "kerasnn.analysis.compare",
    "ui": "kerasnn.tracking.ui",
    "zoo": "kerasnn.zoo",
    "preview": "kerasnn.preview",
    "lr_find": "kerasnn.lr_find",
    "doctor": "kerasnn.doctor",
}
"""Each module has `main(arguments) -> exit code` and is imported only when it is called."""

EXIT_INTERRUPTED = 130  # 128 and SIGINT's number, as shells have it; the other codes are the errors' own.


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 done, 1 training failed, 2 cannot be meant, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        command, rest = _split(arguments)
        return _entry(command)(rest)
    except KerasnnError as error:
        print(f"kerasnn: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("kerasnn: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `kerasnn compare | head`: the reader has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _split(arguments: list[str]) -> tuple[str, list[str]]:
    first = arguments[0] if arguments else ""
    if not first or first.startswith(("-", "+", "~")) or "=" in first:
        return "train", arguments
    if first not in COMMANDS:
        raise ConfigError(f"{unknown('command', first, COMMANDS)} (an override is written key=value)")
    return first, arguments[1:]


def _entry(command: str) -> Callable[[list[str]], int]:
    return import_module(COMMANDS[command]).main
