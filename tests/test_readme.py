"""What the README says is so: its tree, its table of choices, its commands, its pictures."""

import re
from pathlib import Path

import pytest
from commands import check_command, commands

from kerasnn.config.folders import groups

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", commands(TEXT))
def test_command_means_something(command):
    check_command(command)


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
