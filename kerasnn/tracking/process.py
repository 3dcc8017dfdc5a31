"""Which process a run belongs to, as tags, and whether that process still lives.

A number alone does not say: numbers are given out again. With the moment at which the process began, the machine's
boot and the namespace that the number counts in, it does, as far as this machine can know.
"""

import os
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Literal

HOST, PROCESS, BOOT, MACHINE = "host", "process", "process.boot", "process.machine"

Verdict = Literal["alive", "dead", "elsewhere", "unknown"]


def process_tags() -> dict[str, str]:
    """This process, by tags that `verdict` reads.

    Example:
        >>> process_tags()
        {'host': 'ada', 'process': '4711 83264400 pid:[4026531836]', 'process.boot': 'c75a302c-fc62-…',
         'process.machine': '5f0c2e9a77d1b3e4'}
    """
    number = os.getpid()
    process = f"{number} {_begun(number)} {_namespace()}"
    return {HOST: socket.gethostname(), PROCESS: process, BOOT: _boot(), MACHINE: _machine()}


def verdict(tags: Mapping[str, str]) -> Verdict:
    """What can be said here about the process that `tags` name.

    "elsewhere": it belongs to another machine, and only that one can tell. "unknown": the tags do not name one, or this
    process cannot see its number, as from one container into another.
    """
    if PROCESS not in tags:
        return "unknown"
    boot = tags.get(BOOT, "")
    if boot and boot == _boot():
        return _of_this_boot(tags[PROCESS])
    if tags.get(HOST) != socket.gethostname():
        return "elsewhere"
    if not boot:
        return _of_this_boot(tags[PROCESS])
    # Many machines are called localhost: only one that is surely this one has been started anew since.
    return "dead" if _machine() and tags.get(MACHINE) == _machine() else "elsewhere"


def _of_this_boot(process: str) -> Verdict:
    number, begun, namespace = (*process.split(" ", 2), "", "")[:3]
    if namespace != _namespace():
        return "unknown"
    return "alive" if begun and _begun(number) == begun else "dead"


def _begun(number: int | str) -> str:
    """When a process began, in the system's own words without blanks; empty where there is none of that number."""
    with suppress(OSError):
        # The second field is the program's name, in brackets, and may hold anything; the state follows, the start is
        # the 22nd. A zombie, whose parent has not asked for its end yet, does nothing any more.
        state, *facts = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        return "" if state == "Z" else facts[18]
    if Path("/proc/self/stat").exists():
        return ""
    with suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(["ps", "-o", "lstart=", "-p", str(number)], capture_output=True, text=True, timeout=5)
        return "_".join(answer.stdout.split())
    return ""


def _namespace() -> str:
    """Containers number their processes by themselves; this names who counted. Empty where there is no such thing."""
    with suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""


def _machine() -> str:
    """What names this machine from one boot to the next; its number itself is not meant to be told to others."""
    with suppress(OSError):
        number = Path("/etc/machine-id").read_text().strip()
        return sha256(f"kerasnn {number}".encode()).hexdigest()[:16] if number else ""
    return ""


def _boot() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""
