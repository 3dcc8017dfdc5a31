"""Where the YAML files lie, and which choices they offer."""

from collections.abc import Iterable
from pathlib import Path

from kerasnn.config.plugins import plugins

PACKAGE = Path(__file__).resolve().parents[1]


def conf_dir() -> Path:
    """The folder of YAML files: inside an installed package, or beside it in a checkout."""
    installed = PACKAGE / "conf"
    return installed if installed.is_dir() else PACKAGE.parent / "conf"


def user_conf_dir() -> Path | None:
    """A `conf/` folder of the user's own in the working directory, if there is one."""
    own = Path.cwd() / "conf"
    return own if own.is_dir() and own.resolve() != conf_dir().resolve() else None


def further_dirs() -> list[Path]:
    """The folders beside kerasnn's own, in the order in which they are searched: the user's, then the plug-ins'."""
    own = user_conf_dir()
    return [*([own] if own else []), *(plugin.conf for plugin in plugins() if plugin.conf)]


def doubled(folders: Iterable[Path]) -> dict[tuple[str, str], list[Path]]:
    """The choices, as (group, choice), that several folders have with different content, and the files of each.

    Hydra would take the first and say nothing: a `model=tiny` that means one network here and another there.
    """
    homes: dict[tuple[str, str], list[Path]] = {}
    for file in (file for folder in folders for file in folder.glob("*/*.yaml") if file.parent.name != "hydra"):
        homes.setdefault((file.parent.name, file.stem), []).append(file)
    several = {choice: files for choice, files in homes.items() if len(files) > 1}
    return {choice: files for choice, files in several.items() if len({file.read_bytes() for file in files}) > 1}


def groups() -> dict[str, list[str]]:
    """Every group and its choices, the user's own and the plug-ins' included."""
    found: dict[str, set[str]] = {}
    for root in (conf_dir(), *further_dirs()):
        for folder in sorted(path for path in root.iterdir() if path.is_dir() and path.name != "hydra"):
            found.setdefault(folder.name, set()).update(file.stem for file in folder.glob("*.yaml"))
    return {group: sorted(choices) for group, choices in found.items()}
