"""The fixed sections of a config, with their defaults. The open ones (model, data …) are checked against signatures."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from kerasnn.errors import ConfigError
from kerasnn.ranges import Count, Fraction, Positive, PositiveFloat, Range, Seed

Port = Annotated[int, Range(low=1, below=2**16)]
"""A port of TCP."""

Share = Annotated[float, Range(above=0, high=1)]
"""A part of something that stays: 0 < x <= 1."""


@dataclass(frozen=True)
class Trainer:
    """How to train.

    Args:
        epochs: passes over the training split.
        batch_size: examples per step, over all devices together.
        steps_per_epoch: a limit on the steps of an epoch; None takes every full batch.
        learning_rate_scaling: what a larger batch does to `optimizer.learning_rate`: `linear` multiplies it by
            batch_size / base_batch_size, Goyal 2017; `sqrt` by the root of that, Krizhevsky 2014; `none` leaves it.
        base_batch_size: the batch that the learning rate was found for.
        loss: `cross_entropy`, or Rosenblatt's `perceptron` rule as a loss.
        label_smoothing: share of each label spread over all classes, Szegedy 2016; for `cross_entropy`.
        jit: compile the step with XLA. `auto`: on with one GPU, off on a CPU; not with several devices.
        precision: the arithmetic of the layers; weights stay float32.
        deterministic: the same bits on every run of the same machine, for some speed; once on, a process stays so.
    """

    epochs: Positive = 20
    batch_size: Positive = 128
    steps_per_epoch: Positive | None = None
    learning_rate_scaling: Literal["none", "linear", "sqrt"] = "none"
    base_batch_size: Positive = 128
    loss: Literal["cross_entropy", "perceptron"] = "cross_entropy"
    label_smoothing: Fraction = 0.0
    jit: Literal["auto", True, False] = "auto"
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    deterministic: bool = False

    @property
    def rate_factor(self) -> float:
        """What the learning rate is multiplied by for this batch."""
        power = {"none": 0.0, "linear": 1.0, "sqrt": 0.5}[self.learning_rate_scaling]
        return (self.batch_size / self.base_batch_size) ** power


@dataclass(frozen=True)
class Finetune:
    """How weights from elsewhere are made to fit new data, phase by phase, within `trainer.epochs`.

    Args:
        head_epochs: epochs in which only the head learns, and what else has no weights yet; all, where nothing is
            unfrozen.
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
    """On what to train.

    Args:
        name: `single` is one device, `mirrored` a replica per device of this machine, `multi_worker` a replica per
            device of several machines, `tpu` the cores of a TPU; `auto` is single or mirrored, as `devices` has it.
        kind: `GPU` insists on GPUs, `CPU` leaves those that there are alone, `auto` takes GPUs where there are any.
        devices: how many, on each machine; null takes all GPUs, or one CPU.
        synchronise_batch_norm: statistics of the whole batch. Without it each replica has those of its own share, and
            results depend on the number of replicas; the statistics that are kept are those of the first one.
        communication: how gradients are added up: `nccl` between GPUs; `hierarchical_copy` between devices of one
            machine; `ring` between machines. `auto` is NCCL where there are several GPUs, otherwise what fits.
        workers: of `multi_worker`, as `host:port`; null takes them from TF_CONFIG or from Slurm.
        index: which of the workers this process is, from 0.
        port: of Slurm's first task on each node; null derives one from the job's number.
        timeout_seconds: how long to wait for a worker that does not appear, or does not answer any more.
        tpu: address of a TPU, as `grpc://host:port`; null is the one of this machine.
    """

    name: Literal["auto", "single", "mirrored", "multi_worker", "tpu"] = "auto"
    kind: Literal["auto", "GPU", "CPU"] = "auto"
    devices: Positive | None = None
    synchronise_batch_norm: bool = True
    communication: Literal["auto", "nccl", "hierarchical_copy", "ring"] = "auto"
    workers: Sequence[str] | None = None
    index: Count | None = None
    port: Port | None = None
    timeout_seconds: PositiveFloat = 60.0
    tpu: str | None = None


DETERMINING = ("synchronise_batch_norm",)
"""Keys of `strategy` that change what a training computes; the others say where it does so."""


@dataclass(frozen=True)
class Tracking:
    """Where the record goes. `uri`: any MLflow tracking server; None is SQLite at runs/mlflow.db."""

    backend: Literal["mlflow", "none"] = "mlflow"
    uri: str | None = None
    experiment: str = "kerasnn"


@dataclass(frozen=True)
class General:
    """The keys outside any section.

    Args:
        seed: of everything that is drawn.
        name: of the run; None takes the model's.
        resume: the run to go on with: its id, name or folder; `auto` is the newest that was cut off with this very
            config, or a new one where there is none.
    """

    seed: Seed = 0
    name: str | None = None
    resume: str | None = None


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


COMMUNICATIONS = {
    "auto": ("auto", "nccl", "hierarchical_copy"),
    "mirrored": ("auto", "nccl", "hierarchical_copy"),
    "multi_worker": ("auto", "nccl", "ring"),
}
"""The ways in which the replicas of a strategy can add up their gradients; a strategy that is not here has but one."""


def check_strategy(strategy: Strategy) -> None:
    """Values that are legal each and mean nothing together.

    Raises:
        ConfigError: a way of communication that the strategy does not have, or an address of no TPU's.
    """
    ways = COMMUNICATIONS.get(strategy.name, ("auto",))
    if strategy.communication not in ways:
        received = f"strategy.communication={strategy.communication}"
        raise ConfigError(f"{received} is not for strategy={strategy.name}: known: {', '.join(ways)}")
    if strategy.tpu is not None and strategy.name != "tpu":
        raise ConfigError(f"strategy.tpu={strategy.tpu} needs strategy=tpu: choose it")


def check_shares(batch_size: int, devices: int) -> None:
    """Every device must get the same share of a batch.

    Raises:
        ConfigError: the global batch cannot be divided; the message offers the nearest that can.
    """
    if batch_size % devices:
        below = batch_size // devices * devices
        sizes = f"{below} or {below + devices}" if below else devices
        raise ConfigError(f"trainer.batch_size={batch_size} cannot be shared by {devices} devices: take {sizes}")


def determining(values: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a plain config that determines a training: not its name, nor where data, record, devices are.

    Example:
        >>> determining({"seed": 3, "name": "mine", "data": {"dir": "/data"}, "strategy": {"devices": 2}})
        {'seed': 3, 'data': {}, 'strategy': {}}
    """
    kept = {key: value for key, value in values.items() if key not in ("name", "resume", "tracking")}
    kept["data"] = {key: value for key, value in values["data"].items() if key != "dir"}
    kept["strategy"] = {key: value for key, value in values["strategy"].items() if key in DETERMINING}
    return kept


def defaults() -> dict:
    """The plain config that the YAML files are merged over."""
    fixed = {section: asdict(schema()) for section, schema in FIXED.items()}
    absent = dict.fromkeys((FROM, *OPTIONAL))
    return {**asdict(General()), **absent, **fixed, **{section: {} for section in (*OPEN, *NAMED)}}
