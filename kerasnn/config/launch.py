"""`kerasnn train`: checks every cell of what was asked for, then lets Hydra launch one job or a sweep."""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

import kerasnn
from kerasnn.config.compose import (
    VERSION_BASE,
    check,
    compose_plain,
    open_overrides,
    parse_overrides,
    readable,
    register,
    search_path_override,
)
from kerasnn.config.folders import conf_dir, groups
from kerasnn.config.help import help_text
from kerasnn.config.named import check_named
from kerasnn.config.resume import resumed
from kerasnn.config.schema import Tracking, check_shares
from kerasnn.config.strict import RunConfig
from kerasnn.config.sweeps import placed
from kerasnn.config.task import train, train_cell
from kerasnn.errors import ConfigError, DataError, TrainingError
from kerasnn.tracking.store import RUNS, resolve_uri
from kerasnn.training.cluster import Cluster, open_cluster


def main(arguments: list[str]) -> int:
    """Trains what the overrides describe; `--help`, `--cfg job` and shell completion answer without training."""
    if "--version" in arguments:  # Hydra's own answer would name Hydra alone.
        print(f"kerasnn {kerasnn.__version__} (Hydra {hydra.__version__})")
        return 0
    asked = _parse(arguments)
    if asked.help:
        print(help_text())
        return 0
    if asked.shell_completion or asked.hydra_help or asked.info:
        _hydra(arguments, [], train)
        return 0
    arguments = [word for word in arguments if word not in asked.overrides]
    asked.overrides = resumed(asked.overrides, asked.multirun, search_path_override(asked.config_dir))
    words = _words(asked)
    cells = _cells(asked, words)
    configs = [check(cell) for cell in cells]
    for config in configs:
        resolve_uri(config.tracking.uri)
        _check_cluster(config, asked.multirun)
        for callback in config.callbacks.values():
            callback.check_installed()
    if asked.cfg == "job" and not asked.package:
        print(configs[0].yaml, end="")
        return 0
    if not asked.cfg:  # What is printed alone needs nothing to be there.
        check_named(configs)
    return _launch(arguments, asked, words, cells, configs)


def _parse(arguments: list[str]) -> Namespace:
    parser: ArgumentParser = get_args_parser()
    parser.error = _refuse  # argparse would print a page of usage.
    return parser.parse_intermixed_args(arguments)


def _refuse(message: str) -> NoReturn:
    raise ConfigError(f"{message}; values are set as key=value, such as trainer.epochs=3 (see --help)")


def _words(asked: Namespace) -> list[str]:
    """The overrides, and before them what an experiment sweeps by itself, by its `hydra.sweeper.params`.

    Written out like this, every cell is checked and named as if it had been asked for. A key that the command line
    gives is not swept. Nor does a pattern such as `model=glob(vgg*)` remain one: Hydra would not look for it in the
    folder of `--config-dir`, and a search would not take it.
    """
    words = list(asked.overrides)
    if not asked.multirun:
        return words
    parsed = parse_overrides(words)
    plain = [override.input_line for override in parsed if not override.is_sweep_override()]
    own = compose_plain([*plain, *search_path_override(asked.config_dir)]).hydra.sweeper.get("params") or {}
    given = {override.key_or_group for override in parsed}
    swept = [f"{key}={values}" for key, values in own.items() if key not in given]
    written = [_written_out(override, asked.config_dir) for override in parse_overrides([*swept, *words])]
    return [*written, "hydra.sweeper.params=null"] if own else written


def _written_out(override: Override, further: str | None) -> str:
    """The word of an override, in which a pattern for the choices of a group has become their names."""
    if override.value_type is not ValueType.GLOB_CHOICE_SWEEP:
        return override.input_line
    group = override.key_or_group
    there = {*groups().get(group, ()), *(file.stem for file in Path(further or "", group).glob("*.yaml") if further)}
    names = override.value().filter(sorted(there))
    if not names:
        raise ConfigError(f"'{override.input_line}' matches no choice of a group: name some, such as model=mlp,lenet5")
    return f"{override.get_key_element()}=choice({','.join(names)})"


def _cells(asked: Namespace, words: list[str]) -> list[list[str]]:
    """The overrides of every run that is asked for, so that all are checked before any is launched.

    A typo in the last cell then costs no hour of the first. What only a search expands (`interval(0,1)`) is left out.
    """
    parsed = parse_overrides(words)
    sweeping = [override for override in parsed if override.is_sweep_override()]
    if sweeping and not asked.multirun:
        word = sweeping[0].input_line
        raise ConfigError(f"'{word}' gives several values: add -m to run them all, or quote a list as key=[a,b]")
    fixed = [o for o in parsed if not (o.is_sweep_override() and not o.is_discrete_sweep())]
    searched = parse_overrides(search_path_override(asked.config_dir))
    return BasicSweeper.split_arguments([*fixed, *searched], max_batch_size=None)[0]


