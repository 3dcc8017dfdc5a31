"""compose.yaml as an engine would read it: variables replaced, by what the environment has or by their defaults."""

import re
import shutil
import subprocess

import pytest
import yaml

VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def variables(text):
    """The names that the file takes from the environment."""
    return {name for name, _, _ in VARIABLE.findall(text)}


def compose_command():
    """Docker's compose, as a plug-in or as a program of its own; skips where there is none."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and not subprocess.run([*command, "version"], capture_output=True).returncode:
            return command
    pytest.skip("needs docker compose")


def services(text, **environment):
    """The services, with `environment` in place of their variables.

    Raises:
        KeyError: a variable that the file insists on (`${NAME:?why}`) is not given.
    """

    def value(match):
        name, sign, default = match.groups()
        if name in environment:
            return environment[name]
        if sign == "?":
            raise KeyError(name)
        return default or ""

    plain = "\n".join(line.split(" #")[0] for line in text.splitlines() if not line.lstrip().startswith("#"))
    return yaml.safe_load(VARIABLE.sub(value, plain))["services"]
