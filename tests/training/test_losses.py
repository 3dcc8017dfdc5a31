"""The losses against numbers worked out by hand."""

import keras
import numpy as np
import pytest
from keras import ops
from numpy.testing import assert_allclose

from kerasnn.models.perceptron import perceptron
from kerasnn.training.losses import CrossEntropy, PerceptronLoss

LOGITS = np.log([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]).astype("float32")


def test_cross_entropy_is_minus_the_log_of_the_labels_share():
    # -(log 0.7 + log 0.1) / 2
    assert_allclose(CrossEntropy()([0, 1], LOGITS), -(np.log(0.7) + np.log(0.1)) / 2, rtol=1e-6)


def test_cross_entropy_smoothing_moves_a_share_evenly():
    # With s = 0.3 the target of the first row is (0.8, 0.1, 0.1).
    expected = -(0.8 * np.log(0.7) + 0.1 * np.log(0.2) + 0.1 * np.log(0.1))
    assert_allclose(CrossEntropy(label_smoothing=0.3)([0], LOGITS[:1]), expected, rtol=1e-6)


def test_cross_entropy_takes_shares_as_labels():
    soft = np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]], "float32")
    expected = -(0.5 * np.log(0.7) + 0.5 * np.log(0.2) + np.log(0.8)) / 2
    assert_allclose(CrossEntropy()(soft, LOGITS), expected, rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_agrees_between_integers_and_one_hot(smoothing):
    loss = CrossEntropy(label_smoothing=smoothing)
    assert_allclose(loss([2, 1], LOGITS), loss(np.eye(3, dtype="float32")[[2, 1]], LOGITS), rtol=1e-6)


def test_cross_entropy_takes_a_sequence_of_labels():
    sequence = np.stack([LOGITS, LOGITS])  # (batch, time, classes)
    assert_allclose(CrossEntropy()(np.array([[0, 1], [0, 1]]), sequence), CrossEntropy()([0, 1], LOGITS), rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_a_sequence_leaves_out_what_has_no_label(smoothing):
    # Of four positions the first of each row has a label: the mean is over these two.
    sequence = np.stack([LOGITS, LOGITS[::-1]])
    loss = CrossEntropy(label_smoothing=smoothing)
    assert_allclose(loss(np.array([[0, -1], [1, -1]]), sequence), loss([0, 1], LOGITS), rtol=1e-6)


def test_cross_entropy_of_a_sequence_without_any_label_is_zero():
    assert_allclose(CrossEntropy()(np.array([[-1, -1]]), LOGITS[None]), 0.0)


@pytest.mark.parametrize("loss", [CrossEntropy(), PerceptronLoss()])
def test_losses_compute_in_float32(loss):
    half = ops.cast(np.array([[300.0, 0.0]]), "float16")
    assert keras.backend.standardize_dtype(loss(np.array([1]), half).dtype) == "float32"
    assert_allclose(loss(np.array([1]), half), 300.0)


def test_perceptron_loss_is_the_lead_of_the_best_wrong_class():
    # Row 1: class 1 leads by 3 - 1 = 2. Row 2: right by 4, so 0. Mean 1.
    assert_allclose(PerceptronLoss()([0, 2], [[1.0, 3.0, 2.0], [0.0, 1.0, 5.0]]), 1.0)


def test_perceptron_loss_makes_rosenblatts_correction():
    # x = (2, -1), label 0, answer 1: one step of size 1 adds x to the weights of 0 and takes it from those of 1.
    model = perceptron((2,), 3)
    start = np.array([[0.0, 1.0, -1.0], [0.0, 0.0, 0.0]], "float32")  # Logits 0, 2, -2.
    model.set_weights([start, np.zeros(3, "float32")])
    model.compile(keras.optimizers.SGD(1.0), PerceptronLoss(), jit_compile=False)
    model.train_on_batch(np.array([[2.0, -1.0]], "float32"), np.array([0]))
    kernel, bias = model.get_weights()
    assert_allclose(kernel - start, [[2, -2, 0], [-1, 1, 0]])
    assert_allclose(bias, [1, -1, 0])


def test_perceptron_loss_leaves_a_right_answer_alone():
    model = perceptron((2,), 2)
    model.set_weights([np.array([[1.0, 0.0], [0.0, 0.0]], "float32"), np.zeros(2, "float32")])
    before = model.get_weights()
    model.compile(keras.optimizers.SGD(1.0), PerceptronLoss(), jit_compile=False)
    model.train_on_batch(np.array([[2.0, 5.0]], "float32"), np.array([0]))
    assert_allclose(model.get_weights()[0], before[0])


def test_perceptron_loss_moves_weights_that_start_at_zero():
    model = perceptron((2,), 2)
    model.compile(keras.optimizers.SGD(1.0), PerceptronLoss(), jit_compile=False)
    model.train_on_batch(np.array([[2.0, 5.0]], "float32"), np.array([0]))
    assert_allclose(model.get_weights()[0], [[2, -2], [5, -5]])


@pytest.mark.parametrize("loss", [CrossEntropy(label_smoothing=0.2), PerceptronLoss()])
def test_losses_survive_their_config(loss):
    twin = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(twin) is type(loss)
    assert_allclose(twin([0, 1], LOGITS), loss([0, 1], LOGITS))
