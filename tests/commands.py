"""What a page tells its reader to type: found in the text, and checked without a training."""

import itertools
import re
import shlex

from kerasnn import cli
from kerasnn.config.compose import check


def commands(text):
    """Every `python -m kerasnn …` that has a line of its own, without its comment."""
    found = re.findall(r"^ *(python -m kerasnn.*)$", text, re.MULTILINE)
    return sorted({line.split("#")[0].strip() for line in found})


def check_command(command):
    """Raises unless the command exists and each cell of its sweep composes."""
    name, words = cli._split(shlex.split(command)[3:])
    assert name in cli.COMMANDS
    overrides = [word for word in words if "=" in word and not word.startswith("-")]
    # A run of the reader's own, which a test cannot have: other weights stand for it.
    overrides = ["model.weights=imagenet" if word == "from=RUN_ID" else word for word in overrides]
    if name == "train":
        for cell in _cells(overrides) if "-m" in words else [overrides]:
            check(cell)


def _cells(overrides):
    """Every combination of `model=mlp,lenet5 seed=0,1`; a comma in brackets is no sweep."""
    axes = []
    for override in overrides:
        key, _, values = override.partition("=")
        axes.append([f"{key}={value}" for value in re.split(r",(?![^\[]*\])", values)])
    return itertools.product(*axes)
