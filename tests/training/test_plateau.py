"""What happens once validation has stopped to improve."""

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose

from kerasnn.config.compose import compose
from kerasnn.tracking.tracker import MemoryTracker
from kerasnn.training.plateau import early_stopping, reduce_on_plateau
from kerasnn.training.run import run


class Validation(keras.callbacks.Callback):
    """Says of each epoch what a validation would."""

    def __init__(self, **values):
        super().__init__()
        self.values = values
        self.rates = []

    def on_epoch_end(self, epoch, logs=None):
        logs.update({key: values[epoch] for key, values in self.values.items()})
        self.rates.append(float(self.model.optimizer.learning_rate))


def train(callback, **values):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.8), "mse", jit_compile=False)
    validation = Validation(**values)
    epochs = len(next(iter(values.values())))
    model.fit(np.ones((1, 1)), np.ones((1, 1)), epochs=epochs, callbacks=[validation, callback], verbose=0)
    return validation.rates


@pytest.mark.parametrize(
    ("options", "values", "epochs"),
    [
        # Best in the second epoch; after two more without improvement it ends.
        ({"patience": 2}, {"val_accuracy": [0.5, 0.6, 0.6, 0.5, 0.9]}, 4),
        # A rise by 0.1 counts, one by 0.01 does not.
        ({"patience": 2, "min_delta": 0.05}, {"val_accuracy": [0.5, 0.6, 0.61, 0.62, 0.9]}, 4),
        # Loss must fall: it does, once.
        ({"patience": 1, "monitor": "val_loss"}, {"val_loss": [3.0, 2.0, 2.0, 1.0, 0.5]}, 3),
    ],
)
def test_early_stopping_ends_after_its_patience(options, values, epochs):
    assert len(train(early_stopping(**options), **values)) == epochs


def test_reduce_on_plateau_lowers_the_rate_after_its_patience():
    # Best in the first epoch: with a patience of 2 the third ends in a halving, 0.8 to 0.4, and so does the fifth; the
    # sixth is better, and the patience begins anew. The floor of 0.3 stops the second halving at 0.3.
    loss = [1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5]
    rates = train(reduce_on_plateau(patience=2, factor=0.5, min_learning_rate=0.3), val_loss=loss)
    assert_allclose(rates, [0.8, 0.8, 0.8, 0.4, 0.4, 0.3, 0.3], rtol=1e-6)


def test_reduce_on_plateau_reaches_the_optimizer_of_a_run(tmp_path):
    # No epoch is better than the first by 100, so each from the second on ends in a tenth of the rate before.
    callback = [f"callbacks.reduce_on_plateau.{option}" for option in ("patience=1", "min_delta=100")]
    small = ["data=synthetic", "data.examples=200", "data.train_examples=96", "trainer.batch_size=32"]
    config = compose(
        ["model=mlp", *small, "trainer.epochs=4", "optimizer=sgd", "callbacks=reduce_on_plateau", *callback]
    )
    result = run(config, MemoryTracker(), tmp_path)
    assert_allclose(result.history["train/learning_rate"], [0.05, 0.05, 0.005, 0.0005], rtol=1e-5)
