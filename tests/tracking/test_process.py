"""Whose run it is: the tags of a process, and what can be said about it later, here and elsewhere."""

import os
import subprocess
import sys

import pytest

from kerasnn.tracking import process
from kerasnn.tracking.process import BOOT, HOST, MACHINE, PROCESS, process_tags, verdict

ASK = "from kerasnn.tracking.process import process_tags; print(process_tags(), flush=True); input()"


@pytest.fixture
def other():
    """Another process and its tags."""
    child = subprocess.Popen([sys.executable, "-c", ASK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    tags = eval(child.stdout.readline())
    yield child, tags
    child.kill()
    child.wait()
    child.stdin.close()
    child.stdout.close()


def test_process_that_lives_is_alive_until_it_is_killed(other):
    child, tags = other
    assert tags[PROCESS].split()[0] == str(child.pid)
    assert verdict(tags) == verdict(process_tags()) == "alive"
    child.kill()
    # It has ended, and its parent, this test, has not taken note: a zombie is dead too.
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert verdict(tags) == "dead"
    child.wait()
    assert verdict(tags) == "dead"


def test_number_that_was_given_out_again_is_another_process():
    tags = process_tags()
    number, begun, namespace = tags[PROCESS].split(" ")
    assert verdict(tags | {PROCESS: f"{number} {int(begun) - 1} {namespace}"}) == "dead"


def test_process_from_before_a_reboot_is_dead_even_if_the_numbers_agree(monkeypatch):
    monkeypatch.setattr(process, "_machine", lambda: "this one")
    assert verdict(process_tags() | {BOOT: "another"}) == "dead"
    # Another machine of the same name, and one that does not say which it is.
    assert verdict(process_tags() | {BOOT: "another", MACHINE: "that one"}) == "elsewhere"
    monkeypatch.setattr(process, "_machine", lambda: "")
    assert verdict(process_tags() | {BOOT: "another"}) == "elsewhere"


def test_process_of_another_machine_is_not_judged():
    assert verdict(process_tags() | {HOST: "far-away", BOOT: "another"}) == "elsewhere"


def test_process_of_another_container_on_this_kernel_is_not_judged_by_its_number():
    # Containers have names and numberings of their own, and the boot of their kernel in common.
    tags = process_tags()
    number, begun, _ = tags[PROCESS].split(" ")
    assert verdict(tags | {HOST: "3f2a91c", PROCESS: f"{number} {begun} pid:[1]"}) == "unknown"


def test_run_without_tags_belongs_to_nobody_that_is_known():
    assert verdict({}) == verdict({HOST: process_tags()[HOST]}) == "unknown"
