"""What was measured and what was aimed at, as a table in markdown."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from statistics import median

KERASNN, BEST, AS_WRITTEN, TORCH = "kerasnn", "Keras at its best", "Keras as written", "PyTorch"
AUTOLOG = "Keras as written with autolog"
FIRST, LATER = ", first run", ", later run"

WHOLE_RUN = "LeNet-5 on digits, seconds for the whole run"


def rate(workload: str) -> str:
    return f"{workload}, images/s"


def first_step(workload: str) -> str:
    return f"{workload}, seconds to the first step"


@dataclass
class Series:
    """What one competitor reached in one section, repeat by repeat; `absent` says why there is nothing."""

    section: str
    who: str
    values: list[float] = field(default_factory=list)
    absent: str = ""

    def __str__(self) -> str:
        if not self.values:
            return self.absent
        middle, least, most = (_number(value) for value in (median(self.values), min(self.values), max(self.values)))
        return f"{middle} ({least}–{most})"


@dataclass(frozen=True)
class Target:
    """kerasnn's median divided by the competitor's is to be at least, or at most, `bound`."""

    sign: str
    bound: float

    def __str__(self) -> str:
        return f"{self.sign} {self.bound:g}"

    def met(self, ratio: float) -> bool:
        return ratio >= self.bound if self.sign == "≥" else ratio <= self.bound


TARGETS = {
    (rate("LeNet-5"), BEST): Target("≥", 0.98),
    (rate("LeNet-5"), TORCH): Target("≥", 1),
    (rate("VGG16"), BEST): Target("≥", 0.98),
    (rate("VGG16"), AS_WRITTEN): Target("≥", 4),
    (rate("VGG16"), TORCH): Target("≥", 1),
    (WHOLE_RUN, BEST): Target("≤", 1.2),
    (WHOLE_RUN, AS_WRITTEN): Target("≤", 1.2),
    (WHOLE_RUN, AUTOLOG + FIRST): Target("≤", 0.5),
    (WHOLE_RUN, AUTOLOG + LATER): Target("≤", 0.5),
}


def markdown(series: list[Series], targets: Mapping[tuple[str, str], Target] = TARGETS) -> str:
    """A table per section: medians with the least and the most, and kerasnn's median divided by each of the others'."""
    order = list(dict.fromkeys(one.section for one in series))
    ranked = sorted(series, key=lambda one: (order.index(one.section), not _own(one), one.who))
    tables = [_table(section, list(rows), targets) for section, rows in groupby(ranked, key=lambda one: one.section)]
    return "\n\n".join(tables)


def _table(section: str, rows: list[Series], targets: Mapping[tuple[str, str], Target]) -> str:
    own = [one for one in rows if _own(one)]
    head = [section, "median (min–max)", *(f"{one.who} ÷ it" for one in own), "target"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        target = targets.get((section, row.who))
        lines.append([row.who, str(row), *(_quotient(one, row, target) for one in own), str(target or "")])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _quotient(own: Series, other: Series, target: Target | None) -> str:
    """kerasnn ÷ the other, with a mark where a target stands; a first run is compared with a first run."""
    kinds = [kind for kind in (FIRST, LATER) if other.who.endswith(kind)]
    if _own(other) or not (own.values and other.values) or (kinds and not own.who.endswith(kinds[0])):
        return ""
    ratio = median(own.values) / median(other.values)
    mark = f" {'met' if target.met(ratio) else 'missed'}" if target else ""
    return f"{ratio:.2f}{mark}"


def _own(series: Series) -> bool:
    return series.who.startswith(KERASNN)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
