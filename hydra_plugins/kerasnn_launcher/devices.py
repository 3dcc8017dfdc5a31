"""The devices that runs are given, and what a process must be told so that it sees its own alone."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kerasnn.errors import ConfigError, DeviceError

VISIBLE = "CUDA_VISIBLE_DEVICES"
NONE = ("", "-1", "none", "NoDevFiles")


@dataclass(frozen=True)
class Devices:
    """What there is to give out.

    Args:
        names: of GPUs, as `CUDA_VISIBLE_DEVICES` has them; or of shares of the CPU.
        threads: of each share of the CPU; None where the devices are GPUs.
    """

    names: tuple[str, ...]
    threads: int | None = None

    @property
    def are_gpus(self) -> bool:
        """Whether they are GPUs, of which a run may want several."""
        return self.threads is None

    def environment(self, given: Sequence[str]) -> dict[str, str]:
        """What a process is told that is given some of them.

        Example:
            >>> Devices(("0", "1")).environment(["1"])
            {'CUDA_VISIBLE_DEVICES': '1'}
        """
        if self.are_gpus:
            return {VISIBLE: ",".join(given)}
        threads = str(self.threads)
        names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
        return {VISIBLE: "-1", **dict.fromkeys(names, threads)}

    def label(self, given: Sequence[str]) -> str:
        """Devices as messages name them: `GPU 1`, or `CPU 1 of 2`."""
        if self.are_gpus:
            return f"GPU {'+'.join(given)}"
        return f"CPU {given[0]} of {len(self.names)}"


def find_devices(asked: object, processes: int, environment: Mapping[str, str] | None = None) -> Devices:
    """The devices for a sweep.

    Args:
        asked: `auto` is all GPUs, or shares of the CPU where there is none; a number is the first so many GPUs; a list
            names them; an empty list leaves GPUs alone.
        processes: how many shares the CPU is cut into.
        environment: as `os.environ`, which it is by default.

    Raises:
        ConfigError: what was asked for cannot be meant.
        DeviceError: more GPUs than there are.
    """
    environment = os.environ if environment is None else environment
    if isinstance(asked, Sequence) and not isinstance(asked, str):
        names = tuple(map(str, asked))
        if len(set(names)) < len(names):
            raise ConfigError(f"hydra.launcher.devices=[{','.join(names)}] names a device twice: name each once")
        return Devices(names) if names else _shares(processes)
    if asked == "auto":
        gpus = _gpus(environment)
        return Devices(gpus) if gpus else _shares(processes)
    if isinstance(asked, bool) or not isinstance(asked, int) or asked < 1:
        raise ConfigError(f"hydra.launcher.devices={asked} must be auto, a number of GPUs, or a list such as [0,1]")
    gpus = _gpus(environment)
    if asked > len(gpus):
        raise DeviceError(
            f"hydra.launcher.devices={asked}, but there are {len(gpus)} GPUs (nvidia-smi -L, {VISIBLE}): ask for at "
            "most that many, or hydra.launcher.devices=auto hydra.launcher.processes=2 for two runs at a time on a CPU"
        )
    return Devices(gpus[:asked])


def _shares(processes: int) -> Devices:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Devices(tuple(str(number) for number in range(1, processes + 1)), max(1, cores // processes))


def _gpus(environment: Mapping[str, str]) -> tuple[str, ...]:
    """By the environment, which may hide some, else by NVIDIA's own tool; TensorFlow would claim them all."""
    if VISIBLE in environment:
        words = [word.strip() for word in environment[VISIBLE].split(",")]
        return tuple(word for word in words if word not in NONE)
    try:
        answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    lines = [line for line in answer.stdout.splitlines() if line.startswith("GPU ")]
    return tuple(str(number) for number in range(len(lines)))
