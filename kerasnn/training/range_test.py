"""The learning-rate range test: the rate rises step by step until the loss leaves; the curve says where it fell best.

Smith 2017, Cyclical Learning Rates for Training Neural Networks, WACV, section 3.3; the exponential rise and the end at
a loss that has grown several times over are those of fastai.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import keras
import numpy as np

from kerasnn.errors import TrainingError
from kerasnn.ranges import Positive, PositiveFloat

GROWTH = 4  # A loss that is so many times the lowest has left for good.
SMOOTHING, STEADY = 0.9, 10  # The average by which the test decides to end, and the steps that steady it.
LEAST_STEPS = 20  # Fewer points make no curve.


@dataclass(frozen=True)
class RangeTest:
    """What a test saw.

    Args:
        rates: the learning rate of each step, rising.
        losses: each step's own loss, at the weights before it, on its own batch.
    """

    rates: np.ndarray
    losses: np.ndarray

    @cached_property
    def smooth(self) -> np.ndarray:
        """The losses, each averaged with its neighbours: by a triangle a tenth of the test wide, on either side."""
        reach = max(2, len(self.losses) // 10)
        weights = 1 - np.abs(np.arange(-reach, reach + 1)) / (reach + 1)
        padded = [np.convolve(values, weights)[reach:-reach] for values in (self.losses, np.ones_like(self.losses))]
        return padded[0] / padded[1]

    @property
    def lowest(self) -> float:
        """The rate at which the smooth loss was lowest: a bound from above, since it is about to leave there."""
        return float(self.rates[self.smooth.argmin()])

    @property
    def suggestion(self) -> float:
        """The rate at which the smooth loss fell most steeply, per decade of the rate, to two digits.

        Raises:
            TrainingError: it never fell.
        """
        end = int(self.smooth.argmin()) + 1
        slopes = np.gradient(self.smooth, np.log10(self.rates))[:end]
        if slopes.min() >= 0:
            raise TrainingError(
                f"the loss never fell between the rates {self.rates[0]:.1e} and {self.rates[-1]:.1e}: start lower with "
                "--first, or take more --steps"
            )
        return float(f"{self.rates[slopes.argmin()]:.1e}")


def range_test(
    model: keras.Model,
    stream,
    steps: Positive = 100,
    first: PositiveFloat = 1e-6,
    last: PositiveFloat = 10.0,
    factor: PositiveFloat = 1.0,
) -> RangeTest:
    """Trains a few steps at rates that rise from `first` to `last`, and puts everything back as it was.

    Args:
        model: compiled, with a learning rate that is a number, not a schedule.
        stream: batches to train on, at least `steps` of them.
        steps: how many, if the loss does not leave before; at least 20.
        first: the first step's rate.
        last: the last step's.
        factor: what the optimizer gets is the rate times this one; what is told is the rate.

    Raises:
        TrainingError: the loss left before there was a curve.

    Example:
        >>> range_test(model, train_stream(bundle, seed=0, batch_size=128, epochs=20)).suggestion
        0.0031
    """
    rise = Rise(first * (last / first) ** (np.arange(steps) / max(1, steps - 1)), factor)
    with unchanged(model):
        model.steps_per_execution, model.train_function = 1, None  # Python sets a rate for each step.
        model.fit(stream, epochs=1, steps_per_epoch=steps, callbacks=[rise], shuffle=False, verbose=0)
    if len(rise.losses) < LEAST_STEPS:
        raise TrainingError(
            f"the loss left after {len(rise.losses)} steps, at a rate of {rise.rates[len(rise.losses) - 1]:.1e}: "
            f"start lower with --first, and take at least {LEAST_STEPS} --steps"
        )
    return RangeTest(rise.rates[: len(rise.losses)], np.array(rise.losses))


class Rise(keras.callbacks.Callback):
    """Sets the rate before each step, notes the step's own loss, and ends the training once the loss has left.

    Args:
        rates: by step.
        factor: of each, for the optimizer.
    """

    def __init__(self, rates: np.ndarray, factor: float = 1.0):
        super().__init__()
        self.rates, self.factor = rates, factor
        self.losses: list[float] = []
        self._average = 0.0
        self._lowest = math.inf

    def on_train_batch_begin(self, batch, logs=None):
        """Sets the rate; Keras' loss is a mean over the epoch so far, unless it is reset."""
        self.model.optimizer.learning_rate = float(self.rates[len(self.losses)] * self.factor)
        self.model.reset_metrics()

    def on_train_batch_end(self, batch, logs=None):
        """Notes the loss, unless it is the one that left."""
        loss = float(logs["loss"])
        self._average = SMOOTHING * self._average + (1 - SMOOTHING) * loss
        average = self._average / (1 - SMOOTHING ** (len(self.losses) + 1))
        if len(self.losses) >= STEADY:
            self._lowest = min(self._lowest, average)
        if not math.isfinite(loss) or average > GROWTH * self._lowest:
            self.model.stop_training = True
        else:
            self.losses.append(loss)


@contextmanager
def unchanged(model: keras.Model) -> Iterator[None]:
    """Afterwards weights and optimizer are as they were before, however training went."""
    with model.distribute_strategy.scope():
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    before, per_call = [variable.numpy() for variable in variables], model.steps_per_execution
    try:
        yield
    finally:
        model.steps_per_execution, model.train_function = per_call, None
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)
