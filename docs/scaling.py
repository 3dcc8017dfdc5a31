"""Writes the table of scaling.md: python docs/scaling.py (a minute: it counts every network of the zoo).

Pure arithmetic on three things: what the zoo counts, what vendors' sheets promise, and the assumptions below.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log2, log10
from pathlib import Path

PAGE = Path(__file__).with_suffix(".md")
MARKS = "<!-- written by scaling.py -->\n", "<!-- end -->\n"

# NVIDIA's data sheet of the H100 SXM: 1,979 TFLOP/s in bfloat16 with sparsity, half of that without; 80 GB.
PEAK_FLOPS = 989e12
MEMORY_BYTES = 80e9
ATTAINED = 0.4  # Assumed, the same for all.

BACKWARD = 2  # Two products for each of the forward pass: for the inputs' gradients and for the weights'.
GRADIENT_BYTES = 4  # float32, under mixed precision too.
STATE_BYTES = 16  # Of each parameter: itself, its gradient and Adam's two moments, in float32.

PICTURES, SEQUENCES = 128, 8  # Examples of a step on each GPU.
PER_NODE = 8


@dataclass(frozen=True)
class Link:
    """What connects one node to the next, or within a node one GPU to the next.

    `bytes_per_second` is each way, `hop_seconds` the assumed delay of one message.
    """

    name: str
    bytes_per_second: float
    hop_seconds: float


# The H100's sheet: 900 GB/s, both ways together. The DGX H100's: eight adapters of 400 Gb/s in a node, used at once.
NVLINK = Link("NVLink 4", 450e9, 3e-6)
INFINIBAND = Link("InfiniBand NDR", 8 * 400e9 / 8, 5e-6)
ETHERNET_100 = Link("100 GbE", 100e9 / 8, 30e-6)
ETHERNET_10 = Link("10 GbE", 10e9 / 8, 30e-6)
NETWORKS = (INFINIBAND, ETHERNET_100, ETHERNET_10)
PLACES = ((8, NVLINK), *((count, network) for count in (64, 512) for network in NETWORKS))


@dataclass(frozen=True)
class Network:
    """What is counted of a network: trainable parameters, and forward FLOPs of one example."""

    name: str
    parameters: int
    flops: int
    batch: int

    @property
    def gradient_bytes(self) -> int:
        """What each step has to add up: one number per trainable parameter."""
        return GRADIENT_BYTES * self.parameters

    @property
    def state_bytes(self) -> int:
        """What every replica holds whatever the batch: data parallelism divides none of it."""
        return STATE_BYTES * self.parameters

    @property
    def step_seconds(self) -> float:
        """The arithmetic of a step on one GPU."""
        return (1 + BACKWARD) * self.flops * self.batch / (ATTAINED * PEAK_FLOPS)


def all_reduce_seconds(size: int, gpus: int, network: Link) -> float:
    """A ring's 2(n - 1)/n of the size through its slowest link, and the messages that wait for each other.

    These go round each node and up and down a tree of nodes.
    """
    nodes = max(gpus // PER_NODE, 1)
    slowest = min(NVLINK.bytes_per_second, network.bytes_per_second)
    within = 2 * (min(gpus, PER_NODE) - 1) * NVLINK.hop_seconds
    between = 2 * log2(nodes) * network.hop_seconds
    return 2 * (gpus - 1) / gpus * size / slowest + within + between


def efficiency(network: Network, gpus: int, link: Link, overlap: bool) -> float:
    """The share of the time in which a GPU computes; the speed-up over one is this times `gpus`.

    With overlap, gradients travel while the backward pass goes on, and only what takes longer than that is waited for.
    """
    taken = all_reduce_seconds(network.gradient_bytes, gpus, link)
    hidden = BACKWARD / (1 + BACKWARD) * network.step_seconds if overlap else 0.0
    return network.step_seconds / (network.step_seconds + max(0.0, taken - hidden))


def table(networks: Sequence[Network]) -> str:
    """A row per network: what is counted, then for each place the efficiency without and with overlap, in percent."""
    places = [f"{gpus}, {link.name}" for gpus, link in PLACES]
    head = ["network", "parameters", "FLOPs", "batch", "gradient", "step", *places]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *map(_row, networks)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _row(network: Network) -> list[str]:
    counted = [network.name, f"{network.parameters:,}", f"{network.flops:,}", str(network.batch)]
    sizes = [_human(network.gradient_bytes, "B"), _human(network.step_seconds, "s")]
    if network.state_bytes > MEMORY_BYTES:
        reason = f"does not fit: {network.state_bytes / 1e9:,.0f} GB"
        return [*counted, *sizes, reason, *[""] * (len(PLACES) - 1)]
    return [*counted, *sizes, *(_cell(network, gpus, link) for gpus, link in PLACES)]


def _human(value: float, unit: str) -> str:
    """In three figures: 102 MB, 7.49 ms."""
    power = min(max(floor(log10(value) / 3), -3), 4)
    scaled = value / 1000.0**power
    return f"{scaled:.{max(0, 2 - floor(log10(scaled)))}f} {['n', 'µ', 'm', '', 'k', 'M', 'G', 'T'][power + 3]}{unit}"


def _cell(network: Network, gpus: int, link: Link) -> str:
    return " / ".join(f"{100 * efficiency(network, gpus, link, overlap):.0f}" for overlap in (False, True))


def read(page: str) -> list[Network]:
    """The networks of the page's table, as they were counted when it was written."""
    rows = re.findall(r"^\| (\w+) \| ([\d,]+) \| ([\d,]+) \| (\d+) \|", page, re.MULTILINE)
    return [Network(name, *(int(cell.replace(",", "")) for cell in cells)) for name, *cells in rows]


def count() -> list[Network]:
    """The zoo, counted anew; no weight is allocated."""
    from kerasnn.training.lean_import import import_keras

    import_keras()
    from kerasnn.models.catalogue import CATALOGUE

    return [counted(name, CATALOGUE[name]) for name in sorted(CATALOGUE, key=lambda name: CATALOGUE[name].year)]


def counted(name: str, entry) -> Network:
    """One network of the catalogue at its published size."""
    from kerasnn.zoo import row

    found = row(name, entry)
    batch = PICTURES if len(found["input_shape"]) == 3 else SEQUENCES
    return Network(name, found["params_trainable"], found["flops"], batch)


def written(page: str, networks: Sequence[Network]) -> str:
    """The page with the table of these networks."""
    before, rest = page.split(MARKS[0])
    _, after = rest.split(MARKS[1])
    return f"{before}{MARKS[0]}\n{table(networks)}\n{MARKS[1]}{after}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), count()), encoding="utf-8")