def _launch(
    arguments: list[str], asked: Namespace, words: list[str], cells: list[list[str]], configs: list[RunConfig]
) -> int:
    flags = _flags(arguments, asked)
    overrides = [*open_overrides(words), *search_path_override(asked.config_dir)]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing a traceback of its own.
    try:
        if asked.multirun and not asked.cfg:
            own = compose_plain(cells[0]).hydra
            # A search draws as many cells as it likes.
            least = len(cells) if "BasicSweeper" in own.sweeper["_target_"] else 0
            with placed(own, configs, whole=bool(least)) as (folder, digest):
                return _sweep(flags, overrides, folder, configs[0].tracking, least, digest)
        with _place(open_cluster(configs[0].strategy, os.environ)) as place:
            _hydra(flags, [*overrides, *place], train)
    except (HydraException, OmegaConfBaseException) as error:
        raise readable(error) from error
    except PermissionError as error:
        place = Path(error.filename or "").absolute()
        if not place.is_relative_to(Path(RUNS).absolute()):
            raise
        raise DataError(f"{place} cannot be written: let this user (number {os.getuid()}) own {RUNS}") from error
    return 0


def _check_cluster(config: RunConfig, several: bool) -> None:
    cluster = open_cluster(config.strategy, os.environ)
    if cluster and several:
        raise ConfigError(
            "strategy=multi_worker cannot sweep with -m: a process meets its workers once; start each run"
        )
    if cluster and config.pretrain:
        raise ConfigError("model.pretrain is for one machine: set model.pretrain=null, or choose strategy=mirrored")
    if cluster:
        check_shares(config.trainer.batch_size, len(cluster.workers) * (config.strategy.devices or 1))


@contextmanager
def _place(cluster: Cluster | None) -> Iterator[list[str]]:
    """The overrides of a run's folder: of several workers only the chief keeps one."""
    if cluster is None or cluster.chief:
        yield []
        return
    with TemporaryDirectory(prefix="kerasnn_worker_") as folder:
        yield [f"hydra.run.dir={folder}", "hydra.output_subdir=null"]


def _flags(arguments: list[str], asked: Namespace) -> list[str]:
    """The words for Hydra that are no overrides; `--config-dir` is already part of the search path."""
    words = [word for word in arguments if word not in asked.overrides and not word.startswith("--config-dir=")]
    for flag in ("--config-dir", "-cd"):
        if flag in words:
            del words[words.index(flag) : words.index(flag) + 2]
    return words


def _hydra(flags: list[str], overrides: list[str], task: Callable[[DictConfig], Any]) -> None:
    """Hydra's launch of `task`; what the task raises comes out as it is, without lines of Hydra's before it."""
    raised: list[Exception] = []

    def guarded(composed: DictConfig) -> Any:
        try:
            return task(composed)
        except Exception as error:
            raised.append(error)
            return None

    register()
    sys.argv = [sys.argv[0], *flags, *overrides]
    hydra.main(version_base=VERSION_BASE, config_path=str(conf_dir()), config_name="config")(guarded)()
    if raised:
        raise raised[0]


def _sweep(
    flags: list[str], overrides: list[str], folder: Path, tracking: Tracking, least: int, digest: str = ""
) -> int:
    """Every cell, one after the other; one that fails is reported and does not stop the rest.

    Of `least` cells some may never begin, as with a launcher that stops at a failure.
    """
    from kerasnn.tracking.sweep import open_sweep

    varying = [o.key_or_group for o in parse_overrides(overrides) if o.is_sweep_override()]
    sweep = open_sweep(folder, varying, tracking, digest)
    status = "FAILED"
    try:
        _hydra(flags, [*overrides, f"hydra.sweep.dir={folder}"], train_cell)
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    except Exception as error:
        if not type(error).__module__.startswith("submitit."):
            raise
        lost = " ".join(str(error).splitlines()[:2])
        raise TrainingError(
            f"the launcher lost a run and waits for no other ({lost}): what died is marked by python -m kerasnn doctor"
        ) from error
    finally:
        failed = sweep.finish(status)
        begun = len(sweep.children())
        finished, runs = begun - failed, max(begun, least)
        print(f"{finished} of {runs} runs finished; all in {os.path.relpath(folder)}/sweep.csv")
    return 1 if failed else 0
