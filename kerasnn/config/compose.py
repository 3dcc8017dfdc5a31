"""From overrides to a checked `RunConfig`: Hydra composes the YAML files, and nothing after this file knows Hydra."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, get_type_hints

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kerasnn.config import schema
from kerasnn.config.recipe import Recipe, check_value, read_recipe
from kerasnn.config.signature import signature
from kerasnn.errors import ConfigError, suggestion, unknown

PACKAGE = Path(__file__).resolve().parents[1]

SUPPLIED = {
    "model": ("input_shape", "num_classes"),
    "schedule": ("learning_rate", "steps_per_epoch", "epochs"),
}
"""Arguments that run.py passes when it applies a section's recipe: no config sets them."""

HOLD_OUT = "kerasnn.data.bundle.make_bundle"
"""Takes the keys that every data set shares (image_size, validation_fraction …), beside the source's own."""

VERSION_BASE = "1.3"


@dataclass(frozen=True)
class RunConfig:
    """A whole run, checked: plain values and unapplied recipes.

    `choices` are the group choices by name, `values` the plain config that was composed.
    """

    seed: int
    name: str
    model: Recipe
    data: Recipe
    bundle: dict[str, Any]
    augment: dict[str, Recipe]
    optimizer: Recipe
    schedule: Recipe
    trainer: schema.Trainer
    callbacks: dict[str, Recipe]
    strategy: schema.Strategy
    tracking: schema.Tracking
    choices: dict[str, str]
    values: dict[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 of everything that changes what a run computes: not its name, nor where data and record lie."""
        values = {key: value for key, value in self.values.items() if key not in ("name", "tracking")}
        values["data"] = {key: value for key, value in values["data"].items() if key != "dir"}
        return sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    @property
    def yaml(self) -> str:
        """The composed config as YAML."""
        return OmegaConf.to_yaml(OmegaConf.create(self.values))


def conf_dir() -> Path:
    """The folder of YAML files: inside an installed package, or beside it in a checkout."""
    installed = PACKAGE / "conf"
    return installed if installed.is_dir() else PACKAGE.parent / "conf"


def user_conf_dir() -> Path | None:
    """A `conf/` folder of the user's own in the working directory, if there is one."""
    own = Path.cwd() / "conf"
    return own if own.is_dir() and own.resolve() != conf_dir().resolve() else None


def groups() -> dict[str, list[str]]:
    """Every group and its choices, the user's own included."""
    found: dict[str, set[str]] = {}
    for root in filter(None, (conf_dir(), user_conf_dir())):
        for folder in sorted(path for path in root.iterdir() if path.is_dir() and path.name != "hydra"):
            found.setdefault(folder.name, set()).update(file.stem for file in folder.glob("*.yaml"))
    return {group: sorted(choices) for group, choices in found.items()}


def register_schema() -> None:
    """Makes the sections' defaults known to Hydra, as the `schema` at the head of the defaults list."""
    ConfigStore.instance().store(name="schema", node=schema.defaults())


def search_path_override(further: str | None = None) -> list[str]:
    """The override that adds the user's own `conf/`, and a `further` folder, to Hydra's search path."""
    folders = filter(None, (user_conf_dir(), further and Path(further).absolute()))
    found = ",".join(f"file://{folder}" for folder in folders)
    return [f"hydra.searchpath=[{found}]"] if found else []


def open_overrides(overrides: Sequence[str]) -> list[str]:
    """Lets `model.depth=3` set a key that the YAML file does not list: the signature decides, not the file.

    Group choices, Hydra's own keys and overrides that already say `+` or `~` stay as they are.
    """
    known = set(groups())
    return [_opened(override, known) for override in overrides if override.lstrip("+") != "experiment=null"]


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
    composed = compose_plain(overrides)
    with _as_hydras(composed):
        return strict(composed, choices(overrides))


def check(overrides: Sequence[str]) -> RunConfig:
    """As `compose`, in half the time: `choices` leaves out the groups of which several can be chosen.

    Raises:
        ConfigError: anything that cannot be meant.
    """
    composed = compose_plain(overrides)
    with _as_hydras(composed):
        return strict(composed, dict(OmegaConf.to_container(composed.hydra.runtime.choices)))


def compose_plain(overrides: Sequence[str]) -> DictConfig:
    """Hydra's composition with its own node, before any check of ours."""
    with _hydra():
        return hydra_compose("config", _complete(overrides), return_hydra_config=True)


def choices(overrides: Sequence[str]) -> dict[str, str]:
    """The choice made in every group, such as `{"model": "vgg16", "augment": "flip_crop,colour"}`."""
    with _hydra():
        loader = GlobalHydra.instance().config_loader()
        chosen = loader.compute_defaults_list("config", _complete(overrides), RunMode.RUN).defaults
    found: dict[str, str] = {}
    for group, _, choice in (default.config_path.rpartition("/") for default in chosen if default.config_path):
        if group in groups():
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
    register_schema()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_dir()), version_base=VERSION_BASE, job_name="kerasnn"):
            yield
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise readable(error) from error


def _complete(overrides: Sequence[str]) -> list[str]:
    searched = any(override.startswith("hydra.searchpath=") for override in overrides)
    return [*open_overrides(overrides), *([] if searched else search_path_override())]


