"""Optimizers against their textbook formulas, one weight at a time."""

import keras
import numpy as np
import pytest

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
