"""The workers of a training meet: each calls those with a lower index and answers those with a higher one.

A worker may be slow: busy with a name server, or started a minute later. So nobody hangs up on a connection that
stands: it is answered whenever the other side comes to it, and is the one that both keep.
"""

import json
import selectors
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from threading import Event, Lock, Thread

from kerasnn.errors import ConfigError, DeviceError, KerasnnError
from kerasnn.training.cluster import Cluster

RETRY_SECONDS = 0.2
CONNECT_SECONDS = 1.0
LONGEST_LINE = 1 << 16  # Of a message: more is none of ours.


class Line:
    """A connection that carries messages, one JSON object a line. `index` is the worker at its other end, if known."""

    def __init__(self, connection: socket.socket, index: int | None = None):
        self.connection = connection
        self.connection.settimeout(CONNECT_SECONDS)
        self.index = index
        self.heard = time.monotonic()
        self._buffer = b""
        self._guard = Lock()

    def send(self, message: dict) -> None:
        """Sends, or does not: that the other side is gone shows in reading."""
        with self._guard, suppress(OSError):
            self.connection.sendall(json.dumps(message).encode() + b"\n")

    def read(self) -> list[dict]:
        """The messages that have come; none where there is but a part of one yet.

        Raises:
            OSError: nothing came in time, or the other side has closed.
            ValueError: it is none of ours.
        """
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

    def close(self) -> None:
        """Closes the connection."""
        self.connection.close()


