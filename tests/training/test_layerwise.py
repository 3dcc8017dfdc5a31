"""A rate of its own for each layer: the step is multiplied, whatever the optimizer makes of the gradient."""

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose

from kerasnn.training import optimizers
from kerasnn.training.layerwise import layerwise

START, GRADIENTS = (1.0, -2.0), ((0.5, -0.25), (0.125, 1.0), (-1.0, 0.5))

OPTIMIZERS = {
    "sgd": lambda rate: optimizers.sgd(rate, weight_decay=0.1),
    "momentum": lambda rate: optimizers.momentum(rate, weight_decay=0.1),
    "nesterov": lambda rate: optimizers.nesterov(rate),
    "adam": lambda rate: optimizers.adam(rate),
    "adamw": lambda rate: optimizers.adamw(rate, weight_decay=0.1),
    "rmsprop": lambda rate: optimizers.rmsprop(rate, momentum=0.9),
}


def path_of(optimizer, variables):
    """Where each variable is after each of three steps, all with the same gradients."""
    places = []
    for gradient in GRADIENTS:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)] * len(variables), variables)
        places.append([variable.numpy() for variable in variables])
    return np.array(places)


def kernel(name):
    return keras.Variable(START, name=name, dtype="float32")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_layerwise_takes_each_step_at_the_rate_times_the_factor(name):
    # Two stages below the head at decay 0.5: 0.5^2 of 0.04 is 0.01, and the top one keeps 0.04.
    top, low = kernel("top"), kernel("low")
    factors = {"top": 1.0, "low": 0.5**2}
    optimizer = layerwise(OPTIMIZERS[name](0.04), lambda variable: factors[variable.name])
    places = path_of(optimizer, [top, low])
    assert_allclose(places[:, 0], path_of(OPTIMIZERS[name](0.04), [kernel("a")])[:, 0], rtol=1e-6)
    assert_allclose(places[:, 1], path_of(OPTIMIZERS[name](0.01), [kernel("b")])[:, 0], rtol=1e-6)
    # From the same start and gradient, the first step is a quarter as long, decay of the weight included.
    first = places[0] - np.array(START, "float32")
    assert_allclose(first[1], 0.25 * first[0], rtol=1e-4)
    assert np.abs(first[0]).min() > 1e-3


def test_layerwise_decays_no_variable_that_is_spared():
    one, spared = kernel("kernel"), kernel("bias")
    optimizer = layerwise(optimizers.sgd(0.1, weight_decay=0.5), lambda variable: 0.5)
    optimizer.exclude_from_weight_decay(var_list=[spared])
    optimizer.apply([keras.ops.zeros(2)] * 2, [one, spared])
    # Without a gradient, decay alone moves: rate 0.1 · factor 0.5 · decay 0.5 = 0.025 of the weight.
    assert_allclose(one.numpy(), np.array(START) * 0.975, rtol=1e-6)
    assert_allclose(spared.numpy(), START)


def test_layerwise_follows_a_schedule():
    rate = keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.5, 0.25])
    variable = kernel("kernel")
    optimizer = layerwise(keras.optimizers.SGD(rate), lambda variable: 0.5)
    # Steps of gradient 1: 0.5 · 0.5, then 0.5 · 0.25.
    optimizer.apply([keras.ops.ones(2)], [variable])
    assert_allclose(variable.numpy(), np.array(START) - 0.25)
    optimizer.apply([keras.ops.ones(2)], [variable])
    assert_allclose(variable.numpy(), np.array(START) - 0.375)


def test_layerwise_is_saved_as_the_optimizer_that_it_was(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(layerwise(optimizers.adamw(0.1), lambda variable: 0.5), "mse")
    model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
    model.save(tmp_path / "last.keras")
    optimizer = keras.saving.load_model(tmp_path / "last.keras").optimizer
    assert type(optimizer) is keras.optimizers.AdamW
    assert int(optimizer.iterations.numpy()) == 1
