"""The moving average of the weights, judged beside the weights themselves.

Polyak, Juditsky 1992, Acceleration of Stochastic Approximation by Averaging, SIAM Journal on Control and Optimization
30(4), as an exponential average: at a constant learning rate weights wander about a minimum, and their mean lies closer
to it than they do.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np
from keras import ops

from kerasnn.ranges import Fraction


class MovingAverage(keras.callbacks.Callback):
    """Averages the weights at each step, and adds the average's `val_ema_loss` and `val_ema_accuracy` to each epoch.

    After step t the average is d · average + (1 - d) · weights with d = min(decay, (1 + t) / (10 + t)): a young average
    forgets fast, so that it is not held back by the weights that the training began with. Everything that makes up the
    network is averaged alike, the statistics of batch normalization included: those of the raw weights would belong to
    another network. The average costs as much memory as the weights, and a further pass over the validation split.

    Args:
        validation: batches of the validation split.
        decay: what an old average keeps of itself per step; 0.999 looks back about a thousand steps.

    The training goes on from the raw weights. Fitting again goes on from the average that there is.
    """

    def __init__(self, validation, decay: Fraction = 0.999):
        super().__init__()
        self.validation = validation
        self.decay = decay
        self._averages: list[keras.Variable] = []
        self._steps: keras.Variable | None = None
        self._earlier: dict[str, np.ndarray] = {}

    def on_train_begin(self, logs=None):
        """Puts the averaging into the training step, where it is compiled along, and done at each of several steps."""
        model = self.model
        if not self._averages:
            with model.distribute_strategy.scope():
                self._steps = self._variable(0.0, "only_first_replica")
                self._averages = [self._variable(weight.numpy(), "mean") for weight in model.weights]
            self.set_state(self._earlier)
        model.train_step = self._averaging_step
        model.make_train_function(force=True)

    def on_train_end(self, logs=None):
        """Leaves the model with a training step of its own again."""
        del self.model.train_step
        self.model.train_function = None

    def on_epoch_end(self, epoch, logs=None):
        """Judges the average on the validation split; callbacks that come later find its numbers in `logs`."""
        with self.in_place():
            seen = self.model.evaluate(self.validation, return_dict=True, verbose=0)
        logs.update({f"val_ema_{name}": value for name, value in seen.items()})

    def weights_of(self, network: keras.Model) -> list[np.ndarray]:
        """The averages of a network's weights, in its order.

        Args:
            network: the model that is trained, or one of the same variables, as `main_network` gives.
        """
        averages = dict(zip(map(id, self.model.weights), self._averages, strict=True))
        return [averages[id(weight)].numpy() for weight in network.weights]

    def get_state(self) -> dict[str, np.ndarray]:
        """The averages, for a training that is to go on in another process."""
        return {str(number): variable.numpy() for number, variable in enumerate(self._variables())}

    def set_state(self, state: dict[str, np.ndarray]):
        """Goes on from the averages of `get_state`, now or as soon as there is a model to average."""
        self._earlier = state
        for variable, value in zip(self._variables(), state.values(), strict=False):
            variable.assign(value)

    def _variables(self) -> list[keras.Variable]:
        return [self._steps, *self._averages] if self._averages else []

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within it, the model has its averages for weights."""
        raw = self.model.get_weights()
        self.model.set_weights([average.numpy() for average in self._averages])
        try:
            yield
        finally:
            self.model.set_weights(raw)

    def _averaging_step(self, data):
        logs = type(self.model).train_step(self.model, data)
        self._steps.assign_add(1.0)
        decay = ops.minimum(self.decay, (1.0 + self._steps) / (10.0 + self._steps))
        for average, weight in zip(self._averages, self.model.weights, strict=True):
            average.assign(weight + decay * (average - weight))
        return logs

    def _variable(self, value, aggregation: str) -> keras.Variable:
        return keras.Variable(value, trainable=False, autocast=False, aggregation=aggregation, dtype="float32")
