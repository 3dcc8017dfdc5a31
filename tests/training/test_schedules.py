"""Learning rates by step, each number derived from the formula in its comment."""

import math

import keras
import pytest

from kerasnn.training.schedules import constant, cosine, step, warmup_cosine

LENGTH = {"steps_per_epoch": 10, "epochs": 4}


def rate_at(schedule, step):
    """The rate at a step, whatever the kind of schedule."""
    return float(keras.ops.convert_to_numpy(schedule(step))) if callable(schedule) else float(schedule)


def rates(schedule):
    return [rate_at(schedule, at) for at in range(41)]


def test_constant_never_changes():
    assert set(rates(constant(0.1, **LENGTH))) == {0.1}


def test_step_falls_to_a_tenth_at_half_and_at_three_quarters():
    # 40 steps in all: steps 0 to 19 at 1, 20 to 29 at 0.1, 30 to 39 at 0.01.
    assert rates(step(1.0, **LENGTH))[:40] == pytest.approx([1.0] * 20 + [0.1] * 10 + [0.01] * 10)


def test_cosine_starts_at_the_rate_halves_in_the_middle_and_ends_at_zero():
    seen = rates(cosine(1.0, **LENGTH))
    # (1 + cos(pi * 20/40)) / 2 = 1/2, and at a quarter (1 + cos(pi/4)) / 2.
    assert seen[0] == pytest.approx(1.0)
    assert seen[10] == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert seen[20] == pytest.approx(0.5)
    assert seen[40] == pytest.approx(0.0, abs=1e-7)


def test_cosine_stays_above_its_floor():
    assert min(rates(cosine(1.0, **LENGTH, floor=0.1))) == pytest.approx(0.1)


def test_warmup_cosine_rises_in_a_line_then_falls():
    seen = rates(warmup_cosine(1.0, **LENGTH, warmup_epochs=2))
    # From 1/20 of the peak to the peak in 20 steps: the middle is halfway between them.
    assert seen[0] == pytest.approx(1 / 20)
    assert seen[10] == pytest.approx((1 / 20 + 1) / 2)
    assert seen[20] == pytest.approx(1.0)
    # The other 20 steps are half a cosine: its middle is one half.
    assert seen[30] == pytest.approx(0.5)
    assert seen[40] == pytest.approx(0.0, abs=1e-7)


def test_warmup_cosine_takes_at_most_half_of_a_short_training():
    # One epoch of ten steps: the asked-for two epochs of warm-up shrink to five steps.
    seen = [rate_at(warmup_cosine(1.0, steps_per_epoch=10, epochs=1, warmup_epochs=2), at) for at in range(10)]
    assert max(seen) == pytest.approx(1.0)
    assert seen.index(max(seen)) == 5


def test_warmup_cosine_without_warmup_is_cosine():
    assert rates(warmup_cosine(1.0, **LENGTH, warmup_epochs=0)) == rates(cosine(1.0, **LENGTH))
