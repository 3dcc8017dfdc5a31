"""Whether a value fits a type, and what a user is told when it does not."""

from collections.abc import Sequence
from typing import Literal

import pytest

from kerasnn.config.values import describe, fits, misfit
from kerasnn.ranges import Even, Fraction, Positive, PositiveFloat, Probability

Jit = Literal["auto", True, False]


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (3, int), (3, float), (0.5, float), (True, bool), ("a", str), (None, int | None), (3, Positive | None),
        (0.0, Fraction), (1.0, Probability), (1e-3, PositiveFloat), ("auto", Jit), (True, Jit), ([1, 2], Sequence[int]),
        ([1, 2], tuple[int, ...]), ([1, 2], tuple[int, int]), ([], list[str]), ({"a": 1}, dict[str, int]),
    ],
)  # fmt: skip
def test_fits_accepts_what_the_type_means(value, annotation):
    assert fits(value, annotation)
    assert misfit(value, annotation) is None


@pytest.mark.parametrize(
    ("value", "annotation", "reason"),
    [
        ("many", Positive, "must be a whole number with 1 <= x"),
        (2.5, int, "must be a whole number"),
        (True, int, "must be a whole number"),
        (0, Positive, "must be in 1 <= x"),
        (1.0, Fraction, "must be in 0 <= x < 1"),
        (0, PositiveFloat, "must be in 0 < x"),
        (-1, Positive | None, "must be in 1 <= x"),
        ("atuo", Jit, "is not a choice: did you mean 'auto'? known: auto, false, true"),
        (1, Jit, "must be one of auto, true, false"),
        ([1, "b"], Sequence[int], "must be a list of whole numbers"),
        ([1, 2, 3], tuple[int, int], "must be a list of whole numbers"),
        (None, float, "must be a finite number"),
        (float("inf"), PositiveFloat, "must be a finite number with 0 < x"),
        (3, Even, "must be in 2 <= x, a multiple of 2"),
        ("no", bool, "must be true or false"),
    ],
)
def test_misfit_says_what_is_allowed(value, annotation, reason):
    assert misfit(value, annotation) == reason


def test_describe_joins_alternatives():
    assert describe(Positive | None) == "a whole number with 1 <= x or null"
