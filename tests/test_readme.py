"""What the README says is so: its tree, its table of choices, its commands, its pictures."""

import re
import shlex
from pathlib import Path

import pytest

from kerasnn import cli
from kerasnn.config.compose import compose, groups

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = sorted({line.split("#")[0].strip() for line in re.findall(r"^ +(python -m kerasnn.*)$", TEXT, re.MULTILINE)})


@pytest.mark.parametrize("command", COMMANDS)
def test_command_means_something(command):
    name, words = cli._split(shlex.split(command)[3:])
    assert name in cli.COMMANDS
    overrides = [word for word in words if "=" in word and not word.startswith("-")]
    if name == "train":
        # A sweep's first cell stands for all: its values are single choices.
        compose([re.sub(r"=([^\[,]+),.*", r"=\1", override) for override in overrides])


def test_table_of_choices_is_complete():
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", TEXT, re.MULTILINE))
    for group, choices in groups().items():
        named = set(re.findall(r"`(\w+)`", rows[group]))
        missing = {choice for choice in choices if choice not in named and not choice.endswith("_bn")}
        assert not missing, f"{group}: {missing}"
        assert named <= {*choices, *groups(), "vgg11_bn"}, f"{group}: {named - set(choices)}"


def test_tree_is_what_is_on_the_disk():
    tree = TEXT.split("## Where things are")[1].split("##")[0]
    for indent, entry in re.findall(r"^    ( *)(\S+) ", tree, re.MULTILINE):
        path = ROOT / ("kerasnn" if len(indent) == 2 else "") / entry
        assert path.exists(), entry
    rooms = {path.name for path in (ROOT / "kerasnn").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms <= {entry.strip("/") for _, entry in re.findall(r"^    ( *)(\S+) ", tree, re.MULTILINE)}


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", TEXT))
def test_link_leads_somewhere(link):
    assert (ROOT / link).exists()