class Meeting:
    """One worker's part in the meeting.

    Args:
        cluster: all workers, and which one this is.
        timeout_seconds: how long to wait for one to appear.
        facts: what all workers must agree on, by name.

    Example:
        >>> lines = Meeting(cluster, 60, {"kerasnn": "0.1.0"}).hold()
        >>> sorted(lines)      # of worker 1 of three
        [0, 2]
    """

    def __init__(self, cluster: Cluster, timeout_seconds: float, facts: Mapping[str, str]):
        self.cluster = cluster
        self.timeout_seconds = timeout_seconds
        self.facts = dict(facts)
        self._others = set(range(len(cluster.workers))) - {cluster.index}
        self._lines: dict[int, Line] = {}  # To those who were met,
        self._open: set[Line] = set()  # and to those who called, or were called, and have not answered yet.
        self._ready: set[int] = set()
        self._reasons: dict[int, str] = {}
        self._connected: list[Line] = []
        self._over, self._guard = Event(), Lock()

    def hold(self) -> dict[int, Line]:
        """A line to each other worker, once every worker has met every other.

        Raises:
            DeviceError: one did not appear in time or left, or this one's port is taken.
            ConfigError: one was started with another config, or another list of workers.
        """
        deadline = time.monotonic() + self.timeout_seconds
        try:
            with self._listen() as server, selectors.DefaultSelector() as selector:
                selector.register(server, selectors.EVENT_READ)
                for index in range(self.cluster.index):
                    self._call(index)
                self._meet(server, selector, deadline)
        except BaseException as error:
            why = str(error) if isinstance(error, KerasnnError) else f"{self.cluster.name()} was ended before the start"
            for line in (*self._lines.values(), *self._open):
                line.send({"left": why})
                line.close()
            raise
        finally:
            with self._guard:
                self._over.set()
            for line in (*self._connected, *self._open):
                line.close()
        return self._lines

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

    def _call(self, index: int, pause: float = 0.0) -> None:
        """In a thread of its own: to find a host, or that it is not up, takes seconds in which others call here."""
        Thread(target=self._connect, args=(index, pause), name=f"call {index}", daemon=True).start()

    def _connect(self, index: int, pause: float) -> None:
        host, _, port = self.cluster.workers[index].rpartition(":")
        while not self._over.wait(pause):
            pause = RETRY_SECONDS
            try:
                line = Line(socket.create_connection((host, int(port)), CONNECT_SECONDS), index)
            except (OSError, ValueError) as error:
                self._reasons[index] = getattr(error, "strerror", None) or str(error)
                continue
            with self._guard:
                if self._over.is_set():
                    line.close()
                else:
                    self._connected.append(line)
            return

    def _meet(self, server: socket.socket, selector: selectors.BaseSelector, deadline: float) -> None:
        told = False
        server.settimeout(CONNECT_SECONDS)
        while self._ready != self._others:
            if time.monotonic() > deadline + (CONNECT_SECONDS if told else 0):  # Others may know better who is absent.
                raise DeviceError(self._absent())
            with self._guard:
                called, self._connected = self._connected, []
            for line in called:
                self._welcome(line, selector)
                line.send({"hello": self.cluster.index, "facts": self.facts})
            for key, _ in selector.select(RETRY_SECONDS / 4):
                if key.fileobj is server:
                    with suppress(OSError):  # Whoever called has hung up.
                        self._welcome(Line(server.accept()[0]), selector)
                else:
                    self._hear(key.data, selector)
            if not told and self._lines.keys() == self._others:
                told = True
                for line in self._lines.values():
                    line.send({"ready": True})

    def _welcome(self, line: Line, selector: selectors.BaseSelector) -> None:
        self._open.add(line)
        selector.register(line.connection, selectors.EVENT_READ, line)

    def _absent(self) -> str:
        missing = sorted(self._others - self._lines.keys())
        names = " and ".join(self.cluster.name(index) for index in missing or sorted(self._others - self._ready))
        if not missing:
            return f"{names} did not meet all others within {self.timeout_seconds:g} s: see the output there"
        reason = next((f" ({self._reasons[index]})" for index in missing if index in self._reasons), "")
        return (
            f"{names} did not appear within {self.timeout_seconds:g} s{reason}: start it, or see whether "
            f"{self.cluster.workers[self.cluster.index]} and it can reach each other"
        )

    def _hear(self, line: Line, selector: selectors.BaseSelector) -> None:
        try:
            for message in line.read():
                self._take(line, message)
        except (OSError, ValueError, KeyError, TypeError) as error:
            if line not in self._open:
                raise DeviceError(
                    f"{self.cluster.name(line.index)} went away before the start: see its output"
                ) from error
            # A stranger, such as somebody who looks for open ports, or a worker that was ended and may come again.
            self._open.discard(line)
            selector.unregister(line.connection)
            line.close()
            if line.index is not None:
                self._reasons[line.index] = getattr(error, "strerror", None) or str(error)
                self._call(line.index, RETRY_SECONDS)

    def _take(self, line: Line, message: dict) -> None:
        if line.index is not None and (message.get("left") or message.get("refused")):
            raise DeviceError(str(message.get("left") or message["refused"]))
        if line not in self._open:
            if "ready" in message:
                self._ready.add(line.index)
            return
        index, facts = message["hello"], message["facts"]
        if not isinstance(index, int) or not isinstance(facts, dict):
            raise ValueError("no worker's hello")
        if line.index is None:
            self._answer(line, index, facts)
        elif line.index == index:
            self._admit(line, facts)
        elif index == self.cluster.index:  # Linux may give a port that nobody has to the very process that calls it.
            raise ValueError("called itself")
        else:
            raise ConfigError(
                f"{self.cluster.name(line.index)} says that it is worker {index}: give all workers the same list, in "
                "the same order, and each an index of its own"
            )

    def _answer(self, line: Line, index: int, facts: Mapping[str, str]) -> None:
        if not self.cluster.index < index < len(self.cluster.workers):
            raise ValueError("not one who calls here")
        if index in self._lines:
            line.send({"refused": f"{self.cluster.name(index)} is there already: give each worker an index of its own"})
            raise ValueError("a second worker of one index")
        line.index = index
        line.send({"hello": self.cluster.index, "facts": self.facts})
        self._admit(line, facts)

    def _admit(self, line: Line, theirs: Mapping[str, str]) -> None:
        unlike = [name for name, value in self.facts.items() if theirs.get(name) != value]
        if unlike:
            found = ", ".join(f"{name} {str(theirs.get(name))[:24]}" for name in unlike)
            own = ", ".join(f"{name} {self.facts[name][:24]}" for name in unlike)
            raise ConfigError(
                f"{self.cluster.name(line.index)} has {found}, but {self.cluster.name()} has {own}: start all workers "
                "with the same command and the same versions; only strategy.index differs"
            )
        self._open.discard(line)
        self._lines[line.index] = line
