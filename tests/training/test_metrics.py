"""The accuracy against counts by hand, and against Keras' own where Keras has one."""

import keras
import numpy as np
from numpy.testing import assert_allclose

from kerasnn.training.metrics import Accuracy

LOGITS = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [0.0, 1.0, 5.0]], "float32")  # Answers 0, 1, 2.


def test_accuracy_is_the_share_of_right_answers_over_all_batches():
    accuracy = Accuracy()
    accuracy.update_state(np.array([0, 1, 1]), LOGITS)  # Two of three.
    accuracy.update_state(np.array([2]), LOGITS[:1])  # None of one.
    assert_allclose(accuracy.result(), 2 / 4)


def test_accuracy_agrees_with_keras_on_plain_labels():
    draw = np.random.default_rng(0)
    labels, logits = draw.integers(0, 5, 64), draw.normal(size=(64, 5)).astype("float32")
    assert_allclose(Accuracy()(labels, logits), keras.metrics.SparseCategoricalAccuracy()(labels, logits))


def test_accuracy_does_not_count_positions_without_a_label():
    # Labels 0 (right), none, 0 (the answer is 2): one of two.
    assert_allclose(Accuracy()(np.array([[0, -1, 0]]), LOGITS[None]), 0.5)


def test_accuracy_takes_shares_by_their_largest():
    assert_allclose(Accuracy()(np.array([[0.6, 0.4, 0.0], [0.9, 0.1, 0.0]], "float32"), LOGITS[:2]), 0.5)


def test_accuracy_weighs_labels():
    # Weights 3 and 1; only the first is right: 3 of 4.
    assert_allclose(Accuracy()(np.array([0, 0]), LOGITS[:2], sample_weight=np.array([3.0, 1.0])), 0.75)
