"""What a run leaves: numbers that are exact, in one JSON file."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

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
        text = json.dumps(_finite(asdict(self)), indent=2, ensure_ascii=False) + "\n"
        fresh = path.with_name(f"new_{path.name}")  # Whole or not at all, whatever happens to the process.
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)


def from_events(events: Iterable[Mapping], status: Status, run_id: str | None) -> Result:
    """The result of a run that could not write its own, as far as its journal tells (`kerasnn.tracking.journal`)."""
    result = Result("", {}, 0, status, run_id=run_id)
    history: dict[str, dict[int, float]] = {}
    for event in events:
        match event["event"]:
            case "start":
                result.name, params = event["name"], event["params"]
                result.choices = {key: value for key, value in params.items() if key != "seed" and "." not in key}
                result.seed = int(params.get("seed", 0))
            case "metrics" if event["step"] is None:
                result.metrics |= event["values"]
            case "metrics":
                # A resumed run tells the epochs after its checkpoint twice: the later hold.
                for name, value in event["values"].items():
                    history.setdefault(name, {})[event["step"]] = value
            case "tags":
                told = {key: value for key, value in event["values"].items() if key.startswith("hash.")}
                result.hashes |= {key.removeprefix("hash."): value for key, value in told.items()}
    result.history = {name: [values[step] for step in sorted(values)] for name, values in history.items()}
    return result


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and (value != value or abs(value) == float("inf")) else value
