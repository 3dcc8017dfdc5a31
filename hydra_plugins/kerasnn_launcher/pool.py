"""A pool of devices: as many processes at a time as there are devices, and no GPU with two of them, of any sweep."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hydra_plugins.kerasnn_launcher.devices import Devices
from hydra_plugins.kerasnn_launcher.leases import lease

OnError = Literal["continue", "stop", "retry"]

LOOK_SECONDS = 0.1
PATIENCE_SECONDS = 60.0  # For a run to write down what it reached, once it is asked to end.


@dataclass
class Job:
    """A run to be launched.

    Args:
        number: in the sweep, from 0.
        label: what messages call it.
        folder: its log goes into.
        words: what it is started with, as a command.
        need: how many devices.

    The others say how it went: `code` is the process' exit code, below 0 a signal's number, None where none ended yet;
    `stopped` that the sweep was interrupted.
    """

    number: int
    label: str
    folder: Path
    words: Sequence[str]
    need: int = 1
    attempts: int = 0
    code: int | None = None
    device: str = ""
    seconds: float = 0.0
    stopped: bool = False

    @property
    def log(self) -> Path:
        """What the process printed."""
        return self.folder / "child.log"


@dataclass
class _Running:
    job: Job
    process: subprocess.Popen
    given: list[str]
    begun: float


class Pool:
    """Runs jobs, each with devices of its own.

    Args:
        devices: to give out.
        on_error: what a job that fails means: `continue` with the others, `stop` beginning new ones, `retry` it.
        retries: how often a job is tried again.
        began: told of each process that is started.
        waits: told, once, of a job that waits for devices which other processes have.
        ended: told of each that has ended; False where the job is to be tried again.
        environment: what every process gets beside its devices.
    """

    def __init__(
        self,
        devices: Devices,
        on_error: OnError = "continue",
        retries: int = 1,
        began: Callable[[Job], None] = lambda job: None,
        ended: Callable[[Job, bool], None] = lambda job, final: None,
        environment: dict[str, str] | None = None,
        waits: Callable[[Job], None] = lambda job: None,
    ):
        self.devices = devices
        self.on_error = on_error
        self.retries = retries if on_error == "retry" else 0
        self._began, self._ended, self._waits = began, ended, waits
        self._environment = {**os.environ, **(environment or {})}
        self._free = list(devices.names)
        self._running: list[_Running] = []
        self._told: set[int] = set()

    def run(self, jobs: Sequence[Job]) -> None:
        """Returns when all have ended; Ctrl-C ends those at work in order first, and none is begun after it."""
        waiting = list(jobs)
        try:
            while waiting or self._running:
                while waiting and waiting[0].need <= len(self._free) and self._start(waiting[0]):
                    del waiting[0]
                time.sleep(LOOK_SECONDS)
                for running in [one for one in self._running if one.process.poll() is not None]:
                    waiting = self._end(running) + waiting
                    if running.job.code and self.on_error == "stop":
                        waiting.clear()
        except BaseException:
            self._stop()
            raise

    def _start(self, job: Job) -> bool:
        """Starts a process; False where another sweep has what it needs."""
        with self._leased(job.need) as (given, leases):
            if len(given) < job.need:
                if job.number not in self._told:
                    self._told.add(job.number)
                    self._waits(job)
                return False
            self._free = [name for name in self._free if name not in given]
            job.attempts, job.code, job.device = job.attempts + 1, None, self.devices.label(given)
            job.folder.mkdir(parents=True, exist_ok=True)
            with open(job.log, "ab") as log:
                process = subprocess.Popen(
                    job.words,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**self._environment, **self.devices.environment(given)},
                    pass_fds=leases,
                    start_new_session=True,  # Ctrl-C is for the pool, which then asks each to end.
                )
            self._running.append(_Running(job, process, given, time.monotonic()))
        self._began(job)
        return True

    @contextlib.contextmanager
    def _leased(self, need: int) -> Iterator[tuple[list[str], list[int]]]:
        """So many free devices, or fewer where other sweeps have them, and the leases that a process must be passed.

        After that the leases are the process' alone: they end when it ends, whatever became of this one.
        """
        given, leases = [], []
        try:
            for name in self._free:
                uuid = self.devices.uuid(name)
                found = lease(uuid) if uuid and len(given) < need else None
                leases += [] if found is None else [found]
                given += [name] if len(given) < need and (uuid is None or found is not None) else []
            yield given, leases
        finally:
            for descriptor in leases:
                os.close(descriptor)

    def _end(self, running: _Running) -> list[Job]:
        """Takes the devices back; the job, where it is to be tried again."""
        job = running.job
        self._running.remove(running)
        self._free = [name for name in self.devices.names if name in (*self._free, *running.given)]
        job.code = running.process.returncode
        job.seconds += time.monotonic() - running.begun
        final = not job.code or job.stopped or job.attempts > self.retries
        self._ended(job, final)
        return [] if final else [job]

    def _stop(self) -> None:
        """Asks every process to end, which a training takes as Ctrl-C, and insists where one does not."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for running in self._running:
                running.job.stopped = True
                with contextlib.suppress(ProcessLookupError):
                    running.process.send_signal(number)
            deadline = time.monotonic() + PATIENCE_SECONDS
            while self._running and time.monotonic() < deadline:
                for running in [one for one in self._running if one.process.poll() is not None]:
                    self._end(running)
                time.sleep(LOOK_SECONDS)
