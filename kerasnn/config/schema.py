"""The fixed sections of a config, with their defaults. The open ones (model, data …) are checked against signatures."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from kerasnn.errors import ConfigError
from kerasnn.ranges import Count, Fraction, Positive, Range, Seed

Share = Annotated[float, Range(above=0, high=1)]
"""A part of something that stays: 0 < x <= 1."""


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
class Finetune:
    """How weights from elsewhere are made to fit new data, phase by phase, within `trainer.epochs`.

    Args:
        head_epochs: epochs in which only the head learns, and what else has no weights yet.
        unfreeze: the stage from which on, up to the head, everything learns after that: `conv5`, `block_16`, `stage4`
            for the fourth from below, `all`; several are a phase each and share the epochs; null leaves it at the head.
        bn: batch normalization: `frozen` keeps statistics, scales and shifts; `adapt` lets the statistics of all layers
            move and keeps scales and shifts; `train` treats it as its stage is treated.
        factor: what `optimizer.learning_rate` is multiplied by once stages are unfrozen.
        layer_decay: what a stage's learning rate is multiplied by, compared with the one above it.
        lora_rank: rank of the updates that dense layers, those of attention included, learn instead of new kernels, Hu
            2022; null learns kernels.
    """

    head_epochs: Count = 3
    unfreeze: str | Sequence[str] | None = "all"
    bn: Literal["frozen", "adapt", "train"] = "frozen"
    factor: Share = 0.1
    layer_decay: Share = 1.0
    lora_rank: Positive | None = None

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages to unfreeze from, a phase each."""
        return (self.unfreeze,) if isinstance(self.unfreeze, str) else tuple(self.unfreeze or ())


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

OPTIONAL = {"finetune": Finetune}
"""Such sections that a choice of `trainer` brings, and that are null without it."""

FROM = "from"
"""The key, a word that Python keeps for itself, that names the weights to start from."""

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
    absent = dict.fromkeys((FROM, *OPTIONAL))
    return {**asdict(General()), **absent, **fixed, **{section: {} for section in (*OPEN, *NAMED)}}