def strict(config: DictConfig, chosen: dict[str, str]) -> RunConfig:
    """Checks every key and value of a composition.

    Raises:
        ConfigError: an unknown key, a value of a wrong type or range, a target that is not allowed.
    """
    values = _plain(config)
    values.pop("hydra", None)
    _check_keys(values)
    _check_choices(chosen)
    general = _fixed("", schema.General, {key: values[key] for key in ("seed", "name")})
    data = values["data"]
    shared = set(signature(HOLD_OUT).parameters) - {"source"} if "_target_" in data else set()
    sections = {name: _fixed(f"{name}.", section, values[name]) for name, section in schema.FIXED.items()}
    optimizer = read_recipe("optimizer", values["optimizer"])
    if "learning_rate" not in optimizer.arguments:
        raise ConfigError(
            "optimizer.learning_rate is missing: schedules start from it, set optimizer.learning_rate=0.001"
        )
    _check_sense(sections["trainer"], sections["tracking"], values["model"], chosen["model"])
    schema.check_shares(sections["trainer"].batch_size, sections["strategy"].devices or 1)
    return RunConfig(
        seed=general.seed,
        name=general.name or chosen["model"],
        model=read_recipe("model", values["model"], SUPPLIED["model"]),
        data=_read_data(data, shared),
        bundle={key: value for key, value in data.items() if key in shared},
        optimizer=optimizer,
        schedule=read_recipe("schedule", values["schedule"], SUPPLIED["schedule"]),
        choices=chosen,
        values=values,
        **sections,
        **{name: _named(name, values[name]) for name in schema.NAMED},
    )


def _plain(config: DictConfig) -> dict[str, Any]:
    body = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    try:
        return OmegaConf.to_container(body, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key} cannot be resolved: {_first_line(error)}") from error


def _check_keys(values: dict[str, Any]) -> None:
    known = schema.defaults()
    for key in known:
        if key not in values:
            raise ConfigError(f"{key} is missing: every run needs it, do not take it away with ~{key}")
    for key, value in values.items():
        if key not in known:
            raise ConfigError(unknown("key", key, _likely(key, known, values)))
        if isinstance(known[key], dict) and not isinstance(value, dict):
            raise ConfigError(f"{key}={value} must be a section: {suggestion(str(value), groups().get(key, []))}")


def _check_choices(chosen: dict[str, str]) -> None:
    for group in (*schema.OPEN, *schema.FIXED):
        if "," in str(chosen.get(group, ",")):
            raise ConfigError(f"{group} takes exactly one choice: {suggestion('', groups()[group])} (-m runs several)")


def _check_sense(trainer: schema.Trainer, tracking: schema.Tracking, model: dict[str, Any], name: str) -> None:
    """Values that are legal each and mean nothing together."""
    if trainer.loss != "cross_entropy" and trainer.label_smoothing:
        raise ConfigError(f"trainer.label_smoothing={trainer.label_smoothing} needs trainer.loss=cross_entropy")
    if not tracking.experiment:
        raise ConfigError("tracking.experiment must be a name, received none: set tracking.experiment=kerasnn")
    variant = model.get("variant", name)
    if variant != name and (conf_dir() / "model" / f"{name}.yaml").exists():
        raise ConfigError(f"model.variant={variant} does not fit model={name}: choose model={variant}")


def _likely(key: str, known: dict[str, Any], values: dict[str, Any]) -> list[str]:
    """The names to offer for a stray key: the top level, or `trainer.epochs` to one who wrote `epochs`."""
    inner = [f"{section}.{k}" for section in known if isinstance(values.get(section), dict) for k in values[section]]
    return [name for name in inner if name.split(".")[1] == key] or list(known)


def _fixed(prefix: str, section: type, values: dict[str, Any]) -> Any:
    types = get_type_hints(section, include_extras=True)
    for key, value in values.items():
        if key not in types:
            raise ConfigError(unknown("key", prefix + key, [prefix + name for name in types]))
        check_value(prefix + key, value, types[key])
    for field in fields(section):
        if field.name not in values:
            raise ConfigError(f"{prefix}{field.name} is missing: do not take it away with ~{prefix}{field.name}")
    return section(**values)


def _read_data(data: dict[str, Any], shared: set[str]) -> Recipe:
    """The source's recipe; keys that every data set shares are checked against `make_bundle`."""
    if "_target_" in data:
        own = signature(data["_target_"]).parameters
        for key, value in data.items():
            if key in shared:
                check_value(f"data.{key}", value, signature(HOLD_OUT).parameters[key].annotation)
            elif key not in own and key != "_target_":
                raise ConfigError(unknown("key", f"data.{key}", [f"data.{name}" for name in {*own, *shared}]))
    return read_recipe("data", {key: value for key, value in data.items() if key not in shared})


def _named(section: str, values: dict[str, Any]) -> dict[str, Recipe]:
    return {name: read_recipe(f"{section}.{name}", recipe) for name, recipe in values.items() if recipe is not None}


def changed_values(config: RunConfig, searched: Sequence[str] = ()) -> dict[str, Any]:
    """The dotted keys whose values differ from what the group choices alone would give.

    Args:
        config: a checked config.
        searched: the override of the search path, where the choices lie in further folders.
    """
    chosen = {group: choice for group, choice in config.choices.items() if group != "experiment"}
    plain = [f"{group}=[{c}]" if group in schema.NAMED else f"{group}={c}" for group, c in chosen.items()]
    # Composed, not checked: a choice alone may lack what only the user can say, such as data.dir.
    before = dict(_leaves(OmegaConf.to_container(compose_plain([*plain, *searched]))))
    return {key: value for key, value in _leaves(config.values) if before.get(key, ...) != value}


def _leaves(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def readable(error: Exception) -> ConfigError:
    """Hydra's and OmegaConf's errors as one line with the nearest name."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        return ConfigError(unknown(group, choice, groups().get(group, error.options or [])))
    return ConfigError(_first_line(error))


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines).replace(os.linesep, " ") if len(lines) < 3 else lines[0]
