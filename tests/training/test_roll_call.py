"""Workers meet, stay in touch, and are named when they are lost: here as threads of one process."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from kerasnn.errors import ConfigError, DeviceError
from kerasnn.training import meeting
from kerasnn.training.cluster import Cluster
from kerasnn.training.roll_call import RollCall


def free_addresses(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = tuple(f"127.0.0.1:{each.getsockname()[1]}" for each in sockets)
    for each in sockets:
        each.close()
    return addresses


def calls(count, seconds=5.0, facts=({"config": "a"},) * 3):
    addresses = free_addresses(count)
    return [RollCall(Cluster(addresses, index), seconds, facts[index]) for index in range(count)]


def gather(some, delays=(0, 0, 0)):
    """What each one's `gather` raised, or None; each begins after so many seconds."""

    def begin(each, delay):
        time.sleep(delay)
        each.gather()

    with ThreadPoolExecutor(len(some)) as pool:
        futures = [pool.submit(begin, each, delay) for each, delay in zip(some, delays, strict=False)]
        return [future.exception() for future in futures]


@contextmanager
def gathered(count, seconds=5.0):
    """Workers that have met and watch over each other, and the lines that each one's callback got."""
    some = calls(count, seconds)
    assert gather(some) == [None] * count
    heard = [[] for _ in some]
    for each, lines in zip(some, heard, strict=True):
        each.watch(lines.append)
    try:
        yield some, heard
    finally:
        for each in some:
            each.leave()


def cut(call):
    """What the kernel does for a process that was killed: its connections close without a word."""
    call._leaving.set()
    call._thread.join()
    for line in call._lines.values():
        line.close()


def test_all_meet_and_leave_in_order():
    with gathered(3) as (some, heard):
        for each in some:
            each.leave()
            time.sleep(0.2)
    assert [each.loss for each in some] == [None] * 3
    assert heard == [[], [], []]


def test_port_is_free_for_tensorflow_after_the_meeting():
    with gathered(2) as (some, _):
        port = int(some[0].cluster.workers[0].split(":")[1])
        with socket.create_server(("127.0.0.1", port)):
            assert len(some[0]._lines) == 1


def test_killed_worker_is_named_by_all_others():
    with gathered(3) as (some, heard):
        cut(some[1])
        lost = f"{some[0].cluster.name(1)} is gone: its process ended without a word"
        assert [each.wait_for_loss(3) for each in (some[0], some[2])] == [lost, lost]
    assert heard == [[lost], [], [lost]]


def test_failing_worker_says_why_and_the_first_to_fail_is_named():
    with gathered(3) as (some, _):
        some[2].leave("the loss became nan")
        lost = f"{some[0].cluster.name(2)} failed: the loss became nan"
        assert some[0].wait_for_loss(3) == lost
        some[0].leave(lost)  # Worker 1 may hear of it from both: it names the same one.
        assert some[1].wait_for_loss(3) == lost


def test_silent_worker_is_named_after_the_timeout(monkeypatch):
    with gathered(2, seconds=0.5) as (some, _):
        for line in some[1]._lines.values():  # A cable that is cut: nothing comes, and nothing is closed.
            monkeypatch.setattr(line, "send", lambda message: None)
        assert some[0].wait_for_loss(3) == f"{some[0].cluster.name(1)} has not answered for 0.5 s"


def test_worker_that_never_appears_is_named():
    first, _, third = calls(3, seconds=1.0)
    errors = gather([first, third])
    for error in errors:
        assert isinstance(error, DeviceError)
        assert str(error).startswith(f"{first.cluster.name(1)} did not appear within 1 s")


def test_other_config_is_refused_with_both_named():
    some = calls(2, facts=({"config": "a", "keras": "3"}, {"config": "b", "keras": "3"}))
    errors = gather(some)
    assert {type(error) for error in errors} == {ConfigError}
    assert f"{some[0].cluster.name(1)} has config b, but {some[0].cluster.name(0)} has config a" in str(errors[0])


