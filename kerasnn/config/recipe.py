"""An unapplied call: what to build, and with which arguments, before anything is imported."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from kerasnn.config.plugins import plugin_packages
from kerasnn.config.signature import Signature, signature
from kerasnn.config.values import misfit
from kerasnn.errors import ConfigError, unknown

ALLOWED = {
    "model": ("kerasnn.models.",),
    "model.pretrain": ("kerasnn.training.pretrain.",),
    "data": ("kerasnn.data.",),
    "augment": ("kerasnn.augment.",),
    "optimizer": ("kerasnn.training.optimizers.", "keras.optimizers."),
    "schedule": ("kerasnn.training.schedules.",),
    "callbacks": (
        "kerasnn.training.ema.",
        "kerasnn.training.plateau.",
        "kerasnn.training.reports.",
        "keras.callbacks.ReduceLROnPlateau",
        "keras.callbacks.SwapEMAWeights",
    ),
}
"""Where the `_target_` of each section may point, beside the packages of plug-ins, which somebody chose to install.

A config from a stranger must not be able to run what it likes.
"""

NEEDS = {"kerasnn.training.reports.tensorboard": "tensorboard"}
"""Targets that need a package which kerasnn does not bring along, and which."""

ALLOWED_INSIDE = ("keras.initializers.", "keras.regularizers.", "keras.constraints.")
"""Where the `_target_` of an argument may point."""


@dataclass(frozen=True)
class Recipe:
    """A target and its arguments; calling it imports the target and applies it.

    Example:
        >>> recipe = Recipe("kerasnn.models.vgg.vgg", {"variant": "vgg16"})
        >>> model = recipe(input_shape=(32, 32, 3), num_classes=10)
    """

    target: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def __call__(self, **supplied: Any) -> Any:
        """Imports the target and calls it; what is `supplied`, and taken, beats the recipe's own arguments."""
        self.check_installed()
        found = signature(self.target)
        try:
            build = getattr(import_module(found.module), found.name)
        except ImportError as error:
            raise ConfigError(f"{self.target} cannot be imported: {error}") from error
        arguments = {key: value() if isinstance(value, Recipe) else value for key, value in self.arguments.items()}
        return build(**{**arguments, **{key: supplied[key] for key in supplied if key in found.parameters}})

    def check_installed(self) -> None:
        """Raises ConfigError, one line, if the target needs a package that is not there."""
        package = NEEDS.get(self.target)
        if package and find_spec(package) is None:
            raise ConfigError(f"{self.target} needs the package {package}, which is not here: pip install {package}")


def read_recipe(section: str, values: Any, supplied: Iterable[str] = (), further: Iterable[str] = ()) -> Recipe:
    """The recipe written at `section`, checked against its target's signature.

    Args:
        section: where it stands in the config, for messages: `model`, `augment.flip`.
        values: the plain mapping with `_target_` and arguments.
        supplied: arguments that come from elsewhere at the call; a config may not set them.
        further: keys of the section that are no arguments of the target, to offer when a key is mistyped.

    Raises:
        ConfigError: no `_target_`, a key that the target does not take, a value that does not fit, a missing argument.
    """
    if not isinstance(values, dict) or not isinstance(values.get("_target_"), str):
        raise ConfigError(f"{section} must be a mapping with a _target_, received {values!r}")
    target = values["_target_"]
    section_root, _, inner = section.partition(".")
    named = section in ALLOWED or section_root in ("augment", "callbacks")
    rooms = (*ALLOWED.get(section, ALLOWED[section_root]), *(f"{package}." for package in plugin_packages()))
    allowed = ALLOWED_INSIDE if inner and not named else rooms
    if not target.startswith(allowed):
        raise ConfigError(f"{section}._target_={target} is not allowed: it must start with {' or '.join(allowed)}")
    found = signature(target)
    arguments = {key: value for key, value in values.items() if key != "_target_"}
    supplied = set(supplied)
    choices = set(found.parameters) - supplied
    for key, value in arguments.items():
        if key in supplied & set(found.parameters):
            raise ConfigError(f"{section}.{key} cannot be set: it comes from the data and the trainer")
        if key not in choices:
            raise ConfigError(unknown("key", f"{section}.{key}", [f"{section}.{k}" for k in (*choices, *further)]))
        arguments[key] = _argument(f"{section}.{key}", value, found, key)
    missing = [k for k, p in found.parameters.items() if p.required and k not in arguments and k not in supplied]
    if missing:
        raise ConfigError(f"{section}.{missing[0]} is missing: {target} needs it, set {section}.{missing[0]}=…")
    return Recipe(target, arguments)


def _argument(path: str, value: Any, found: Signature, key: str) -> Any:
    if isinstance(value, dict) and "_target_" in value:
        return read_recipe(path, value)
    check_value(path, value, found.parameters[key].annotation)
    return value


def check_value(path: str, value: Any, annotation: Any) -> None:
    """Raises ConfigError, one line, if the value at `path` cannot be an `annotation`."""
    reason = misfit(value, annotation)
    if reason:
        shown = "null" if value is None else str(value).lower() if isinstance(value, bool) else value
        raise ConfigError(f"{path}={shown} {reason}")
