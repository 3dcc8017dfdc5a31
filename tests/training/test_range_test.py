"""The range test: what it reads off a curve that is known, and that it leaves a network as it found it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from checks import draw
from numpy.testing import assert_allclose

from kerasnn.errors import TrainingError
from kerasnn.training.range_test import RangeTest, Rise, range_test

INPUTS = draw((32, 4))
LABELS = (INPUTS[:, 0] > 0).astype("int32")
STREAM = tf.data.Dataset.from_tensors((INPUTS, LABELS)).repeat()


def network(optimizer=None, seed=0):
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Dense(16, activation="relu"), keras.layers.BatchNormalization(), keras.layers.Dropout(0.1)]
    model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(2)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = optimizer or keras.optimizers.SGD(0.7, momentum=0.9)
    model.compile(optimizer, loss, jit_compile=False, steps_per_execution=2)
    return model


def everything(model):
    return [variable.numpy() for variable in (*model.variables, *model.optimizer.variables)]


def test_suggestion_is_where_the_loss_falls_most_steeply():
    # A loss that falls from 2 to 0 as a logistic curve of the rate's logarithm is steepest in its middle, at 0.01, and
    # lowest where it turns up again, at 1; smoothed over 12 steps of a twentieth of a decade, up to 0.6 decades before.
    rates = np.logspace(-5, 1, 121)
    losses = 2 / (1 + np.exp(3 * (np.log10(rates) + 2))) + np.where(rates > 1, 10 * np.log10(rates), 0)
    found = RangeTest(rates, losses)
    assert found.suggestion == pytest.approx(0.01, rel=0.05)
    assert 10**-0.6 <= found.lowest <= 1


def test_suggestion_does_not_follow_noise():
    # The same with noise of a tenth: a third of a decade is all that it moves.
    rates = np.logspace(-5, 1, 121)
    losses = 2 / (1 + np.exp(3 * (np.log10(rates) + 2))) + 0.1 * draw(121, seed=1)
    assert abs(np.log10(RangeTest(rates, losses).suggestion) + 2) < 1 / 3


def test_smooth_loss_weighs_neighbours_by_a_triangle():
    # Of 20 points two on each side count, by 1/3, 2/3, 1, 2/3, 1/3: a single 9 in the middle becomes 1, 2, 3, 2, 1. At
    # the edge two are missing: a 9 there keeps 9 / (1 + 2/3 + 1/3) = 4.5.
    losses = np.zeros(20)
    losses[10] = 9
    assert_allclose(RangeTest(np.logspace(-3, 0, 20), losses).smooth[8:13], [1, 2, 3, 2, 1], rtol=1e-6)
    assert_allclose(RangeTest(np.logspace(-3, 0, 20), np.eye(20)[0] * 9).smooth[0], 4.5, rtol=1e-6)


def test_loss_that_never_falls_suggests_nothing():
    rates = np.logspace(-3, 0, 30)
    with pytest.raises(TrainingError, match="the loss never fell between the rates 1.0e-03 and 1.0e.00: start lower"):
        _ = RangeTest(rates, np.linspace(1, 2, 30)).suggestion


@pytest.mark.parametrize("optimizer", [None, keras.optimizers.Adam], ids=["momentum", "adam"])
def test_range_test_finds_a_rate_that_learns_and_restores_everything(optimizer):
    model = network(optimizer and optimizer(1e-3))
    model.optimizer.build(model.trainable_variables)
    before = everything(model)
    found = range_test(model, STREAM, steps=80)
    assert all(np.array_equal(old, new) for old, new in zip(before, everything(model), strict=True))
    assert model.steps_per_execution == 2
    # From 1e-6 to 10 in 80 steps: each rate is the last times 10^(7/79).
    assert_allclose(found.rates[:3], 1e-6 * 10 ** (7 / 79 * np.arange(3)), rtol=1e-6)
    # Far from where nothing happens, and below where the loss is about to leave.
    assert 1e-4 < found.suggestion <= found.lowest
    # A training at the suggested rate learns, at a thousandth of it hardly.
    losses = []
    for rate in (found.suggestion, found.suggestion / 1000):
        twin = network((optimizer or keras.optimizers.SGD)(rate))
        history = twin.fit(STREAM, steps_per_epoch=20, epochs=2, shuffle=False, verbose=0).history["loss"]
        losses.append(history[-1] / history[0])
    assert losses[0] < 0.95 * losses[1]


def test_losses_are_each_steps_own():
    # At rates of next to nothing the weights stand still, and two kinds of batch take turns: a running mean, as Keras
    # has it, would bring their losses together.
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, kernel_initializer="ones")])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, jit_compile=False)
    model.layers[0].set_weights([np.array([[1.0, 0.0]] + [[0.0, 0.0]] * 3), np.zeros(2)])
    batches = np.zeros((20, 1, 4), "float32")
    batches[::2, :, 0] = 3.0  # Logits 3 and 0 in every other batch: -log sigmoid(3) for label 0, else log 2.
    stream = tf.data.Dataset.from_tensor_slices((batches, np.zeros((20, 1), "int32")))
    found = range_test(model, stream, steps=20, first=1e-12, last=1e-10)
    assert_allclose(found.losses, [np.log1p(np.exp(-3)), np.log(2)] * 10, rtol=1e-5)


def test_test_ends_when_the_loss_has_left():
    class Optimizer:
        learning_rate = 0.0

    class Model:
        optimizer, stop_training = Optimizer(), False

        def reset_metrics(self):
            pass

    rise = Rise(np.logspace(-3, 0, 100))
    rise.set_model(Model())
    for step, loss in enumerate([1.0] * 30 + [100.0] * 70):
        rise.on_train_batch_begin(step)
        rise.on_train_batch_end(step, {"loss": loss})
        if rise.model.stop_training:
            break
    # The average over ten steps jumps from 1 to 1 + 99 / 10, beyond four times the lowest: the 31st step is the last.
    assert (step, len(rise.losses)) == (30, 30)
    assert rise.model.optimizer.learning_rate == pytest.approx(1e-3 * 1000 ** (30 / 99))


def test_loss_that_leaves_at_once_says_what_helps():
    with pytest.raises(
        TrainingError, match=r"the loss left after \d+ steps, at a rate of .*: start lower with --first"
    ):
        range_test(network(), STREAM, steps=40, first=1e6, last=1e9)
