"""Devices: which ones, how a global batch meets them, and what TensorFlow must be told before it starts."""

import logging
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import keras
import tensorflow as tf

from kerasnn.errors import ConfigError, DeviceError

log = logging.getLogger(__name__)

MOST_STEPS, MOST_WORK = 10, 10 * 10**9  # Forward FLOPs: some tenths of a second of training on two cores.


@dataclass(frozen=True)
class Devices:
    """The devices of a run. `kind` is GPU or CPU, `count` the number of replicas."""

    kind: Literal["GPU", "CPU"]
    count: int
    strategy: tf.distribute.Strategy

    def __str__(self) -> str:
        return f"{self.count} {self.kind}{'s' if self.count > 1 else ''}"

    def scope(self) -> AbstractContextManager:
        """Variables made inside live on every replica."""
        return self.strategy.scope()


def open_devices(name: Literal["auto", "single", "mirrored"] = "auto", devices: int | None = None) -> Devices:
    """Chooses devices and opens the strategy over them.

    Args:
        name: `single` is one device; `mirrored` a replica per device; `auto` whichever fits `devices`.
        devices: how many; None takes all GPUs, or one CPU. Without a GPU, logical CPU devices are made.

    Raises:
        DeviceError: more GPUs than there are, or TensorFlow already runs with fewer CPU devices.
        ConfigError: several devices for `single`.
    """
    if name == "single" and (devices or 1) > 1:
        raise ConfigError(f"strategy=single has one device, received strategy.devices={devices}: use strategy=mirrored")
    gpus = tf.config.list_physical_devices("GPU")
    kind = "GPU" if gpus else "CPU"
    count = 1 if name == "single" else devices or max(len(gpus), 1)
    if gpus:
        _claim_gpus(gpus, count)
    else:
        _make_cpus(count)
    if count == 1 and name != "mirrored":
        return Devices(
            kind, count, tf.distribute.OneDeviceStrategy(f"{kind}:0") if gpus else tf.distribute.get_strategy()
        )
    # Synchronised batch norm reduces within a keyed group, and a second strategy of another size in this process
    # would join the first one's group and fail; TensorFlow's own tests keep their strategies apart like this.
    tf.distribute.MirroredStrategy._collective_key_base += 100_000
    return Devices(kind, count, tf.distribute.MirroredStrategy([f"{kind}:{index}" for index in range(count)]))


def _claim_gpus(gpus: list, count: int) -> None:
    if count > len(gpus):
        raise DeviceError(
            f"strategy.devices={count}, but TensorFlow sees {len(gpus)} GPU(s): ask for at most that many"
        )
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)


def _make_cpus(count: int) -> None:
    """Splits the CPU into `count` logical devices; possible only before TensorFlow's first operation."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        if count > len(tf.config.get_logical_device_configuration(cpu) or [None]):
            tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError as error:
        started = len(tf.config.list_logical_devices("CPU"))
        raise DeviceError(
            f"strategy.devices={count}, but this process already runs TensorFlow with {started} CPU device(s): "
            "start a process of its own for it (a sweep over strategy.devices: largest first)"
        ) from error


def prepare_process(seed: int, precision: str, deterministic: bool) -> None:
    """Puts Keras into the state that a run starts from: nothing left of the run before, seeded, in one precision."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(precision)
    if deterministic:
        tf.config.experimental.enable_op_determinism()


def use_jit(asked: bool | Literal["auto"], devices: Devices) -> bool:
    """Whether to compile with XLA: `auto` is yes on one GPU only; on a CPU it makes convolutions 4 to 8 times slower,
    and with several replicas hangs are reported (keras issue 20763).
    """
    return (devices.kind == "GPU" and devices.count == 1) if asked == "auto" else asked


def steps_per_call(steps: int, work: int, devices: Devices) -> int:
    """How many steps TensorFlow does between two visits to Python, which cost about a millisecond each.

    At most ten, a divisor of an epoch's steps, and not so many that a call takes long: Ctrl-C, the progress bar and the
    watch for NaN wait for its end.

    Args:
        steps: of an epoch.
        work: FLOPs of a forward pass over one batch.
        devices: several replicas return to Python after each step.

    Example:
        >>> steps_per_call(200, 107_000_000, devices)      # LeNet-5 at batch 128
        10
    """
    if devices.count > 1:
        return 1
    most = min(MOST_STEPS, steps // 2, MOST_WORK // max(work, 1))
    return max((number for number in range(2, most + 1) if steps % number == 0), default=1)


def check_accumulation(optimizer: keras.optimizers.Optimizer, devices: Devices) -> None:
    """Steps are added up to an update on one device only: Keras does so in a branch, which replicas cannot meet in.

    Raises:
        ConfigError: there are several.
    """
    steps = optimizer.gradient_accumulation_steps
    if steps and devices.count > 1:
        raise ConfigError(
            f"optimizer.accumulation_steps={steps} needs one device, and there are {devices.count}: set it to 1 and "
            "take a larger trainer.batch_size, which they share, or choose strategy=single"
        )


def synchronise_batch_norm(model: keras.Model, devices: Devices) -> None:
    """Batch normalisation over the global batch, not each replica's share: their number then changes nothing."""
    if devices.count > 1:
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True
