"""Hydra's launcher: what was finished before is skipped, what was cut off is resumed, the rest begins.

    python -m kerasnn -m model=vgg16,resnet18 seed=0,1,2 hydra/launcher=kerasnn

Hydra imports this file whenever it starts, so it must be quick: TensorFlow is imported by the runs alone.
"""

import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from hydra_plugins.kerasnn_launcher.devices import Devices
from hydra_plugins.kerasnn_launcher.pool import Job, Pool
from hydra_plugins.kerasnn_launcher.settings import Settings, check_settings, need

if TYPE_CHECKING:
    from kerasnn.config.strict import RunConfig
    from kerasnn.tracking.folders import RunFolder
    from kerasnn.tracking.tracker import Tracker

log = logging.getLogger(__name__)

OWN = ("hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper", "hydra.sweep", "hydra.run", "hydra.mode")
"""Hydra's keys that are the sweep's, and not those of each run."""

TAIL_LINES = 100


ConfigStore.instance().store(group="hydra/launcher", name="kerasnn", node=Settings, provider="kerasnn")


class KerasnnLauncher(Launcher):
    """Runs each cell of a sweep as `python -m kerasnn` with devices of its own."""

    def __init__(self, devices: Any, processes: int, on_error: str, retries: int, skip_finished: bool):
        self.settings = Settings(
            devices=devices, processes=processes, on_error=on_error, retries=retries, skip_finished=skip_finished
        )
        self.devices = Devices(())
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None
        self._again: dict[int, list[str]] = {}
        self._words: dict[int, list[str]] = {}
        self._cells: dict[str, Sequence[str]] = {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's hook. The task is not called: each process has its own.

        Raises:
            KerasnnError: a setting that cannot be meant, or more GPUs than there are.
        """
        self.devices = check_settings(self.settings)
        self.config, self.hydra_context = config, hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Hydra's hook: returns when every run has ended, with the accuracy that a search maximises."""
        from kerasnn.tracking.sweep import SWEEP_FOLDER, keep_cells

        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        sweep = Path(self.config.hydra.sweep.dir).absolute()
        jobs, skipped = self._jobs(job_overrides, initial_job_idx, sweep)
        keep_cells(sweep, self._cells)
        names = ", ".join(self.devices.label([name]) for name in self.devices.names)
        log.info("runs to do: %d, on %s; left alone: %d", len(jobs), names, len(skipped))
        environment = {SWEEP_FOLDER: str(sweep)}
        self._closing = ThreadPoolExecutor(1)  # A store that does not answer holds up no run.
        pool = Pool(
            self.devices, self.settings.on_error, self.settings.retries, _began, self._ended, environment, _waits
        )
        try:
            pool.run(jobs)
        finally:
            self._closing.shutdown()
            everything = sorted([*jobs, *skipped], key=lambda job: job.number)
            print(_table(everything, skipped), end="", flush=True)
        return [_returned(job, overrides) for job, overrides in zip(everything, job_overrides, strict=True)]

    def _jobs(self, cells: Sequence[Sequence[str]], first: int, sweep: Path) -> tuple[list[Job], list[Job]]:
        """The runs that there are to do, and those that are done already or that another process has at work."""
        from kerasnn.config.compose import check
        from kerasnn.tracking.folders import run_folders
        from kerasnn.tracking.store import RUNS
        from kerasnn.tracking.sweep import child_name

        hydra_words = [word for word in self.config.hydra.overrides.hydra if not word.lstrip("+~").startswith(OWN)]
        known = run_folders(RUNS)
        known += [] if sweep.is_relative_to(Path(RUNS).absolute()) else run_folders(sweep)
        jobs, skipped = [], []
        for number, cell in enumerate(cells, start=first):
            words = [*cell, *hydra_words]
            config = check(words)
            if self.devices.are_gpus and config.strategy.kind == "auto":
                words.append("strategy.kind=GPU")  # One that TensorFlow cannot use is no reason to train on the CPU.
            own = sweep / self._subdir(list(cell), number)
            self._words[number] = words
            self._cells[own.name] = cell
            found = self._before(config, known, own)
            if found:
                known.remove(found)  # Of two cells that are alike, each has a run of its own.
            folder = found.path if found else own
            _link(own, folder)
            self._again[number] = _command(words, folder, resume=True)
            command = _command(words, folder, resume=bool(found))
            job = Job(number, child_name(sweep, cell) or config.name, folder, command, need(config, self.devices))
            (skipped if found and (found.status == "FINISHED" or found.at_work) else jobs).append(job)
        return jobs, skipped

    def _before(self, config: "RunConfig", known: Sequence["RunFolder"], own: Path) -> "RunFolder | None":
        """A run of the same config in the same experiment: one that is finished, or at work, or that was cut off.

        Of several the sweep's own, where it has begun before, or else the one that its folder leads to already, or that
        on as many devices, which a sweep over their number needs.
        """
        from kerasnn.config.named import same_data, value

        same = [run for run in known if run.digest == config.digest]
        same = [run for run in same if value(run, "tracking.experiment") == config.tracking.experiment]
        same = [run for run in same if same_data(config, run)]
        here = own.resolve()
        same.sort(key=lambda run: value(run, "strategy.devices") != config.strategy.devices)
        same.sort(key=lambda run: run.path.resolve() != here)
        done = [run for run in same if run.status == "FINISHED" and self.settings.skip_finished]
        open_runs = [run for run in same if run.status != "FINISHED"]
        open_runs.sort(key=lambda run: not run.at_work)
        # What a link leads to is not the sweep's own: where another has finished it, there is nothing to go on with.
        mine = [] if own.is_symlink() else [run for run in (*done, *open_runs) if run.path.resolve() == here]
        return next(iter([*mine, *done, *open_runs]), None)

    def _ended(self, job: Job, final: bool) -> None:
        """One line; a run that died without a word, such as by the kernel's want of memory, is closed on its behalf."""
        from kerasnn.tracking.folders import is_held, read_folder

        found = read_folder(job.folder)
        if found and found.digest:
            job.words = self._again[job.number]  # The next attempt, if there is one, goes on from what is left.
        if not job.code:
            log.info("run %d finished on %s after %.0f s", job.number, job.device, job.seconds)
            return
        tail, how = _tail(job), _how(job.code)
        if final and not is_held(job.folder) and not _said(job.folder):
            self._close(job, f"{how}\n\n{tail}")
        said = tail.strip().splitlines()[-1:] if job.code > 0 else []  # A signal leaves no last word.
        level, verb = (logging.INFO, "stopped") if job.stopped else (logging.ERROR, "failed")
        further = "" if final else "; it is tried again"
        why = "".join(said)[:200] or how
        log.log(level, "run %d %s on %s (%s)%s: %s", job.number, verb, job.device, job.label, further, why)

    def _close(self, job: Job, reason: str) -> None:
        from kerasnn.config.compose import compose
        from kerasnn.config.task import params
        from kerasnn.tracking.ending import close, status_of
        from kerasnn.tracking.environment import environment_tags
        from kerasnn.tracking.spool import open_tracker

        words, sweep = self._words[job.number], str(Path(self.config.hydra.sweep.dir).absolute())
        config = compose(words)
        record, tags = config.tracking, {**environment_tags(), "hash.config": config.digest}
        recorded = params(config, [word for word in words if word.startswith("hydra.searchpath=")])

        def begin() -> "Tracker":
            tracker = open_tracker(record.backend, record.uri, job.folder)
            tracker.start(job.label, record.experiment, tags, recorded, sweep)
            return tracker

        status = status_of(job.code, job.stopped)
        self._closing.submit(close, job.folder, job.label, status, reason, begin).add_done_callback(_closed)

    def _subdir(self, cell: list[str], number: int) -> str:
        composed = self.hydra_context.config_loader.load_sweep_config(self.config, cell)
        with open_dict(composed):
            composed.hydra.job.id = composed.hydra.job.num = number
        from hydra.core.hydra_config import HydraConfig

        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(composed)
        try:
            return str(composed.hydra.sweep.subdir)
        finally:
            HydraConfig.instance().cfg = before


def _command(words: Sequence[str], folder: Path, resume: bool) -> list[str]:
    quoted = json.dumps(str(folder), ensure_ascii=False)
    place = f"resume={quoted}" if resume else f"hydra.run.dir={quoted}"
    return [sys.executable, "-m", "kerasnn", *words, place]


def _link(place: Path, folder: Path) -> None:
    """The sweep's folder leads to a run that began in another sweep, so that its table has it too.

    A link that led to another run before, or whose run was deleted since, goes.
    """
    if place.is_symlink() and (place == folder or place.resolve() != folder.resolve()):
        place.unlink()
    if place != folder and not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(os.path.relpath(folder, place.parent), target_is_directory=True)


def _said(folder: Path) -> bool:
    """Whether the run in a folder said how it ended, and has not begun once more since."""
    from kerasnn.tracking.abandoned import has_ended
    from kerasnn.tracking.folders import read_result, starts

    status = read_result(folder).get("status", "RUNNING")
    return status != "RUNNING" and (has_ended(folder) or not starts(folder))  # Without a record, the result has to do.


def _began(job: Job) -> None:
    log.info("run %d begins on %s: %s%s", job.number, job.device, job.label, " once more" if job.attempts > 1 else "")


def _closed(closing: Future) -> None:
    if error := closing.exception():
        log.warning("how a run ended could not be written down: %s", " ".join(str(error).split()))


def _waits(job: Job) -> None:
    log.info("run %d waits: other processes have the GPUs", job.number)


def _how(code: int) -> str:
    names = {sign.value: sign.name for sign in signal.Signals}
    return f"it ended by exit code {code}" if code > 0 else f"it ended by signal {names.get(-code, -code)}"


def _tail(job: Job) -> str:
    try:
        return "\n".join(job.log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]) + "\n"
    except OSError:
        return ""


