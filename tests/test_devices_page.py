"""What docs/devices.md says is so: its commands compose, and its keys are the section's."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from commands import check_command, commands

from kerasnn.config.schema import Strategy

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "devices.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", commands(TEXT))
def test_command_means_something(command):
    check_command(command)


def test_keys_of_strategy_are_known():
    known = {field.name for field in fields(Strategy)}
    named = set(re.findall(r"strategy\.(\w+)", TEXT)) | set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE))
    assert named <= known
    assert known - named <= {"name", "port"}
