"""The devices that runs are given, and what a process must be told so that it sees its own alone."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kerasnn.errors import ConfigError, DeviceError
from kerasnn.training.nvidia import ABSENT, VISIBLE, uuids


@dataclass(frozen=True)
class Devices:
    """What there is to give out.

    Args:
        names: of GPUs, as `CUDA_VISIBLE_DEVICES` has them; or of shares of the CPU.
        threads: of each share of the CPU; None where the devices are GPUs.
        uuids: of the GPUs, by which all sweeps of this machine know them; without, nobody else is asked.
    """

    names: tuple[str, ...]
    threads: int | None = None
    uuids: tuple[str, ...] = ()

    @property
    def are_gpus(self) -> bool:
        """Whether they are GPUs, of which a run may want several."""
        return self.threads is None

    def environment(self, given: Sequence[str]) -> dict[str, str]:
        """What a process is told that is given some of them.

        Example:
            >>> Devices(("0", "1")).environment(["1"])
            {'CUDA_DEVICE_ORDER': 'PCI_BUS_ID', 'CUDA_VISIBLE_DEVICES': '1'}
        """
        if self.are_gpus:  # By itself CUDA numbers the fastest first, and nvidia-smi does not.
            return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", VISIBLE: ",".join(given)}
        threads = str(self.threads)
        names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
        return {VISIBLE: "-1", **dict.fromkeys(names, threads)}

    def uuid(self, name: str) -> str | None:
        """Of one of them; None where it has none."""
        return self.uuids[self.names.index(name)] if self.uuids else None

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
        DeviceError: GPUs that are not there.
    """
    environment = os.environ if environment is None else environment
    if isinstance(asked, Sequence) and not isinstance(asked, str):
        return _named(tuple(map(str, asked))) if asked else _shares(processes)
    if asked == "auto":
        gpus = _gpus(environment)
        return _of(gpus) if gpus else _shares(processes)
    if isinstance(asked, bool) or not isinstance(asked, int) or asked < 1:
        raise ConfigError(f"hydra.launcher.devices={asked} must be auto, a number of GPUs, or a list such as [0,1]")
    gpus = _gpus(environment)
    if asked > len(gpus):
        left = f"; {VISIBLE}={environment[VISIBLE]}" if VISIBLE in environment else ""
        raise DeviceError(
            f"hydra.launcher.devices={asked}, but there are {len(gpus)} GPUs ({_said(*uuids())}{left}): ask for at "
            "most that many, or hydra.launcher.devices=auto hydra.launcher.processes=2 for two runs at a time on a CPU"
        )
    return _of(dict(list(gpus.items())[:asked]))


def _named(names: tuple[str, ...]) -> Devices:
    received, (known, trouble) = f"hydra.launcher.devices=[{','.join(names)}]", uuids()
    gpus = [_uuid(name, known) for name in names]
    if None in gpus:
        raise DeviceError(
            f"{received}: {names[gpus.index(None)]} is no GPU of this machine ({_said(known, trouble)}): "
            "name those that there are, or take hydra.launcher.devices=auto"
        )
    if len(set(gpus)) < len(gpus):
        raise ConfigError(f"{received} names a device twice: name each once")
    return Devices(names, uuids=tuple(gpus))


def _of(gpus: Mapping[str, str]) -> Devices:
    return Devices(tuple(gpus.values()), uuids=tuple(gpus))


def _shares(processes: int) -> Devices:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Devices(tuple(str(number) for number in range(1, processes + 1)), max(1, cores // processes))


def _gpus(environment: Mapping[str, str]) -> dict[str, str]:
    """UUIDs and names of the GPUs that the environment leaves: like CUDA, up to the first entry that is none."""
    known, _ = uuids()
    if VISIBLE not in environment:
        return {uuid: name for uuid, name in known.items() if name.isdecimal()}
    gpus: dict[str, str] = {}
    for name in map(str.strip, environment[VISIBLE].split(",")):
        uuid = _uuid(name, known)
        if uuid is None:
            break
        gpus.setdefault(uuid, name)
    return gpus


def _uuid(name: str, known: Mapping[str, str]) -> str | None:
    """Of the one GPU that a number, a UUID or the beginning of one means."""
    if name.startswith(("GPU-", "MIG-")):
        found = [uuid for uuid in known if uuid.startswith(name)]
    else:
        found = [uuid for uuid, number in known.items() if number == name]
    return found[0] if len(found) == 1 else None


def _said(known: Mapping[str, str], trouble: str) -> str:
    """Which GPUs there are, as its source tells, or what hinders that."""
    if trouble:
        return "nvidia-smi is not installed" if trouble == ABSENT else f"nvidia-smi says: {trouble}"
    return f"nvidia-smi -L lists {', '.join(known.values()) or 'none'}"
