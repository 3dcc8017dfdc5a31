"""`kerasnn train`: checks every cell of what was asked for, then lets Hydra launch one job or a sweep."""

import gc
import logging
import math
import os
import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NoReturn

import hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from kerasnn.config.compose import (
    VERSION_BASE,
    changed_values,
    check,
    checked,
    choices,
    compose_plain,
    open_overrides,
    readable,
    register,
    search_path_override,
)
from kerasnn.config.folders import conf_dir
from kerasnn.config.help import help_text
from kerasnn.config.named import check_named
from kerasnn.config.plugins import plugins
from kerasnn.config.resume import begun_again, resumed
from kerasnn.config.schema import Tracking, check_shares
from kerasnn.config.strict import RunConfig
from kerasnn.config.sweeps import identity, placed
from kerasnn.errors import ConfigError, DataError, TrainingError
from kerasnn.tracking.store import RUNS, resolve_uri
from kerasnn.training.cluster import Cluster, open_cluster
from kerasnn.training.lean_import import import_keras

if TYPE_CHECKING:
    from kerasnn.training.result import Result

log = logging.getLogger(__name__)


def main(arguments: list[str]) -> int:
    """Trains what the overrides describe; `--help`, `--cfg job` and shell completion answer without training."""
    asked = _parse(arguments)
    if asked.help:
        print(help_text())
        return 0
    if asked.shell_completion or asked.hydra_help or asked.info:
        _hydra(arguments, [], _train)
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
    check_named(configs)
    return _launch(arguments, asked, words, cells, configs)


def _parse(arguments: list[str]) -> Namespace:
    parser: ArgumentParser = get_args_parser()
    parser.error = _refuse  # argparse would print a page of usage.
    return parser.parse_intermixed_args(arguments)


def _refuse(message: str) -> NoReturn:
    raise ConfigError(f"{message}; values are set as key=value, such as trainer.epochs=3 (see --help)")


def parse_overrides(overrides: list[str]) -> list[Override]:
    """Hydra's reading of `key=value` words.

    Raises:
        ConfigError: a word that is none.
    """
    parsed = []
    for override in overrides:
        try:
            parsed += OverridesParser.create().parse_overrides([override])
        except HydraException as error:
            raise ConfigError(
                f"'{override}' is not an override: write key=value, quoting values with spaces"
            ) from error
    return parsed


def _words(asked: Namespace) -> list[str]:
    """The overrides, and before them what an experiment sweeps by itself, by its `hydra.sweeper.params`.

    Written out like this, every cell is checked and named as if it had been asked for. A key that the command line
    gives is not swept.
    """
    words = list(asked.overrides)
    if not asked.multirun:
        return words
    parsed = parse_overrides(words)
    plain = [override.input_line for override in parsed if not override.is_sweep_override()]
    own = compose_plain([*plain, *search_path_override(asked.config_dir)]).hydra.sweeper.get("params") or {}
    given = {override.key_or_group for override in parsed}
    swept = [f"{key}={values}" for key, values in own.items() if key not in given]
    return [*swept, *words, "hydra.sweeper.params=null"] if own else words


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
            swept = [o for o in parse_overrides(words) if o.is_sweep_override()]
            digest = identity(configs, [o.input_line for o in swept if not o.is_discrete_sweep()])
            with placed(own, digest, configs, whole=bool(least)) as folder:
                return _sweep(flags, overrides, folder, configs[0].tracking, least, digest)
        with _place(open_cluster(configs[0].strategy, os.environ)) as place:
            _hydra(flags, [*overrides, *place], _train)
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
        _hydra(flags, [*overrides, f"hydra.sweep.dir={folder}"], _train_cell)
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


def _train_cell(composed: DictConfig) -> float | None:
    """A cell of a sweep: its failure is written down, and the next cell runs."""
    try:
        return _train(composed)
    except Exception as error:
        log.error("%s failed: %s", HydraConfig.get().job.override_dirname, error)
        return None
    finally:
        gc.collect()  # Networks are full of cycles: without this, a sweep would hold many of them at a time.


