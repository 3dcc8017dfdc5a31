"""The moving average of the weights: by hand for two steps, and judged beside the weights that it is the average of."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose

from kerasnn.config.compose import compose
from kerasnn.tracking.tracker import MemoryTracker
from kerasnn.training.checkpoints import Checkpoints
from kerasnn.training.ema import MovingAverage
from kerasnn.training.run import run

TWO = np.ones((2, 1), "float32"), np.zeros((2, 1), "float32")
ONE = np.ones((1, 1), "float32"), np.zeros((1, 1), "float32")
STREAM = tf.data.Dataset.from_tensors(ONE)

# Input 1, target 0 and weight w: the loss is w², its gradient 2w, and a rate of 1/4 halves the weight: 8, 4, 2.
# At the first step d = 2/11, at the second 3/12: 2/11 · 8 + 9/11 · 4 = 52/11, then 1/4 · 52/11 + 3/4 · 2 = 29.5/11.
AVERAGE = 29.5 / 11


def halving(steps_per_call=1):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.25), "mse", jit_compile=False, steps_per_execution=steps_per_call)
    model.set_weights([np.array([[8.0]])])
    return model


def fit(model, *callbacks, epochs=1):
    return model.fit(
        *TWO, batch_size=1, epochs=epochs, shuffle=False, validation_data=ONE, callbacks=list(callbacks), verbose=0
    ).history


@pytest.mark.parametrize("steps_per_call", [1, 2])
def test_average_of_two_steps(steps_per_call):
    # Several steps in one call are averaged as one by one: Python does not see them, the average does.
    model, average = halving(steps_per_call), MovingAverage(STREAM)
    fit(model, average)
    assert_allclose(average.weights_of(model), [[[AVERAGE]]], rtol=1e-6)


def test_decay_bounds_what_an_old_average_keeps():
    # d = min(0.1, 2/11) = 0.1, and again: 0.1 · 8 + 0.9 · 4 = 4.4, then 0.1 · 4.4 + 0.9 · 2 = 2.24.
    model, average = halving(), MovingAverage(STREAM, decay=0.1)
    fit(model, average)
    assert_allclose(average.weights_of(model), [[[2.24]]], rtol=1e-6)


def test_average_is_judged_beside_the_weights_which_go_on_as_if_it_were_not_there():
    model, average = halving(), MovingAverage(STREAM)
    seen = fit(model, average, epochs=2)
    # The weights halve four times, 8 to 1/2, and the loss is their square: 4 after the first epoch, 1/4 after the next.
    assert_allclose(seen["val_loss"], [4, 0.25], rtol=1e-6)
    assert_allclose(model.get_weights(), [[[0.5]]], rtol=1e-6)
    # Steps 3 and 4 keep 4/13 and 5/14 of the average, and weigh in weights of 1 and 1/2.
    third = 4 / 13 * AVERAGE + 9 / 13 * 1
    fourth = 5 / 14 * third + 9 / 14 * 0.5
    assert_allclose(seen["val_ema_loss"], [AVERAGE**2, fourth**2], rtol=1e-5)


def test_statistics_of_batch_normalization_are_averaged_too():
    # A batch of fours, a momentum of 1/2: the moving mean goes 0, 2, 3, its average 2/11 · 0 + 9/11 · 2 = 18/11, then
    # 1/4 · 18/11 + 3/4 · 3. The moving variance goes 1, 1/2, 1/4: 2/11 + 9/22 = 13/22, then 13/88 + 3/16.
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.BatchNormalization(momentum=0.5, center=False, scale=False)(inputs))
    model = keras.Sequential([model, keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=False)
    average = MovingAverage(STREAM)
    fours = np.full((4, 1), 4.0, "float32")
    model.fit(fours, fours, batch_size=2, shuffle=False, callbacks=[average], verbose=0)
    averaged = dict(zip((weight.name for weight in model.weights), average.weights_of(model), strict=True))
    assert_allclose(averaged["moving_mean"], [1 / 4 * 18 / 11 + 3 / 4 * 3], rtol=1e-6)
    assert_allclose(averaged["moving_variance"], [13 / 88 + 3 / 16], rtol=1e-5)


def test_model_is_left_with_a_training_step_of_its_own():
    model, average = halving(), MovingAverage(STREAM)
    fit(model, average)
    assert "train_step" not in vars(model)
    before = average.weights_of(model)
    fit(model)
    assert_allclose(average.weights_of(model), before)


def test_second_training_goes_on_from_the_average():
    # As if the four steps had been one training.
    whole, parted = ((halving(), MovingAverage(STREAM)) for _ in range(2))
    fit(*whole, epochs=2)
    fit(*parted)
    parted[0].compile(keras.optimizers.SGD(0.25), "mse", jit_compile=False)
    fit(*parted)
    assert_allclose(parted[1].weights_of(parted[0]), whole[1].weights_of(whole[0]), rtol=1e-6)


def test_model_is_saved_as_it_is_without_an_average(tmp_path):
    model, average = halving(), MovingAverage(STREAM)
    saved = tmp_path / "amid.keras"
    fit(model, average, keras.callbacks.ModelCheckpoint(saved))
    reloaded = keras.models.load_model(saved)
    assert_allclose(reloaded.get_weights(), [[[2.0]]], rtol=1e-6)


class Judged(keras.callbacks.Callback):
    """Says of each epoch what raw weights and average are worth, as a validation would."""

    def __init__(self, raw, average):
        super().__init__()
        self.raw, self.average = raw, average

    def on_epoch_end(self, epoch, logs=None):
        logs.update(val_accuracy=self.raw[epoch], val_ema_accuracy=self.average[epoch], val_ema_loss=1.0, val_loss=1.0)


@pytest.mark.parametrize(
    ("raw", "average", "epoch", "kind"),
    [
        ([0.5, 0.6], [0.5, 0.7], 2, "average"),
        ([0.5, 0.9], [0.8, 0.7], 2, "raw"),
        ([0.5, 0.6], [0.8, 0.7], 1, "average"),
        ([0.8, 0.6], [0.8, 0.8], 1, "raw"),  # Between equals the raw weights, and the earlier epoch.
    ],
)
def test_checkpoint_is_the_better_of_both(tmp_path, raw, average, epoch, kind):
    model, kept = halving(), MovingAverage(STREAM)
    checkpoints = Checkpoints(tmp_path, kept)
    seen = {"raw": {}, "average": {}}

    def note(epoch, logs):
        seen["raw"][epoch + 1], seen["average"][epoch + 1] = model.get_weights(), kept.weights_of(model)

    watch = keras.callbacks.LambdaCallback(on_epoch_end=note)
    fit(model, kept, Judged(raw, average), checkpoints, watch, epochs=2)
    checkpoints.write()
    assert (checkpoints.best_epoch, checkpoints.best_weights) == (epoch, kind)
    assert checkpoints.best_accuracy == max(*raw, *average)
    assert_allclose(keras.saving.load_model(checkpoints.best).get_weights(), seen[kind][epoch], rtol=1e-6)


SMALL = ["data=synthetic", "data.examples=200", "data.train_examples=96", "trainer.batch_size=32"]
SMALL += ["model.hidden_widths=[8]", "callbacks=[default,ema]"]
RUN = ["model=vgg11_bn", "model.widths=[2,2,4,4,4]", *SMALL]
MLP = ["model=mlp", *SMALL]


def run_in(folder, *overrides, base=RUN):
    folder.mkdir(exist_ok=True)
    tracker = MemoryTracker()
    return run(compose([*base, *overrides]), tracker, folder), tracker


def test_run_records_both_and_tests_the_better(tmp_path):
    result, tracker = run_in(tmp_path / "run", "trainer.epochs=4", base=MLP)
    both = {kind: result.history[f"val/{kind}accuracy"] for kind in ("", "ema_")}
    assert [step for step, _ in tracker.history["val/ema_loss"]] == [1, 2, 3, 4]
    assert result.metrics["best/val_accuracy"] == max(both[""] + both["ema_"])
    index = int(result.metrics["best/epoch"]) - 1
    kind = "ema_" if result.metrics["best/ema"] else ""
    assert both[kind][index] == result.metrics["best/val_accuracy"]


def test_replicas_and_precisions_average_alike(tmp_path):
    alone, _ = run_in(tmp_path / "alone", "trainer.epochs=1", "model.dropout=0")
    shared, _ = run_in(tmp_path / "shared", "trainer.epochs=1", "model.dropout=0", "strategy.devices=2")
    assert_allclose(shared.history["val/ema_loss"], alone.history["val/ema_loss"], atol=1e-5)
    half = ["trainer.epochs=1", "trainer.precision=mixed_float16", "trainer.jit=true"]
    scaled, _ = run_in(tmp_path / "scaled", *half, base=MLP)
    assert np.isfinite(scaled.history["val/ema_loss"]).all()
