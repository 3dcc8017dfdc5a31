"""Networks with auxiliary classifiers: what their loss adds up to, and that nobody else sees the classifiers."""

import math

import keras
import numpy as np
import pytest
from checks import count, draw
from keras import layers
from numpy.testing import assert_allclose

from kerasnn.models.googlenet import googlenet
from kerasnn.models.heads import WithAuxiliary, main_network, pooled_head
from kerasnn.training.losses import CrossEntropy


def small(penalty=None):
    """Two numbers to two logits, thrice: a main and two auxiliary classifiers on one shared layer."""
    inputs = keras.Input((2,), name="numbers")
    shared = layers.Dense(4, activation="tanh", kernel_regularizer=penalty, name="shared")(inputs)
    outputs = [layers.Dense(2, name=name)(shared) for name in ("predictions", "first", "second")]
    return WithAuxiliary(inputs, outputs, name="small")


def compiled(model, learning_rate=0.0):
    accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    model.compile(keras.optimizers.SGD(learning_rate), CrossEntropy(), metrics=[accuracy], jit_compile=False)
    return model


def cross_entropy(logits, labels):
    """The mean of -log softmax, in NumPy."""
    logits = np.asarray(logits, "float64")
    return float(np.mean(np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(labels)), labels]))


X = draw((6, 2))
Y = np.array([0, 1, 1, 0, 1, 0], "int32")


def test_auxiliary_losses_weigh_three_tenths_in_training_and_nothing_else():
    # With label 0, logits (0, 0), (0, log 3) and (0, log 7) give 1/2, 1/4 and 1/8: losses of 1, 2 and 3 times log 2.
    # In training they make 1 + 0.3 × (2 + 3) = 2.5 times log 2.
    model = compiled(small())
    logits = [np.array([[0.0, math.log(odds)]], "float32") for odds in (1, 3, 7)]
    label = np.array([0], "int32")
    assert_allclose(model.compute_loss(None, label, logits, training=True), 2.5 * math.log(2), rtol=1e-6)
    assert_allclose(model.compute_loss(None, label, logits, training=False), math.log(2), rtol=1e-6)
    assert_allclose(model.compute_loss(None, label, logits[0], training=False), math.log(2), rtol=1e-6)


def test_auxiliary_losses_do_not_repeat_the_penalties():
    # The shared kernel has 8 weights of 0.5 and an L2 penalty of 0.1: 0.1 × 8 × 0.25 = 0.2, once, beside 2.5 log 2.
    model = compiled(small(keras.regularizers.L2(0.1)))
    model.get_layer("shared").kernel.assign(np.full((2, 4), 0.5))
    logits = [np.array([[0.0, math.log(odds)]], "float32") for odds in (1, 3, 7)]
    loss = model.compute_loss(None, np.array([0], "int32"), logits, training=True)
    assert_allclose(loss, 0.2 + 2.5 * math.log(2), rtol=1e-6)


def test_training_reports_the_sum_and_evaluation_the_main_loss():
    # At learning rate 0 the step changes nothing, so its loss can be worked out from the logits.
    model = compiled(small())
    main, first, second = (cross_entropy(logits, Y) for logits in model(X, training=True))
    history = model.fit(X, Y, batch_size=6, epochs=1, shuffle=False, validation_data=(X, Y), verbose=0).history
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert_allclose(history["loss"][0], main + 0.3 * (first + second), rtol=1e-5)
    assert_allclose(history["val_loss"][0], main, rtol=1e-5)
    assert_allclose(model.evaluate(X, Y, verbose=0)[0], main, rtol=1e-5)


def test_accuracy_is_that_of_the_main_logits():
    model = compiled(small())
    right = (np.asarray(model(X)).argmax(-1) == Y).mean()
    history = model.fit(X, Y, batch_size=3, epochs=1, validation_data=(X, Y), verbose=0).history
    assert_allclose([history["accuracy"][0], history["val_accuracy"][0]], [right, right], rtol=1e-6)


def test_auxiliary_classifiers_teach_the_layers_below():
    # The main classifier is cut off by zero weights: what moves the shared layer comes from the auxiliary ones.
    model = compiled(small(), learning_rate=0.1)
    model.get_layer("predictions").set_weights([np.zeros((4, 2)), np.zeros(2)])
    before = model.get_layer("shared").get_weights()[0]
    model.train_on_batch(X, Y)
    assert not np.array_equal(model.get_layer("shared").get_weights()[0], before)
    assert np.abs(model.get_layer("first").get_weights()[1]).max() > 0