def _train(composed: DictConfig) -> float:
    """Hydra's task: one run; returns what a search maximises, the best validation accuracy."""
    from kerasnn.tracking.folders import held

    folder = Path(HydraConfig.get().runtime.output_dir)
    with held(folder):  # Before anything is written: a folder's journal has one writer, as its checkpoints have.
        return _train_in(folder, composed)


def _train_in(folder: Path, composed: DictConfig) -> float:
    from kerasnn.tracking.environment import environment_tags
    from kerasnn.tracking.spool import open_tracker
    from kerasnn.tracking.sweep import SWEEP_FOLDER, child_name

    hydra_config = HydraConfig.get()
    searched = [f"hydra.searchpath=[{','.join(hydra_config.searchpath)}]"]
    config = checked(composed, choices([*hydra_config.overrides.task, *searched]))
    if hydra_config.mode is RunMode.MULTIRUN:
        config = begun_again(config, folder)
    recorded = params(config, searched)
    swept = hydra_config.sweep.dir if hydra_config.mode is RunMode.MULTIRUN else os.environ.get(SWEEP_FOLDER)
    sweep = Path(swept).absolute() if swept else None
    cluster = open_cluster(config.strategy, os.environ)
    chief = cluster is None or cluster.chief
    tracker = open_tracker(config.tracking.backend if chief else "none", config.tracking.uri, folder)
    name = child_name(sweep, hydra_config.overrides.task) if sweep and not config.values["name"] else config.name
    installed = {f"plugin.{plugin.package}": plugin.distribution for plugin in plugins() if plugin.conf}
    tags = {**environment_tags(), **installed, "hash.config": config.digest}
    tracker.start(name, config.tracking.experiment, tags, recorded, str(sweep) if sweep else None)
    signal.signal(signal.SIGTERM, _stop)
    # The tracker's process is importing MLflow by now; this one imports TensorFlow beside it.
    import_keras()
    from kerasnn.training.run import run

    try:
        result = run(config, tracker, folder)
    except (KeyboardInterrupt, SystemExit):
        print(f"{config.name}: stopped; what was reached is in {os.path.relpath(folder)}")
        raise
    if not chief:  # Nothing searches over its runs, and its best epoch may be one that only the chief has kept.
        return math.nan
    print(_closing_lines(result, folder))
    return result.metrics["best/val_accuracy"]


def _stop(*_: object) -> None:
    """A scheduler's stop ends in order, as Ctrl-C does; Slurm repeats it, even to a task that is ending already."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if not isinstance(sys.exception(), SystemExit):
        raise KeyboardInterrupt


def params(config: RunConfig, searched: Sequence[str] = ()) -> dict[str, Any]:
    """What MLflow shows as a run's parameters: the choices, what every comparison asks for, all that was changed."""
    asked_for = {
        "seed": config.seed,
        "trainer.epochs": config.trainer.epochs,
        "trainer.batch_size": config.trainer.batch_size,
        "optimizer.learning_rate": config.optimizer.arguments["learning_rate"],
    }
    hidden = {"name", "resume", "tracking.uri", "tracking.experiment"}
    changed = {key: value for key, value in changed_values(config, searched).items() if key not in hidden}
    return {**config.choices, **asked_for, **changed}


def _closing_lines(result: "Result", folder: Path) -> str:
    metrics = result.metrics
    place = os.path.relpath(folder)
    return "\n".join(
        [
            f"{result.name}: test accuracy {metrics['test/accuracy']:.4f}, best validation accuracy "
            f"{metrics['best/val_accuracy']:.4f} in epoch {metrics['best/epoch']:.0f}, "
            f"{metrics['cost/train_seconds']:.1f} s of training",
            f"  {place}/figures  pictures; result.json and checkpoints beside them",
            f"  in MLflow: {_reference(result)}",
        ]
    )


def _reference(result: "Result") -> str:
    if not result.run_id:
        return "nothing (tracking=none, or the store was away)"
    return f"runs:/{result.run_id}; python -m kerasnn compare, or ui"
