"""Are all workers there, and do they stay? A line of TCP between every two of them says so.

TensorFlow waits for a worker that is gone, for minutes or for ever, and does not say which one it is. So before it
starts, each worker meets all others on the ports that TensorFlow will have, and the connections stay open: the kernel
closes those of a process that dies, a beat that fails to come betrays a cut cable, and whoever leaves says why.
"""

import selectors
import time
from collections.abc import Callable, Mapping
from threading import Event, Thread

from kerasnn.training.cluster import Cluster
from kerasnn.training.meeting import Line, Meeting

BEATS = 5  # Heartbeats within the time after which their absence counts.


class RollCall:
    """Meets all other workers, then watches over them in a thread.

    Args:
        cluster: all workers, and which one this is.
        timeout_seconds: how long to wait for one to appear, or to show any sign of life.
        facts: what all workers must agree on, such as the config's hash, by name.

    `loss` is the line that says which worker was lost, and why; None while all are there.

    Example:
        >>> call = RollCall(cluster, 60, {"kerasnn": "0.1.0"})
        >>> call.gather()
    """

    def __init__(self, cluster: Cluster, timeout_seconds: float, facts: Mapping[str, str]):
        self.cluster = cluster
        self.timeout_seconds = timeout_seconds
        self.facts = dict(facts)
        self.loss: str | None = None
        self._lost, self._leaving = Event(), Event()
        self._lines: dict[int, Line] = {}
        self._gone: set[int] = set()
        self._thread: Thread | None = None
        self._on_loss: Callable[[str], None] = lambda line: None

    def gather(self) -> None:
        """Returns when every worker has met every other.

        Raises:
            DeviceError: one did not appear in time or left, or this one's port is taken.
            ConfigError: one was started with another config.
        """
        self._lines = Meeting(self.cluster, self.timeout_seconds, self.facts).hold()

    def watch(self, on_loss: Callable[[str], None]) -> None:
        """Begins to watch; `on_loss` is called once, in another thread, with the line that `loss` then has."""
        self._on_loss = on_loss
        self._thread = Thread(target=self._watch, name="roll call", daemon=True)
        self._thread.start()

    def wait_for_loss(self, seconds: float) -> str | None:
        """The line of a loss that is known, or becomes known within so many seconds."""
        self._lost.wait(seconds)
        return self.loss

    def wait_for_leaving(self, seconds: float) -> bool:
        """Whether this worker leaves within so many seconds."""
        return self._leaving.wait(seconds)

    def leave(self, why: str | None = None) -> None:
        """Says goodbye: without a reason this worker is done, with one it failed, and the others need not wait."""
        self._leaving.set()
        if self._thread:
            self._thread.join(self.timeout_seconds)
        for line in self._lines.values():
            line.send({"left": why})
            line.close()

    def _watch(self) -> None:
        pause = min(1.0, self.timeout_seconds / BEATS)
        selector = selectors.DefaultSelector()
        for index, line in self._lines.items():
            line.heard = time.monotonic()
            selector.register(line.connection, selectors.EVENT_READ, index)
        beat = 0.0
        while not self._leaving.is_set():
            if time.monotonic() - beat >= pause:
                beat = time.monotonic()
                for index in self._lines.keys() - self._gone:
                    self._lines[index].send({"beat": True})
            for key, _ in selector.select(pause / 2):
                if not self._hear(key.data):
                    selector.unregister(key.fileobj)
            for index in self._lines.keys() - self._gone:
                if time.monotonic() - self._lines[index].heard > self.timeout_seconds:
                    self._lose(index, f"has not answered for {self.timeout_seconds:g} s")
        selector.close()

    def _hear(self, index: int) -> bool:
        """Reads what a worker says; False once it says no more."""
        line = self._lines[index]
        try:
            messages = line.read()
        except (OSError, ValueError):
            self._lose(index, "is gone: its process ended without a word")
            return False
        line.heard = time.monotonic()
        for message in messages:
            if "left" in message:
                self._gone.add(index)
                if message["left"] is not None:
                    self._lose(index, f"failed: {message['left']}")
                return False
        return True

    def _lose(self, index: int, how: str) -> None:
        self._gone.add(index)
        if self.loss is None and not self._leaving.is_set():
            known = how.removeprefix("failed: ")
            # What another worker lost is passed on as it is: the first to go is the one to name.
            self.loss = known if known.startswith("worker ") else f"{self.cluster.name(index)} {how}"
            self._lost.set()
            self._on_loss(self.loss)
