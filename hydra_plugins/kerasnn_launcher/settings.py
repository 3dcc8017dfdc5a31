"""The keys below `hydra.launcher`, and whether they can be meant: asked before a sweep leaves anything behind."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra_plugins.kerasnn_launcher.devices import Devices, find_devices
from kerasnn.errors import ConfigError, DeviceError, unknown

if TYPE_CHECKING:
    from kerasnn.config.strict import RunConfig

TARGET = "hydra_plugins.kerasnn_launcher.launcher.KerasnnLauncher"
ON_ERROR = ("continue", "stop", "retry")


@dataclass
class Settings:
    """The keys.

    Args:
        devices: `auto` is all GPUs, or the CPU where there is none; a number, or a list such as [0,1].
        processes: runs at a time on a CPU, each with its share of the cores.
        on_error: `continue` with the other runs, `stop` beginning new ones, or `retry`.
        retries: how often a run is tried again; it goes on from its last checkpoint.
        skip_finished: leaves out what is finished already with the same config in the same experiment.
    """

    _target_: str = TARGET
    devices: Any = "auto"
    processes: int = 1
    on_error: str = "continue"
    retries: int = 1
    skip_finished: bool = True


def check_settings(settings: Settings, configs: Iterable["RunConfig"] = ()) -> Devices:
    """The devices that the settings mean.

    Args:
        settings: the keys, or Hydra's own node of them.
        configs: of the runs, each of which must be able to have what it needs.

    Raises:
        ConfigError: a setting that cannot be meant.
        DeviceError: more GPUs than there are, or than the launcher gives to all runs.
    """
    if settings.on_error not in ON_ERROR:
        raise ConfigError(unknown("hydra.launcher.on_error", settings.on_error, ON_ERROR))
    for key, value in (("processes", settings.processes), ("retries", settings.retries)):
        if value < 1:
            raise ConfigError(f"hydra.launcher.{key}={value} must be 1 or more")
    asked = settings.devices
    several = isinstance(asked, Sequence) and not isinstance(asked, str)
    devices = find_devices(list(asked) if several else asked, settings.processes)
    for config in configs:
        need(config, devices)
    return devices


def need(config: "RunConfig", devices: Devices) -> int:
    """How many devices a run takes: shares of a CPU are never put together.

    Raises:
        DeviceError: more than there are for all runs.
    """
    wanted = (config.strategy.devices or 1) if devices.are_gpus else 1
    if wanted > len(devices.names):
        raise DeviceError(
            f"strategy.devices={wanted}, but hydra.launcher.devices gives {len(devices.names)} to all runs: "
            "ask for fewer, or give the launcher more"
        )
    return wanted