def test_main_logits_are_all_that_callers_see():
    model = compiled(small())
    main = np.asarray(model(X, training=True)[0])
    for seen in (model(X), model(X, training=False), model.predict(X, verbose=0), model.predict_on_batch(X)):
        assert_allclose(seen, main, rtol=1e-6)
    assert model.output_shape == (None, 2)
    outer_input = keras.Input((2,))
    outer = keras.Model(outer_input, layers.Softmax()(model(outer_input)))
    assert outer.output_shape == (None, 2)
    assert_allclose(outer.predict(X, verbose=0).sum(axis=-1), np.ones(6), rtol=1e-6)


def test_main_network_shares_its_weights_and_has_no_other():
    model = compiled(small(), learning_rate=0.1)
    main = main_network(model)
    assert type(main) is not WithAuxiliary
    assert (main.name, main.output_shape) == ("small", (None, 2))
    # 2 × 4 + 4 in the shared layer, 4 × 2 + 2 in each classifier.
    assert (count(main.weights), count(model.weights)) == (22, 42)
    model.train_on_batch(X, Y)
    assert_allclose(main.predict(X, verbose=0), model.predict(X, verbose=0), rtol=1e-6)


def test_main_network_of_any_other_model_is_itself():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3)])
    assert main_network(model) is model


def test_auxiliary_network_is_rebuilt_from_its_config_and_from_a_file(tmp_path):
    model = compiled(small(), learning_rate=0.1)
    model.fit(X, Y, batch_size=3, verbose=0)
    twin = WithAuxiliary.from_config(model.get_config())
    twin.set_weights(model.get_weights())
    model.save(tmp_path / "last.keras")
    reloaded = keras.models.load_model(tmp_path / "last.keras")
    for copy in (twin, reloaded):
        assert type(copy) is WithAuxiliary
        assert copy.name == "small"
        for ours, theirs in zip(model(X, training=True), copy(X, training=True), strict=True):
            assert_allclose(ours, theirs, rtol=1e-6)
        assert_allclose(copy.predict(X, verbose=0), model.predict(X, verbose=0), rtol=1e-6)
    # The file has the optimizer and the loss too: training goes on from it, and from the same place.
    assert int(reloaded.optimizer.iterations) == 2
    assert_allclose(reloaded.train_on_batch(X, Y), model.train_on_batch(X, Y), rtol=1e-6)


def test_googlenet_with_auxiliary_classifiers_trains_and_reloads(tmp_path):
    model = compiled(googlenet((17, 17, 3), 3, width_multiplier=1 / 16), learning_rate=0.01)
    images, labels = draw((4, 17, 17, 3)), np.arange(4, dtype="int32") % 3
    before = {layer.name: layer.get_weights() for layer in model.layers}
    model.fit(images, labels, batch_size=4, verbose=0)
    for name in ("inception_5b_1x1", "auxiliary1_fc", "auxiliary2_conv", "conv1"):
        assert not np.array_equal(model.get_layer(name).get_weights()[0], before[name][0])
    model.save(tmp_path / "last.keras")
    reloaded = keras.models.load_model(tmp_path / "last.keras")
    assert type(reloaded) is WithAuxiliary
    assert_allclose(reloaded(images), model(images), rtol=1e-6)


def test_googlenet_with_auxiliary_classifiers_trains_in_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = compiled(googlenet((17, 17, 1), 3, width_multiplier=1 / 16), learning_rate=0.01)
    images, labels = draw((4, 17, 17, 1)), np.arange(4, dtype="int32") % 3
    assert np.isfinite(model.train_on_batch(images, labels)).all()
    assert [logits.dtype for logits in model(images, training=True)] == ["float32"] * 3


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_pooled_head_averages_over_all_places(dropout):
    # Places (1, 3) and (5, 7) average to (3, 5); summed by a kernel of ones they make 8. Dropout acts in training only.
    inputs = keras.Input((1, 2, 2))
    model = keras.Model(inputs, pooled_head(inputs, 1, dropout, "ones"))
    assert_allclose(model(np.array([[[[1.0, 3.0], [5.0, 7.0]]]], "float32")), [[8.0]])
    assert [layer.rate for layer in model.layers if isinstance(layer, layers.Dropout)] == ([0.4] if dropout else [])
