"""From overrides to a checked `RunConfig`: Hydra composes the YAML files, and nothing after this file knows Hydra."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, MissingConfigException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kerasnn.config import schema
from kerasnn.config.folders import conf_dir, doubled, further_dirs, groups
from kerasnn.config.inherit import inherited
from kerasnn.config.leaves import leaves
from kerasnn.config.plugins import left_out, plugins
from kerasnn.config.strict import RunConfig, check_hydra, strict
from kerasnn.errors import ConfigError, unknown

VERSION_BASE = "1.3"

REMOVABLE = re.compile(rf"({'|'.join(schema.NAMED)})\.\w+")

PACKAGES = {
    ("hydra/launcher", "submitit_slurm"): "pip install 'kerasnn[slurm]'",
    ("hydra/launcher", "submitit_local"): "pip install 'kerasnn[slurm]'",
    ("hydra/launcher", "ray"): 'pip install "ray[default]<3"; pip install --no-deps hydra-ray-launcher',
}
"""What brings a choice that is Hydra's and not ours."""


class FurtherFolders(SearchPathPlugin):
    """Adds the user's own `conf/` and the plug-ins' to every search path that Hydra makes, shell completion's included.

    The order decides nothing: a choice that two folders have is refused, unless both files are the same.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Hydra's hook, called after kerasnn's own folder was added."""
        for folder in further_dirs():
            search_path.append("kerasnn", f"file://{folder}")


def register() -> None:
    """Makes known to Hydra what it needs: the sections' defaults (`schema` in the defaults list), further folders."""
    ConfigStore.instance().store(name="schema", node=schema.defaults())
    Plugins.instance().register(FurtherFolders)


def search_path_override(further: str | None) -> list[str]:
    """The override that adds a `further` folder, that of `--config-dir`, to Hydra's search path."""
    return [f"hydra.searchpath=[file://{Path(further).absolute()}]"] if further else []


def parse_overrides(overrides: list[str]) -> list[Override]:
    """Hydra's reading of `key=value` words.

    Raises:
        ConfigError: a word that is none.
    """
    parsed = []
    for override in overrides:
        try:
            parsed += OverridesParser.create().parse_overrides([override])
        except HydraException as error:
            raise ConfigError(
                f"'{override}' is not an override: write key=value, quoting values with spaces"
            ) from error
    return parsed


def open_overrides(overrides: Sequence[str]) -> list[str]:
    """Lets `model.depth=3` set a key that the YAML file does not list: the signature decides, not the file.

    Group choices, Hydra's own keys and overrides that already say `+` or `~` stay as they are. Before them come those
    by which `from=RUN` brings that run's network.
    """
    known = set(groups())
    opened = [_opened(override, known) for override in overrides if override.lstrip("+") != "experiment=null"]
    return [*inherited(overrides), *opened]


def _opened(override: str, known: set[str]) -> str:
    key, _, value = override.partition("=")
    group = key.split("@")[0].split("/")[0]
    if key.lstrip("+") in known:  # `+model=vgg16` means the choice: every group is in the defaults list already.
        return f"{key.lstrip('+')}={repr(value) if value.isdigit() or value == 'null' else value}"
    stays = key.startswith(("+", "~")) or "=" not in override or group in known or group.split(".")[0] == "hydra"
    return override if stays else f"++{override}"


def compose(overrides: Sequence[str] = ()) -> RunConfig:
    """The checked config for a list of overrides, as the command line would give it.

    Raises:
        ConfigError: anything that cannot be meant.

    Example:
        >>> compose(["model=vgg16", "data=cifar10"]).model.target
        'kerasnn.models.vgg.vgg'
    """
    _check_removed(overrides)
    composed = compose_plain(overrides)
    with _as_hydras(composed):
        return checked(composed, choices(overrides))


def check(overrides: Sequence[str]) -> RunConfig:
    """As `compose`, in half the time: `choices` leaves out the groups of which several can be chosen.

    Raises:
        ConfigError: anything that cannot be meant.
    """
    _check_removed(overrides)
    composed = compose_plain(overrides)
    with _as_hydras(composed):
        quick = dict(OmegaConf.to_container(composed.hydra.runtime.choices))
        return checked(composed, choices(overrides) if doubled(_folders()) else quick)


