"""The harnesses themselves: what a broken layer or network would have to slip through."""

import keras
import pytest
from checks import check_layer, check_model
from keras import layers, ops


class Wall(layers.Layer):
    """Lets values through, and no gradient but zeros, as a rectifier does that is shut for every example."""

    def call(self, inputs):
        return ops.stop_gradient(inputs) + 0 * inputs

    def compute_output_shape(self, input_shape):
        return input_shape


def network(*between):
    x = picture = keras.Input((4, 4, 1))
    for layer in (layers.Flatten(), layers.Dense(5, name="trunk"), *between, layers.Dense(3, name="predictions")):
        x = layer(x)
    return keras.Model(picture, x, name="walled")


def test_check_model_tells_of_a_trunk_without_gradient(tmp_path):
    path = tmp_path / "model.keras"
    check_model(network(), (3,), path=path)
    # What stands behind the wall does move.
    with pytest.raises(AssertionError, match="left these where they were: walled/trunk/kernel, walled/trunk/bias$"):
        check_model(network(Wall()), (3,), path=path)


def test_check_layer_tells_of_a_layer_that_stops_the_gradient(tmp_path):
    with pytest.raises(AssertionError, match="left these where they were: .+/kernel, .+/bias$"):
        check_layer(Wall, {}, (2, 5), (2, 5), path=tmp_path / "layer.keras")
