"""Every key and value of a composition checked, and the `RunConfig` that is left of it."""

import json
from dataclasses import dataclass, fields
from hashlib import sha256
from typing import Any, get_type_hints

from omegaconf import OmegaConf

from kerasnn.config import schema
from kerasnn.config.folders import conf_dir, groups
from kerasnn.config.plugins import plugins
from kerasnn.config.recipe import Recipe, check_value, read_recipe
from kerasnn.config.signature import signature
from kerasnn.errors import ConfigError, suggestion, unknown

SUPPLIED = {
    "model": ("input_shape", "num_classes", "vocab_size"),
    "model.pretrain": ("model", "bundle", "tracker", "seed", "batch_size"),
    "schedule": ("learning_rate", "steps_per_epoch", "epochs"),
    "callbacks": ("folder", "tracker", "validation", "record"),
}
"""Arguments that run.py passes when it applies a section's recipe: no config sets them."""

START = ("weights", "pretrain")
"""Keys that every model has beside its builder's own: from where its weights start, before the first step of fit."""

HYDRA_BUILDS = {
    "_target_": ("hydra._internal.core_plugins.", "hydra_plugins."),
    "class": ("logging.", "colorlog."),
    "()": ("logging.", "colorlog."),
}
"""Keys below `hydra` whose value is called, and where it may lie."""

CONSTANT = "kerasnn.training.schedules.constant"
LOWERING = ("kerasnn.training.plateau.reduce_on_plateau", "keras.callbacks.ReduceLROnPlateau")
"""Callbacks that set the learning rate, which they can only where no schedule does so at each step."""

HOLD_OUT = "kerasnn.data.bundle.make_bundle"
"""Takes the keys that every data set shares (image_size, validation_fraction …), beside the source's own."""


