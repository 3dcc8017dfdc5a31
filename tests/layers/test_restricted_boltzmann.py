"""The restricted Boltzmann machine against its definition, summed over every state."""

from itertools import product

import keras
import numpy as np
import pytest
from checks import check_layer
from numpy.testing import assert_allclose

from kerasnn.layers.restricted_boltzmann import RestrictedBoltzmann


def machine_of(kernel, bias, visible_bias):
    machine = RestrictedBoltzmann(len(bias))
    machine.build((None, len(visible_bias)))
    machine.set_weights([np.array(values, "float32") for values in (kernel, bias, visible_bias)])
    return machine


@pytest.fixture
def tiny():
    """Three visible and two hidden units."""
    return machine_of([[1.0, -2.0], [0.5, 1.5], [-1.0, 0.25]], [0.3, -0.7], [0.2, -0.4, 0.6])


def states(units):
    return np.array(list(product([0.0, 1.0], repeat=units)), "float32")


def weights_of_states(machine):
    """exp(-E) of each joint state, `(visible states, hidden states)`, from the energy alone."""
    kernel, bias, visible_bias = machine.get_weights()
    seen, hidden = states(len(visible_bias)), states(len(bias))
    return np.exp(seen @ kernel @ hidden.T + (seen @ visible_bias)[:, None] + hidden @ bias)


def test_restricted_boltzmann_keeps_the_contract(tmp_path):
    # 5 × 4 weights, 4 hidden and 5 visible biases make 29.
    options = {"units": 4, "kernel_regularizer": "l2"}
    check_layer(RestrictedBoltzmann, options, (2, 5), (2,), trainable=29, path=tmp_path / "layer.keras")


def test_free_energy_of_one_hidden_unit_by_hand():
    # W = (1, 2), c = -1, b = (0.5, -0.25). v = (1, 1): -(0.5 - 0.25) - log(1 + e^(3 - 1)); v = (1, 0): -0.5 - log 2.
    machine = machine_of([[1.0], [2.0]], [-1.0], [0.5, -0.25])
    expected = [-0.25 - np.log(1 + np.exp(2)), -0.5 - np.log(2)]
    assert_allclose(machine(np.array([[1.0, 1.0], [1.0, 0.0]], "float32")), expected, rtol=1e-6)


def test_free_energy_is_minus_the_log_of_the_sum_over_hidden_states(tiny):
    assert_allclose(tiny(states(3)), -np.log(weights_of_states(tiny).sum(axis=1)), rtol=1e-5)


def test_probabilities_are_those_of_the_joint_distribution(tiny):
    joint = weights_of_states(tiny)
    hidden_given_visible = joint @ states(2) / joint.sum(axis=1, keepdims=True)
    assert_allclose(tiny.hidden(states(3)), hidden_given_visible, rtol=1e-5)
    visible_given_hidden = joint.T @ states(3) / joint.sum(axis=0)[:, None]
    assert_allclose(tiny.visible(states(2)), visible_given_hidden, rtol=1e-5)


def test_gibbs_samples_hidden_units_and_leaves_visible_ones_as_probabilities(tiny):
    seen = np.array([[1.0, 0.0, 1.0]], "float32")
    # Noise of 0 switches every hidden unit on, noise of almost 1 every one off.
    on, off = np.zeros((1, 1, 2), "float32"), np.full((1, 1, 2), 0.9999, "float32")
    assert_allclose(tiny.gibbs(seen, on), tiny.visible(np.ones((1, 2), "float32")))
    assert_allclose(tiny.gibbs(seen, off), tiny.visible(np.zeros((1, 2), "float32")))
    # The second step starts from the first one's probabilities; only the last states matter for what comes out.
    assert_allclose(tiny.gibbs(seen, np.concatenate([on, off], axis=1)), tiny.gibbs(seen, off))


def test_gibbs_switches_units_on_as_often_as_their_probability_says(tiny):
    seen = np.repeat([[0.0, 1.0, 1.0]], 20_000, axis=0).astype("float32")
    noise = np.random.default_rng(0).random((20_000, 1, 2), "float32")
    shares = np.array(tiny.hidden(seen[:1]))[0]
    # The mean over the four hidden states, each with the product of its units' probabilities.
    chances = np.prod(np.where(states(2) == 1, shares, 1 - shares), axis=1)
    expected = chances @ np.array(tiny.visible(states(2)))
    # Probabilities spread by at most 1/2: 20,000 draws settle the mean to 1/2 / √20,000 = 0.0035.
    assert_allclose(np.mean(tiny.gibbs(seen, noise), axis=0), expected, atol=0.015)


def test_macs_count_each_connection_and_each_visible_bias():
    assert RestrictedBoltzmann(500).macs((None, 784), (None,)) == 784 * 500 + 784


def test_kernel_starts_as_told_and_the_regularizer_survives_the_config():
    machine = RestrictedBoltzmann(3, keras.initializers.Ones(), keras.regularizers.L2(0.5))
    twin = RestrictedBoltzmann.from_config(machine.get_config())
    twin.build((None, 2))
    assert_allclose(twin.kernel, np.ones((2, 3)))
    assert float(twin.losses[0]) == 3.0  # 0.5 × six ones squared.
