"""Types with a range, for signatures: the command line checks values against them before TensorFlow loads.

Example:
    >>> def vgg(variant: str, dropout: Fraction = 0.5): ...      # model.dropout=1.5 is refused
"""

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Range:
    """An interval of numbers, perhaps only multiples of `step`. Range(low=0, below=1) is 0 <= x < 1."""

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    step: int = 0

    def __contains__(self, value: float) -> bool:
        return (
            (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
            and (not self.step or value % self.step == 0)
        )

    def __str__(self) -> str:
        left = f"{self.low} <= " if self.low is not None else f"{self.above} < " if self.above is not None else ""
        right = f" <= {self.high}" if self.high is not None else f" < {self.below}" if self.below is not None else ""
        return f"{left}x{right}{f', a multiple of {self.step}' if self.step else ''}"


Positive = Annotated[int, Range(low=1)]
"""A count: 1, 2, 3 …"""

Count = Annotated[int, Range(low=0)]
"""A count that may be none: 0, 1, 2 …"""

Even = Annotated[int, Range(low=2, step=2)]
"""A count of pairs: 2, 4, 6 …"""

Seed = Annotated[int, Range(low=0, below=2**32)]
"""What NumPy, Python and TensorFlow all take as a seed."""

PositiveFloat = Annotated[float, Range(above=0)]
"""A strictly positive amount, such as a learning rate."""

NonNegativeFloat = Annotated[float, Range(low=0)]
"""An amount that may be zero, such as a weight decay."""

Fraction = Annotated[float, Range(low=0, below=1)]
"""A share that never takes all: 0 <= x < 1, such as a dropout."""

Probability = Annotated[float, Range(low=0, high=1)]
"""A probability: 0 <= x <= 1."""
