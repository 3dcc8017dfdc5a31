"""What Hydra runs: one training, recorded from its start to its end, of what was composed and is checked by now."""

import gc
import logging
import math
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from kerasnn.config.compose import changed_values, checked, choices
from kerasnn.config.plugins import plugins
from kerasnn.config.resume import begun_again, reached_before
from kerasnn.config.strict import RunConfig
from kerasnn.training.cluster import open_cluster
from kerasnn.training.lean_import import import_keras

if TYPE_CHECKING:
    from kerasnn.training.result import Result

log = logging.getLogger(__name__)


def train_cell(composed: DictConfig) -> float | None:
    """A cell of a sweep: its failure is written down, and the next cell runs."""
    try:
        return train(composed)
    except Exception as error:
        log.error("%s failed: %s", HydraConfig.get().job.override_dirname, error)
        return None
    finally:
        gc.collect()  # Networks are full of cycles: without this, a sweep would hold many of them at a time.


def train(composed: DictConfig) -> float:
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
        if (reached := reached_before(config, folder)) is not None:
            log.info("%s is finished already and left as it is: %s", config.name, os.path.relpath(folder))
            return reached
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
    signal.signal(signal.SIGTERM, stop)
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


def stop(*_: object) -> None:
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