def test_slow_name_servers_and_a_late_worker_keep_nobody_from_meeting(monkeypatch):
    # To find worker 0 takes 1.5 s, as from a slow name server or a host that boots; it starts after 1 s. Worker 1 comes
    # to its own callers 1.5 s late: longer than anyone waits for a connection, and it stands all the same.
    some = calls(3, seconds=10.0)
    slow, connect, hear = some[0].cluster.workers[0].split(":")[1], socket.create_connection, meeting.Meeting._hear

    def slowly(address, timeout):
        if str(address[1]) == slow:
            time.sleep(1.5)
        return connect(address, timeout)

    def late(self, line, selector):
        if self.cluster.index == 1 and line.index is None:
            time.sleep(1.5)
        hear(self, line, selector)

    monkeypatch.setattr(meeting.socket, "create_connection", slowly)
    monkeypatch.setattr(meeting.Meeting, "_hear", late)
    assert gather(some, delays=(1, 0, 0)) == [None] * 3
    for each in some:
        each.leave()


def test_refused_worker_is_named_at_once_by_those_who_had_no_part_in_it():
    # Workers 0 and 2 have met when 1 comes with another config: 2 would wait for it and then for 20 s.
    some = calls(3, seconds=20.0, facts=({"config": "a"}, {"config": "b"}, {"config": "a"}))
    begun = time.monotonic()
    errors = gather(some, delays=(0, 1, 0))
    assert time.monotonic() - begun < 10
    for error in errors:  # By whichever of the two it was noticed.
        assert f"{some[0].cluster.name(1)} has config b" in str(error)
        assert "has config a" in str(error)


def test_interrupted_worker_ends_the_wait_of_the_others():
    first, _, third = calls(3, seconds=20.0)
    interrupted = meeting.Meeting(third.cluster, 20.0, third.facts)

    def hear(line, selector):
        meeting.Meeting._hear(interrupted, line, selector)
        if interrupted._lines:  # Worker 0 has been met; worker 1 is still awaited.
            raise KeyboardInterrupt

    interrupted._hear = hear
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(first.gather), pool.submit(interrupted.hold)]
        assert isinstance(futures[1].exception(15), KeyboardInterrupt)
        assert str(futures[0].exception(5)) == f"{first.cluster.name(2)} was ended before the start"


def test_list_in_another_order_is_said_at_once():
    # Worker 2 finds worker 0 where it looks for worker 1.
    first, _, third = calls(3, seconds=20.0)
    here, there, own = third.cluster.workers
    third.cluster = Cluster((there, here, own), 2)
    line = f"worker 1 ({here}) says that it is worker 0: give all workers the same list"
    errors = gather([first, third])
    assert isinstance(errors[1], ConfigError)
    assert all(str(error).startswith(line) for error in errors)


def test_taken_port_is_one_line():
    address = free_addresses(1)
    with (
        socket.create_server(("", int(address[0].split(":")[1]))),
        pytest.raises(DeviceError, match="cannot listen on port"),
    ):
        RollCall(Cluster(address, 0), 1.0, {}).gather()


def test_second_worker_of_one_index_is_refused():
    addresses = free_addresses(3)
    first, one, other = (RollCall(Cluster(addresses, index), 2.0, {}) for index in (0, 1, 1))
    other.cluster = Cluster(
        (addresses[0], addresses[2], addresses[1]), 1
    )  # As on another host, with a port of its own.
    errors = gather([first, one, other])
    assert any("is there already: give each worker an index of its own" in str(error) for error in errors)


def test_stranger_at_the_door_does_no_harm():
    some = calls(2)
    port = int(some[0].cluster.workers[0].split(":")[1])
    with ThreadPoolExecutor(2) as pool:
        chief = pool.submit(some[0].gather)
        deadline = time.monotonic() + 3
        while True:
            try:
                stranger = socket.create_connection(("127.0.0.1", port), 1)
                break
            except OSError:
                assert time.monotonic() < deadline
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        pool.submit(some[1].gather).result()
        chief.result()
        stranger.close()
    for each in some:
        each.leave()
