"""`resume=`: finds the run to go on with, and makes of the command line the one that began it, in its own folder.

A run is resumed with the config that it began with. What may change is where it runs and is recorded, and
`trainer.epochs`, which may grow: a schedule then stretches over the new number. Runs are found on disk, under `runs`;
the folder that this module leaves behind `resume=` is what `kerasnn.training.resume` reads.
"""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from kerasnn.config.compose import check
from kerasnn.config.leaves import leaves
from kerasnn.config.named import same_data
from kerasnn.config.schema import determining
from kerasnn.config.strict import RunConfig
from kerasnn.errors import ConfigError, DataError
from kerasnn.tracking.folders import (
    CONFIG,
    OVERRIDES,
    RunFolder,
    launched_with,
    read_folder,
    read_result,
    run_folders,
)
from kerasnn.tracking.naming import meant, nearest
from kerasnn.tracking.store import RUNS
from kerasnn.training.cluster import open_cluster

KEY, AUTO = "resume", "auto"


def resumed(overrides: Sequence[str], several: bool = False, searched: Sequence[str] = ()) -> list[str]:
    """The overrides of the run that `resume=` among them names, with its folder; others come back as they are.

    Args:
        overrides: the user's own.
        several: whether they are a sweep's.
        searched: the override of the search path, where choices lie in further folders.

    Raises:
        ConfigError: no such run, a run that is finished or at work, or a key that differs from what the run began with.

    Example:
        >>> resumed(["resume=3f2a91c"])
        ['++model=mlp', …, 'resume="/home/ada/runs/…-mlp"', 'hydra.run.dir="/home/ada/runs/…-mlp"']
    """
    named = next((value for key, value in map(_pair, reversed(overrides)) if key == KEY), "null")
    rest = [override for override in overrides if _pair(override)[0] != KEY]
    if named in ("null", ""):
        return list(overrides)
    if several:
        raise ConfigError(f"resume={named} is for one run: a sweep goes on with hydra/launcher=kerasnn")
    if named == AUTO:
        config = check([*rest, *searched])
        found = unfinished(config, RUNS, taken=not _chief(config))
        if found is None:
            return rest
        words = rest
    else:
        found = _find(named)
        if found.status == "FINISHED":
            raise ConfigError(f"resume={named}: {_label(found)} is finished; start another from it with from={named}")
        words = [*_began_with(found), *rest]
        config = check([*words, *searched])
        if found.at_work and _chief(config):
            raise ConfigError(f"resume={named}: {_label(found)} is being trained right now by another process")
        _compare(named, _determining(found), determining(config.values))
    folder = json.dumps(str(found.path), ensure_ascii=False)
    return [*words, f"{KEY}={folder}", f"hydra.run.dir={folder}"]


def unfinished(config: RunConfig, runs: str | Path, taken: bool = False) -> RunFolder | None:
    """The newest run of a config that was cut off: FAILED, KILLED, or left RUNNING by a process that is dead.

    Args:
        config: whose digest, and whose data where they are the user's own, the run must have.
        runs: the folder to look in.
        taken: also one that a living process has, as the chief of several workers may by now.
    """
    cut = (run for run in run_folders(runs) if run.digest == config.digest and run.status != "FINISHED")
    same = (run for run in cut if same_data(config, run))
    return next((run for run in same if taken or not run.at_work), None)


def begun_again(config: RunConfig, folder: Path) -> RunConfig:
    """The config of a sweep's run, which goes on where a scheduler begins it once more in its own folder.

    Slurm does so after a preemption, by the very words of the first time.
    """
    found = _same(config, folder)
    if config.resume or found is None or found.status == "FINISHED":
        return config
    return replace(config, resume=str(folder), values={**config.values, KEY: str(folder)})


def reached_before(config: RunConfig, folder: Path) -> float | None:
    """The best validation accuracy of a sweep's run that FINISHED in its own folder; None where it did not yet.

    A scheduler may begin that one once more too: Slurm does, where a whole job array is requeued.
    """
    found = _same(config, folder)
    if found is None or found.status != "FINISHED":
        return None
    reached = (read_result(folder).get("metrics") or {}).get("best/val_accuracy")
    return math.nan if reached is None else float(reached)


def _same(config: RunConfig, folder: Path) -> RunFolder | None:
    """The run of a folder, where it is of this config and on this data."""
    found = read_folder(folder)
    return found if found and found.digest == config.digest and same_data(config, found) else None


def _pair(override: str) -> tuple[str, str]:
    key, _, value = override.partition("=")
    return key.lstrip("+~"), value.strip("\"'")


def _chief(config: RunConfig) -> bool:
    cluster = open_cluster(config.strategy, os.environ)
    return cluster is None or cluster.chief


def _find(named: str) -> RunFolder:
    """By folder, id, beginning of an id, or name; of several of one name, that which is not finished."""
    own = read_folder(Path(named).expanduser())
    if own:
        return own
    known = run_folders(RUNS)
    found = meant(named, known, lambda run: run.status != "FINISHED")
    if not found:
        tail = nearest(named, known)
        raise ConfigError(f"resume={named} is no run in {RUNS}: {tail}give its id, name or folder, or resume=auto")
    if len(found) > 1 and any(run.status != "FINISHED" for run in found):
        ways = ", ".join(run.run_id or os.path.relpath(run.path) for run in found[:5])
        raise ConfigError(f"resume={named} fits {len(found)} runs that were cut off: give one of {ways}")
    return found[0]


def _label(run: RunFolder) -> str:
    return f"{run.name} in {os.path.relpath(run.path)}"


def _began_with(run: RunFolder) -> list[str]:
    """The overrides that the run was launched with, as Hydra keeps them."""
    words = launched_with(run.path)
    try:
        own = yaml.safe_load((run.path / ".hydra" / "hydra.yaml").read_text(encoding="utf-8"))
        searched = [word for word in own["hydra"]["overrides"]["hydra"] if word.startswith("hydra.searchpath=")]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        words = None
    if words is None:
        raise DataError(f"{_label(run)} does not say how it was launched ({OVERRIDES}): start anew")
    return [*(word for word in words if _pair(word)[0] != KEY), *searched]


def _determining(run: RunFolder) -> dict[str, Any]:
    try:
        return determining(run.values)
    except (KeyError, AttributeError) as error:
        raise DataError(f"{_label(run)} has a {CONFIG} that is no run's: start anew") from error


def _compare(named: str, before: dict[str, Any], now: dict[str, Any]) -> None:
    old, new = dict(leaves(before)), dict(leaves(now))
    keys = [key for key in {**old, **new} if old.get(key, ...) != new.get(key, ...)]
    if "trainer.epochs" in keys and new["trainer.epochs"] > old["trainer.epochs"]:
        keys.remove("trainer.epochs")
    if keys:
        told = ", ".join(f"{key} (was {old.get(key)}, now {new.get(key)})" for key in keys)
        raise ConfigError(
            f"resume={named} goes on with what the run began with, but these differ: {told}; leave them out, or start "
            f"another run from its weights with from={named}"
        )
