"""Evaluation of sequences against counts by hand."""

import keras
import numpy as np
from numpy.testing import assert_allclose

from kerasnn.analysis.evaluate import evaluate_sequences
from kerasnn.training.losses import CrossEntropy

# Each token is answered with fixed logits: token 1 with shares (1/2, 1/4, 1/4), token 2 with (1/8, 1/8, 3/4).
TABLE = np.log([[1 / 3, 1 / 3, 1 / 3], [1 / 2, 1 / 4, 1 / 4], [1 / 8, 1 / 8, 3 / 4]]).astype("float32")


def model_of_a_table():
    inputs = keras.Input((3,), dtype="int32")
    model = keras.Model(inputs, keras.layers.Embedding(3, 3)(inputs))
    model.set_weights([TABLE])
    return model


def test_evaluate_sequences_counts_every_label_once_whatever_the_batches():
    tokens = np.array([[1, 1, 0], [2, 2, 2], [1, 0, 0]], "int32")
    labels = np.array([[0, 2, -1], [2, 2, 0], [0, -1, -1]], "int32")
    # Six labels: -log of 1/2, 1/4, 3/4, 3/4, 1/8, 1/2. Right are the first, the two of 3/4 and the last: four.
    loss = -np.log([1 / 2, 1 / 4, 3 / 4, 3 / 4, 1 / 8, 1 / 2]).mean()
    for cut in (1, 2, 3):
        batches = [(tokens[i : i + cut], labels[i : i + cut]) for i in range(0, 3, cut)]
        seen = evaluate_sequences(model_of_a_table(), batches, CrossEntropy())
        assert seen.positions == 6
        assert_allclose([seen.loss, seen.accuracy, seen.perplexity], [loss, 4 / 6, np.exp(loss)], rtol=1e-6)


def test_perplexity_is_of_the_plain_cross_entropy_whatever_the_loss():
    batch = [(np.array([[1, 1, 1]], "int32"), np.array([[0, 0, 0]], "int32"))]  # Shares of 1/2: between two words.
    seen = evaluate_sequences(model_of_a_table(), batch, CrossEntropy(label_smoothing=0.3))
    assert seen.loss > np.log(2)
    assert_allclose(seen.perplexity, 2.0, rtol=1e-6)
