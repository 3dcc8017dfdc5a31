"""What a run leaves: numbers that are exact, in one JSON file."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from kerasnn.tracking.folders import write_result
from kerasnn.tracking.tracker import Status


@dataclass
class Result:
    """The outcome of a run.

    `metrics` are the numbers said once (`test/accuracy`, `cost/flops` …), `history` those of every epoch, by name.
    `facts` say how the network's inputs are made and what its answers stand for, `digest` what determines the training.
    """

    name: str
    choices: dict[str, str]
    seed: int
    status: Status | Literal["RUNNING"] = "RUNNING"
    metrics: dict[str, float] = field(default_factory=dict)
    history: dict[str, list[float]] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    facts: dict[str, object] = field(default_factory=dict)
    run_id: str | None = None
    digest: str = ""

    def save(self, path: Path) -> None:
        """Writes the result as JSON; a number that is none (NaN) becomes null."""
        write_result(path, asdict(self))