def _table(jobs: Sequence[Job], skipped: Sequence[Job]) -> str:
    from kerasnn.analysis.tables import Column, render
    from kerasnn.tracking.folders import read_result

    rows = []
    for job in jobs:
        result = read_result(job.folder)
        before = job in skipped
        status = str(result.get("status", "")).lower() if job.attempts else "not begun"
        if before:
            status = "finished before" if result.get("status") == "FINISHED" else "at work elsewhere"
        accuracy = (result.get("metrics") or {}).get("test/accuracy")
        seconds = None if before or not job.attempts else job.seconds
        rows.append({"run": job.number, "what": job.label, "status": status, "accuracy": accuracy}
                    | {"device": job.device or None, "seconds": seconds})  # fmt: skip
    columns = {
        "run": Column("run"),
        "what": Column("what", text=True, fold=True),
        "status": Column("status", text=True),
        "accuracy": Column("test acc", "{:.4f}".format),
        "device": Column("device", text=True),
        "seconds": Column("seconds", "{:.0f}".format),
    }
    return render("table", rows, columns) if rows else ""


def _returned(job: Job, overrides: Sequence[str]) -> JobReturn:
    from kerasnn.tracking.folders import read_result

    result = read_result(job.folder)
    value = (result.get("metrics") or {}).get("best/val_accuracy") if result.get("status") == "FINISHED" else None
    made = JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED)
    made.return_value = value
    return made
