"""The fixed sections of a config, with their defaults. The open ones (model, data …) are checked against signatures."""

from dataclasses import asdict, dataclass
from typing import Literal

from kerasnn.errors import ConfigError
from kerasnn.ranges import Fraction, Positive, Seed


@dataclass(frozen=True)
class Trainer:
    """How to train.

    Args:
        epochs: passes over the training split.
        batch_size: examples per step, over all devices together.
        steps_per_epoch: a limit on the steps of an epoch; None takes every full batch.
        loss: `cross_entropy`, or Rosenblatt's `perceptron` rule as a loss.
        label_smoothing: share of each label spread over all classes, Szegedy 2016; for `cross_entropy`.
        jit: compile the step with XLA. `auto`: on with one GPU, off on a CPU and with several devices.
        precision: the arithmetic of the layers; weights stay float32.
        deterministic: the same bits on every run of the same machine, for some speed; once on, a process stays so.
    """

    epochs: Positive = 20
    batch_size: Positive = 128
    steps_per_epoch: Positive | None = None
    loss: Literal["cross_entropy", "perceptron"] = "cross_entropy"
    label_smoothing: Fraction = 0.0
    jit: Literal["auto", True, False] = "auto"
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    deterministic: bool = False


@dataclass(frozen=True)
class Strategy:
    """On what to train. `devices`: how many; None takes all GPUs, or one CPU."""

    name: Literal["auto", "single", "mirrored"] = "auto"
    devices: Positive | None = None


@dataclass(frozen=True)
class Tracking:
    """Where the record goes. `uri`: any MLflow tracking server; None is SQLite at runs/mlflow.db."""

    backend: Literal["mlflow", "none"] = "mlflow"
    uri: str | None = None
    experiment: str = "kerasnn"


@dataclass(frozen=True)
class General:
    """The keys outside any section. `name`: of the run; None takes the model's."""

    seed: Seed = 0
    name: str | None = None


FIXED = {"trainer": Trainer, "strategy": Strategy, "tracking": Tracking}
"""Sections whose keys are the fields of a dataclass."""

OPEN = ("model", "data", "optimizer", "schedule")
"""Sections that are one recipe: `_target_` and its arguments."""

NAMED = ("augment", "callbacks")
"""Sections that are a mapping of names to recipes, in order."""


def check_shares(batch_size: int, devices: int) -> None:
    """Every device must get the same share of a batch.

    Raises:
        ConfigError: the global batch cannot be divided; the message offers the nearest that can.
    """
    if batch_size % devices:
        below = max(batch_size // devices, 1) * devices
        raise ConfigError(
            f"trainer.batch_size={batch_size} cannot be shared by {devices} devices: take {below} or {below + devices}"
        )


def defaults() -> dict:
    """The plain config that the YAML files are merged over."""
    fixed = {section: asdict(schema()) for section, schema in FIXED.items()}
    return {**asdict(General()), **fixed, **{section: {} for section in (*OPEN, *NAMED)}}
