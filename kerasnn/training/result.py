"""What a run leaves: numbers that are exact, in one JSON file."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kerasnn.tracking.tracker import Status


@dataclass
class Result:
    """The outcome of a run.

    `metrics` are the numbers said once (`test/accuracy`, `cost/flops` …), `history` those of every epoch, by name.
    `facts` say how the network's inputs are made and what its answers stand for.
    """

    name: str
    choices: dict[str, str]
    seed: int
    status: Status = "FINISHED"
    metrics: dict[str, float] = field(default_factory=dict)
    history: dict[str, list[float]] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    facts: dict[str, object] = field(default_factory=dict)
    run_id: str | None = None

    def save(self, path: Path) -> None:
        """Writes the result as JSON; a number that is none (NaN) becomes null."""
        path.write_text(json.dumps(_finite(asdict(self)), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and (value != value or abs(value) == float("inf")) else value
