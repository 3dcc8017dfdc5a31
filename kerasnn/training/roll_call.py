"""Are all workers there, and do they stay? A line of TCP between every two of them says so.

TensorFlow waits for a worker that is gone, for minutes or for ever, and does not say which one it is. So before it
starts, each worker meets all others on the ports that TensorFlow will have, and the connections stay open: the kernel
closes those of a process that dies, a beat that fails to come betrays a cut cable, and whoever leaves says why.
"""

import json
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Event, Lock, Thread

from kerasnn.errors import ConfigError, DeviceError
from kerasnn.training.cluster import Cluster

RETRY_SECONDS = 0.2
BEATS = 5  # Heartbeats within the time after which their absence counts.
LONGEST_LINE = 1 << 16  # Of a message: more is none of ours.


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
            DeviceError: one did not appear in time, or this one's port is taken.
            ConfigError: one was started with another config.
        """
        deadline = time.monotonic() + self.timeout_seconds
        try:
            with self._listen() as server:
                self._meet(server, deadline)
            self._settle(deadline)
        except Exception as error:
            self.leave(str(error))
            raise

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

    def _listen(self) -> socket.socket:
        port = int(self.cluster.workers[self.cluster.index].rpartition(":")[2])
        try:
            # Reusable, so that TensorFlow can listen on this port while the connections made here live on.
            return socket.create_server(("", port), backlog=len(self.cluster.workers))
        except OSError as error:
            raise DeviceError(
                f"{self.cluster.name()} cannot listen on port {port} of this machine ({error.strerror}): "
                "end what has it, or give it another port"
            ) from error

    def _meet(self, server: socket.socket, deadline: float) -> None:
        """Calls the workers with a lower index, and answers those with a higher one."""
        server.settimeout(RETRY_SECONDS)
        others = [index for index in range(len(self.cluster.workers)) if index != self.cluster.index]
        reasons: dict[int, str] = {}
        while missing := [index for index in others if index not in self._lines]:
            if time.monotonic() > deadline:
                raise DeviceError(self._absent(missing, reasons))
            for index in (index for index in missing if index < self.cluster.index):
                try:
                    self._call(index)
                except (OSError, ValueError) as error:
                    reasons[index] = getattr(error, "strerror", None) or str(error)
            with suppress(TimeoutError):
                self._answer(server.accept()[0])

    def _absent(self, missing: list[int], reasons: Mapping[int, str]) -> str:
        names = " and ".join(self.cluster.name(index) for index in missing)
        reason = next((f" ({reasons[index]})" for index in missing if index in reasons), "")
        return (
            f"{names} did not appear within {self.timeout_seconds:g} s{reason}: start it, or see whether "
            f"{self.cluster.workers[self.cluster.index]} and it can reach each other"
        )

    def _call(self, index: int) -> None:
        host, _, port = self.cluster.workers[index].rpartition(":")
        line = Line(socket.create_connection((host, int(port)), RETRY_SECONDS * BEATS), RETRY_SECONDS * BEATS)
        try:
            line.send({"hello": self.cluster.index, "facts": self.facts})
            self._admit(line, line.read_one(), index)
        except BaseException:
            line.close()
            raise

    def _answer(self, connection: socket.socket) -> None:
        line = Line(connection, RETRY_SECONDS * BEATS)
        try:
            hello = line.read_one()
            index = hello["hello"]
            if not isinstance(index, int) or not self.cluster.index < index < len(self.cluster.workers):
                raise ValueError("no worker's index")
        except (OSError, ValueError, KeyError, TypeError):  # A stranger, such as somebody who looks for open ports.
            line.close()
            return
        if index in self._lines:
            line.send({"refused": f"{self.cluster.name(index)} is there already: give each worker an index of its own"})
            line.close()
            return
        line.send({"hello": self.cluster.index, "facts": self.facts})
        try:
            self._admit(line, hello, index)
        except ConfigError:
            line.close()
            raise

    def _admit(self, line: "Line", hello: dict, index: int) -> None:
        if "refused" in hello:
            raise DeviceError(str(hello["refused"]))
        theirs = hello.get("facts", {})
        unlike = [name for name, value in self.facts.items() if theirs.get(name) != value]
        if unlike:
            found = ", ".join(f"{name} {str(theirs.get(name))[:12]}" for name in unlike)
            own = ", ".join(f"{name} {self.facts[name][:12]}" for name in unlike)
            raise ConfigError(
                f"{self.cluster.name(index)} has {found}, but {self.cluster.name()} has {own}: start all workers with "
                "the same command and the same versions; only strategy.index differs"
            )
        self._lines[index] = line

    def _settle(self, deadline: float) -> None:
        """Waits until all others have met each other too: none of them listens any more after that."""
        for line in self._lines.values():
            line.send({"ready": True})
        for index, line in self._lines.items():
            try:
                while "ready" not in (message := line.read_one(max(deadline - time.monotonic(), RETRY_SECONDS))):
                    if message.get("left"):
                        raise DeviceError(message["left"])
            except (OSError, ValueError) as error:
                raise DeviceError(f"{self.cluster.name(index)} went away before the start: see its output") from error

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


class Line:
    """A connection that carries messages, one JSON object a line."""

    def __init__(self, connection: socket.socket, timeout_seconds: float):
        self.connection = connection
        self.connection.settimeout(timeout_seconds)
        self.heard = time.monotonic()
        self._buffer = b""
        self._waiting: list[dict] = []
        self._guard = Lock()

    def send(self, message: dict) -> None:
        """Sends, or does not: that the other side is gone shows in reading."""
        with self._guard, suppress(OSError):
            self.connection.sendall(json.dumps(message).encode() + b"\n")

    def read(self) -> list[dict]:
        """What has come, at least a part of a message.

        Raises:
            OSError: nothing came in time, or the other side has closed.
            ValueError: it is none of ours.
        """
        if self._waiting:
            messages, self._waiting = self._waiting, []
            return messages
        received = self.connection.recv(LONGEST_LINE)
        if not received:
            raise ConnectionResetError("closed by the other side")
        *lines, self._buffer = (self._buffer + received).split(b"\n")
        if len(self._buffer) > LONGEST_LINE:
            raise ValueError("a line without an end")
        messages = [json.loads(line) for line in lines]
        if not all(isinstance(message, dict) for message in messages):
            raise ValueError("a message must be an object")
        return messages

    def read_one(self, timeout_seconds: float | None = None) -> dict:
        """The next message; raises as `read` does."""
        if timeout_seconds:
            self.connection.settimeout(timeout_seconds)
        while True:
            messages = self.read()
            if messages:
                first, *self._waiting = messages
                return first

    def close(self) -> None:
        """Closes the connection."""
        self.connection.close()
