"""What NVIDIA's own tool says of this machine's GPUs. TensorFlow, which would claim them all, is not asked.

Numbers are `nvidia-smi`'s, which go by the PCI bus; CUDA's own put the fastest first (`CUDA_DEVICE_ORDER`).
"""

import re
import subprocess
from dataclasses import dataclass

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""In the environment: the GPUs that a process gets, by number or UUID."""

ABSENT = "absent"
PATIENCE_SECONDS = 20.0
QUERY = ("name", "memory.total", "driver_version", "compute_cap")


@dataclass(frozen=True)
class Card:
    """One GPU as `nvidia-smi` lists it, such as `Card("NVIDIA H100", "81559 MiB", "550.54.15", "9.0")`."""

    name: str
    memory: str
    driver: str
    capability: str


def cards() -> tuple[tuple[Card, ...], str]:
    """The GPUs; and why there are none: `ABSENT`, or the tool's own words, empty where it answered."""
    answer, trouble = _ask(f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader")
    return read_cards(answer), trouble


def read_cards(text: str) -> tuple[Card, ...]:
    """The cards in `nvidia-smi`'s table.

    Example:
        >>> read_cards("NVIDIA A100-SXM4-40GB, 40960 MiB, 535.104.05, 8.0")
        (Card(name='NVIDIA A100-SXM4-40GB', memory='40960 MiB', driver='535.104.05', capability='8.0'),)
    """
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines() if line.strip()]
    return tuple(Card(*row) for row in rows if len(row) == len(QUERY))


def uuids() -> tuple[dict[str, str], str]:
    """The GPUs by UUID, with their numbers; and why there are none, as `cards` tells it.

    A part of a GPU (MIG) has no number, and is named by its UUID.
    """
    answer, trouble = _ask("-L")
    lines = re.findall(r"^(?:GPU (\d+)|\s+MIG\b).*\(UUID: ([^)]+)\)", answer, re.MULTILINE)
    return {uuid: number or uuid for number, uuid in lines}, trouble


def _ask(*words: str) -> tuple[str, str]:
    """What the tool prints; and what hindered it."""
    try:
        answer = subprocess.run(
            ["nvidia-smi", *words], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )
    except FileNotFoundError:
        return "", ABSENT
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", " ".join(str(error).split())
    if answer.returncode:
        said = (answer.stdout + answer.stderr).strip().splitlines() or [f"exit code {answer.returncode}"]
        return "", said[0]
    return answer.stdout, ""
