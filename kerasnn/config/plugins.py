"""Packages of somebody else's that add models, data sets and recipes: found here, imported only by a training.

A package registers itself in its own pyproject.toml, and has its YAML files in a folder `conf/` inside it:

    [project.entry-points."kerasnn.plugins"]
    kerasnn_tiny = "kerasnn_tiny"          # any name = the package

Its choices then stand beside kerasnn's own, and a `_target_` may point into it. A damaged plug-in is left out: what
needs none of it goes on as ever, and `--help` and the answer to an unknown choice say which is missing, and why.
"""

from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

GROUP = "kerasnn.plugins"


@dataclass(frozen=True)
class Plugin:
    """One package of somebody else's.

    Args:
        package: its dotted name, such as `kerasnn_tiny`.
        distribution: what was installed, with its version: "kerasnn-tiny 0.1.0".
        conf: its folder of YAML files; None where it is damaged.
        damage: why it is left out; empty where it is not.
    """

    package: str
    distribution: str
    conf: Path | None
    damage: str = ""

    def __str__(self) -> str:
        return f"the plug-in {self.package} of {self.distribution}"


@cache
def plugins() -> tuple[Plugin, ...]:
    """Every plug-in that is installed, the damaged ones included, by package."""
    found = {point.value: point for point in entry_points(group=GROUP)}
    return tuple(_read(found[package]) for package in sorted(found))


def plugin_packages() -> list[str]:
    """The packages that a `_target_` may point into, beside kerasnn's own."""
    return [plugin.package for plugin in plugins() if plugin.conf]


def left_out() -> str:
    """Which plug-ins are damaged, and why, as the end of a message; empty where none is.

    Example:
        >>> left_out()
        '; the plug-in nets of nets 1.0 is left out: there is no package nets (reinstall or uninstall nets)'
    """
    return "".join(f"; {plugin} is left out: {plugin.damage}" for plugin in plugins() if plugin.damage)


def _read(point: EntryPoint) -> Plugin:
    distribution = f"{point.dist.name} {point.dist.version}"
    remedy = f"(reinstall or uninstall {point.dist.name})"
    if not all(part.isidentifier() for part in point.value.split(".")):
        return Plugin(point.value, distribution, None, f"'{point.value}' must be the name of a package {remedy}")
    folder = _folder(point.value)
    if folder is None:
        return Plugin(point.value, distribution, None, f"there is no package {point.value} {remedy}")
    if not (folder / "conf").is_dir():
        return Plugin(point.value, distribution, None, f"its package has no folder conf {remedy}")
    return Plugin(point.value, distribution, folder / "conf")


def _folder(package: str) -> Path | None:
    """The folder of a package, found without importing it: only the first part is looked up by Python itself."""
    root, *rest = package.split(".")
    spec = find_spec(root)
    places = spec.submodule_search_locations if spec else None
    folders = [Path(place).joinpath(*rest) for place in places or ()]
    return next((folder for folder in folders if folder.is_dir()), None)
