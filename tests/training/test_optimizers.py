"""Optimizers against their textbook formulas, one weight at a time."""

import keras
import numpy as np
import pytest
from checks import draw
from numpy.testing import assert_allclose

from kerasnn.training import optimizers

GRADIENT = 2.0


def after_steps(optimizer, steps=1):
    """The weight 1.0 after `steps` with gradient 2."""
    weight = keras.Variable(1.0, name="kernel")
    optimizer.build([weight])
    for _ in range(steps):
        optimizer.apply([keras.ops.convert_to_tensor(GRADIENT)], [weight])
    return float(weight)


def test_sgd_steps_against_the_gradient():
    # 1 - 0.1 * 2 = 0.8
    assert after_steps(optimizers.sgd(0.1)) == pytest.approx(0.8)


def test_momentum_carries_the_last_step_on():
    # v1 = -0.2, w1 = 0.8; v2 = 0.9 * -0.2 - 0.2 = -0.38, w2 = 0.42
    assert after_steps(optimizers.momentum(0.1), steps=2) == pytest.approx(0.42)


def test_nesterov_looks_ahead():
    # v1 = -0.2, w1 = 1 + 0.9 * v1 - 0.2 = 0.62
    assert after_steps(optimizers.nesterov(0.1)) == pytest.approx(0.62)


def test_adam_takes_a_first_step_of_the_learning_rate():
    # Both bias-corrected moments are exact after one step: m / sqrt(v) = 2 / 2 = 1.
    assert after_steps(optimizers.adam(0.1)) == pytest.approx(0.9, abs=1e-6)


def test_adamw_decays_apart_from_the_gradient():
    # Decay takes 0.1 * 0.01 * 1 = 0.001 off, then Adam's step takes 0.1.
    assert after_steps(optimizers.adamw(0.1, weight_decay=0.01)) == pytest.approx(0.899, abs=1e-6)


def test_rmsprop_divides_by_the_root_mean_square():
    # v = 0.1 * 4 = 0.4; step = 0.1 * 2 / sqrt(0.4)
    assert after_steps(optimizers.rmsprop(0.1)) == pytest.approx(1 - 0.2 / np.sqrt(0.4), abs=1e-5)


@pytest.mark.parametrize("build", [optimizers.sgd, optimizers.momentum, optimizers.adam, optimizers.rmsprop])
def test_clipnorm_bounds_the_gradient(build):
    assert build(0.1, clipnorm=1.0).global_clipnorm == 1.0


def test_clipnorm_shortens_a_long_gradient():
    # The gradient 2 is cut to length 1: 1 - 0.1 * 1 = 0.9
    assert after_steps(optimizers.sgd(0.1, clipnorm=1.0)) == pytest.approx(0.9)


def test_half_batches_added_up_are_one_whole():
    # The mean of two halves' mean gradients is the whole's, so one step of 8 and two of 4 end at the same weights;
    # after the first half nothing has moved.
    inputs, targets = draw((8, 3)), draw((8, 2), seed=1)
    whole, halves = network(optimizers.sgd(0.1)), network(optimizers.sgd(0.1, accumulation_steps=2))
    halves.set_weights(whole.get_weights())
    before = halves.get_weights()
    whole.train_on_batch(inputs, targets)
    halves.train_on_batch(inputs[:4], targets[:4])
    for now, then in zip(halves.get_weights(), before, strict=True):
        assert np.array_equal(now, then)
    halves.train_on_batch(inputs[4:], targets[4:])
    for ours, theirs in zip(halves.get_weights(), whole.get_weights(), strict=True):
        assert_allclose(ours, theirs, atol=1e-6)
    assert not np.array_equal(whole.get_weights()[0], before[0])


def network(optimizer):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, activation="tanh"), keras.layers.Dense(2)])
    model.compile(optimizer, "mse", jit_compile=False)
    return model


def test_added_up_gradients_are_clipped_as_one():
    # Gradients of 2 and 0 have a mean of 1, which a longest of 1 leaves alone: 1 - 0.1 · 1 = 0.9. Clipped one by one
    # they would be 1 and 0, and their mean a half.
    weight = keras.Variable(1.0, name="kernel")
    optimizer = optimizers.sgd(0.1, clipnorm=1.0, accumulation_steps=2)
    optimizer.build([weight])
    for gradient in (2.0, 0.0):
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [weight])
    assert float(weight) == pytest.approx(0.9)


@pytest.mark.parametrize(
    "build",
    [optimizers.sgd, optimizers.momentum, optimizers.nesterov, optimizers.adam, optimizers.adamw, optimizers.rmsprop],
)
def test_every_optimizer_adds_up_steps(build):
    assert build(0.1, accumulation_steps=4).gradient_accumulation_steps == 4
    assert build(0.1).gradient_accumulation_steps is None


def test_decay_kernels_only_spares_biases_and_normalisation():
    inputs = keras.Input((4,))
    x = keras.layers.Dense(3, name="dense")(inputs)
    model = keras.Model(inputs, keras.layers.BatchNormalization(name="norm")(x))
    for variable in model.trainable_variables:
        variable.assign(keras.ops.ones_like(variable))
    optimizer = optimizers.sgd(learning_rate=0.1, weight_decay=0.5)
    optimizers.decay_kernels_only(optimizer, model)
    optimizer.apply([keras.ops.zeros_like(v) for v in model.trainable_variables], model.trainable_variables)
    # With no gradient only decay moves a weight: 1 - 0.1 * 0.5 = 0.95, and only for the kernel.
    moved = {variable.path: float(keras.ops.mean(variable)) for variable in model.trainable_variables}
    assert moved == pytest.approx({"dense/kernel": 0.95, "dense/bias": 1.0, "norm/gamma": 1.0, "norm/beta": 1.0})