def _check_removed(overrides: Sequence[str]) -> None:
    """`augment.mixup=null` takes an op away: so there must be one, or a typo would leave it in unseen."""
    words = {word: word.lstrip("+").partition("=")[::2] for word in overrides}
    removing = {word: key for word, (key, value) in words.items() if value == "null" and REMOVABLE.fullmatch(key)}
    if not removing:
        return
    composed = compose_plain([word for word in overrides if word not in removing])
    for key in removing.values():
        section, name = key.split(".")
        if name not in composed[section]:
            raise ConfigError(unknown("key", key, [f"{section}.{known}" for known in composed[section]]))


def compose_plain(overrides: Sequence[str]) -> DictConfig:
    """Hydra's composition with its own node, before any check of ours."""
    with _hydra():
        return hydra_compose("config", open_overrides(overrides), return_hydra_config=True)


def choices(overrides: Sequence[str]) -> dict[str, str]:
    """The choice made in every group, such as `{"model": "vgg16", "augment": "flip_crop,colour"}`."""
    with _hydra():
        loader = GlobalHydra.instance().config_loader()
        chosen = loader.compute_defaults_list("config", open_overrides(overrides), RunMode.RUN).defaults
    found: dict[str, str] = {}
    for default in (default for default in chosen if default.config_path):
        group, _, choice = default.config_path.rpartition("/")
        built_on = (default.parent or "").rpartition("/")[0] == group  # Not chosen, but what a choice begins with.
        if group in groups() and not built_on:
            found[group] = f"{found[group]},{choice}" if group in found else choice
    return found


@contextmanager
def _as_hydras(composed: DictConfig) -> Iterator[None]:
    """Within it, a value may say `${hydra:runtime.choices.model}`, as in a job that Hydra runs."""
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(composed)
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before


@contextmanager
def _hydra() -> Iterator[None]:
    register()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_dir()), version_base=VERSION_BASE, job_name="kerasnn"):
            yield
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, OSError, ValueError) as error:
        raise readable(error) from error


def checked(config: DictConfig, chosen: dict[str, str]) -> RunConfig:
    """The `RunConfig` of a composition and the choices that were made for it.

    Raises:
        ConfigError: anything that cannot be meant.
    """
    _check_homes(chosen)
    if "hydra" in config:  # In the check before the launch; a job that Hydra runs is given the rest alone.
        check_hydra(OmegaConf.to_container(config.hydra))
    return strict(_plain(config), chosen)


def _check_homes(chosen: dict[str, str]) -> None:
    for (group, choice), files in doubled(_folders()).items():
        if choice in str(chosen.get(group)).split(","):
            homes = " and by ".join(_home(file) for file in files)
            raise ConfigError(f"{group}={choice} is defined differently by {homes}: rename one of the files")


def _home(file: Path) -> str:
    """Who brought a file of a group, and where it lies."""
    owners = {conf_dir(): "kerasnn", **{plugin.conf: str(plugin) for plugin in plugins()}}
    return f"{owners.get(file.parents[1], 'you')} ({file})"


def _folders() -> list[Path]:
    """The folders of YAML files that the composition at hand was searched in."""
    return [Path(source.path) for source in HydraConfig.get().runtime.config_sources if source.schema == "file"]


def _plain(config: DictConfig) -> dict[str, Any]:
    body = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    try:
        return OmegaConf.to_container(body, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key} cannot be resolved: {_first_line(error)}") from error


def changed_values(config: RunConfig, searched: Sequence[str] = ()) -> dict[str, Any]:
    """The dotted keys whose values differ from what the group choices alone would give.

    Args:
        config: a checked config.
        searched: the override of the search path, where the choices lie in further folders.
    """
    chosen = {group: choice for group, choice in config.choices.items() if group != "experiment"}
    several = (*schema.NAMED, "regularisation")
    plain = [f"{group}=[{c}]" if group in several else f"{group}={c}" for group, c in chosen.items()]
    # Composed, not checked: a choice alone may lack what only the user can say, such as data.dir.
    before = dict(leaves(OmegaConf.to_container(compose_plain([*plain, *searched]))))
    return {key: value for key, value in leaves(config.values) if before.get(key, ...) != value}


def readable(error: Exception) -> ConfigError:
    """Hydra's, OmegaConf's and YAML's errors as one line, with the nearest name or the place in the file."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        package = PACKAGES.get((group, choice))
        missing = f"; it comes with {package}" if package else left_out()
        return ConfigError(unknown(group, choice, groups().get(group, error.options or [])) + missing)
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return ConfigError(f"{error.problem_mark.name}, line {error.problem_mark.line + 1}: {error.problem}")
    return ConfigError(_first_line(error))


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines).replace(os.linesep, " ") if len(lines) < 3 else lines[0]