@dataclass(frozen=True)
class RunConfig:
    """A whole run, checked: plain values and unapplied recipes.

    `resume` is the folder of the run to go on with, once it is found.
    `weights` names what the model starts from, by `from=` or `model.weights=`; `finetune` is there with
    `trainer=finetune`. `choices` are the group choices by name, `values` the plain config that was composed.
    """

    seed: int
    name: str
    resume: str | None
    model: Recipe
    weights: str | None
    pretrain: Recipe | None
    data: Recipe
    bundle: dict[str, Any]
    augment: dict[str, Recipe]
    optimizer: Recipe
    schedule: Recipe
    trainer: schema.Trainer
    finetune: schema.Finetune | None
    callbacks: dict[str, Recipe]
    strategy: schema.Strategy
    tracking: schema.Tracking
    choices: dict[str, str]
    values: dict[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 of everything that changes what a run computes: not its name, nor where data, record, devices are."""
        return sha256(json.dumps(schema.determining(self.values), sort_keys=True).encode()).hexdigest()

    @property
    def yaml(self) -> str:
        """The composed config as YAML."""
        return OmegaConf.to_yaml(OmegaConf.create(self.values))


def strict(values: dict[str, Any], chosen: dict[str, str]) -> RunConfig:
    """Checks every key and value of a composition.

    Args:
        values: the plain config, without Hydra's own node.
        chosen: the choice made in every group.

    Raises:
        ConfigError: an unknown key, a value of a wrong type or range, a target that is not allowed.
    """
    _check_keys(values)
    _check_choices(chosen)
    general = _fixed("", schema.General, {key: values[key] for key in ("seed", "name", "resume")})
    data = values["data"]
    shared = set(signature(HOLD_OUT).parameters) - {"source"} if "_target_" in data else set()
    sections = {name: _fixed(f"{name}.", section, values[name]) for name, section in schema.FIXED.items()}
    optional = {name: _optional(name, section, values[name]) for name, section in schema.OPTIONAL.items()}
    optimizer = read_recipe("optimizer", values["optimizer"])
    if "learning_rate" not in optimizer.arguments:
        raise ConfigError(
            "optimizer.learning_rate is missing: schedules start from it, set optimizer.learning_rate=0.001"
        )
    _check_sense(sections["trainer"], sections["tracking"], values["model"], chosen["model"])
    _check_plateau(values["callbacks"], values["schedule"], chosen["schedule"])
    schema.check_strategy(sections["strategy"])
    schema.check_shares(sections["trainer"].batch_size, sections["strategy"].devices or 1)
    return RunConfig(
        seed=general.seed,
        name=general.name or chosen["model"],
        resume=general.resume,
        **_read_start(values, optional["finetune"], sections["trainer"]),
        data=_read_data(data, shared),
        bundle={key: value for key, value in data.items() if key in shared},
        optimizer=optimizer,
        schedule=read_recipe("schedule", values["schedule"], SUPPLIED["schedule"]),
        choices=chosen,
        values=values,
        **sections,
        **optional,
        **{name: _named(name, values[name]) for name in schema.NAMED},
    )


def check_hydra(node: Any, path: str = "hydra") -> None:
    """Hydra too builds what its node names (launchers, callbacks, log handlers): of Hydra and logging alone.

    Args:
        node: Hydra's own part of a composition, or a part of it.
        path: where it stands in the config, for messages.

    Raises:
        ConfigError: a config from a stranger would have Hydra call something else.
    """
    if isinstance(node, list):
        node = dict(enumerate(node))
    for key, value in node.items() if isinstance(node, dict) else ():
        allowed = HYDRA_BUILDS.get(key)
        if allowed and isinstance(value, str) and not value.startswith(allowed):
            raise ConfigError(f"{path}.{key}={value} is not allowed: it must start with {' or '.join(allowed)}")
        check_hydra(value, f"{path}.{key}")


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
    published = (conf_dir(), *(plugin.conf for plugin in plugins() if plugin.conf))
    if variant != name and any((folder / "model" / f"{name}.yaml").exists() for folder in published):
        raise ConfigError(f"model.variant={variant} does not fit model={name}: choose model={variant}")


def _check_plateau(callbacks: dict[str, Any], schedule: dict[str, Any], name: str) -> None:
    for key, recipe in callbacks.items():
        if isinstance(recipe, dict) and recipe.get("_target_") in LOWERING and schedule.get("_target_") != CONSTANT:
            raise ConfigError(
                f"callbacks.{key} lowers the learning rate, but schedule={name} sets it at each step: "
                "choose schedule=constant"
            )


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


def _optional(name: str, section: type, values: Any) -> Any:
    """A section that only some choice brings; None where that was not made."""
    if values is None:
        return None
    if not isinstance(values, dict):
        raise ConfigError(f"{name}={values} must be a section: set its keys, as in {name}.{fields(section)[0].name}=…")
    known = {field.name for field in fields(section)}
    if len(values) <= len(known) / 2:  # Set by hand, then, and not by the choice that brings them all.
        for key in known & set(values):
            raise ConfigError(f"{name}.{key}={values[key]} means nothing without trainer={name}: choose it")
    return _fixed(f"{name}.", section, values)


def _read_start(values: dict[str, Any], finetune: schema.Finetune | None, trainer: schema.Trainer) -> dict[str, Any]:
    """The model's recipe and what it starts from, which `from` and `model.weights` name alike."""
    read = _read_model(values["model"])
    check_value(schema.FROM, values[schema.FROM], str | None)
    if values[schema.FROM] and read["weights"]:
        raise ConfigError(
            f"from={values[schema.FROM]} and model.weights={read['weights']} say the same: give one of them"
        )
    read["weights"] = values[schema.FROM] or read["weights"]
    if finetune and not read["weights"]:
        raise ConfigError(
            "trainer=finetune starts from weights: give from=RUN, from=FILE.keras or model.weights=imagenet"
        )
    stages = len(finetune.stages) if finetune else 0
    if stages and finetune.head_epochs + stages > trainer.epochs:  # Without stages, the head has all epochs.
        parts = "a phase" if stages == 1 else f"{stages} phases"
        phases = f"finetune.head_epochs={finetune.head_epochs} and {parts} of finetune.unfreeze"
        least = finetune.head_epochs + stages
        raise ConfigError(f"trainer.epochs={trainer.epochs} is too few for {phases}: give {least} or more")
    return read


def _read_model(model: dict[str, Any]) -> dict[str, Any]:
    """The builder's recipe, and the keys that every model has: `weights`, and `pretrain`, a recipe of its own."""
    weights, pretrain = (model.get(key) for key in START)
    check_value("model.weights", weights, str | None)
    if pretrain is not None:
        pretrain = read_recipe("model.pretrain", pretrain, SUPPLIED["model.pretrain"])
    own = {key: value for key, value in model.items() if key not in START}
    return {"model": read_recipe("model", own, SUPPLIED["model"], START), "weights": weights, "pretrain": pretrain}


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
    supplied = SUPPLIED.get(section, ())
    recipes = {name: recipe for name, recipe in values.items() if recipe is not None}
    return {name: read_recipe(f"{section}.{name}", recipe, supplied) for name, recipe in recipes.items()}
