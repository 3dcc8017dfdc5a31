"""One table for words and for logits: look-up, product, bias, precision, file, arithmetic."""

import keras
import numpy as np
from numpy.testing import assert_allclose

from kerasnn.analysis.cost import layer_table
from kerasnn.layers.tied_embedding import TiedEmbedding

TABLE = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]], "float32")  # Three words of width 2.


def language_model(**options):
    """Logits of each word from its own vector: `(2,)` ids → `(2, 3)`."""
    embedding = TiedEmbedding(3, 2, name="words", **options)
    tokens = keras.Input((2,), dtype="int32")
    model = keras.Model(tokens, embedding(embedding(tokens), reverse=True))
    embedding.set_weights([TABLE, *[np.array([0.5, 0.0, -0.5])] * embedding.use_bias])
    return model, embedding


def test_tied_embedding_multiplies_with_the_table_it_looks_up_in():
    model, embedding = language_model()
    assert_allclose(embedding(np.array([[2, 0]])), [[[3, 4], [1, 0]]])
    # Word 2 is (3, 4): products with the rows are 3, 8 and 25; word 0 is (1, 0): 1, 0, 3.
    assert_allclose(model(np.array([[2, 0]])), [[[3, 8, 25], [1, 0, 3]]])
    assert len(model.weights) == 1


def test_tied_embedding_adds_its_bias_to_logits_alone():
    model, embedding = language_model(use_bias=True)
    assert_allclose(embedding(np.array([[2, 0]])), [[[3, 4], [1, 0]]])
    assert_allclose(model(np.array([[2, 0]])), [[[3.5, 8, 24.5], [1.5, 0, 2.5]]])


def test_tied_embedding_gives_float32_logits_of_half_precision_vectors():
    for policy in ("mixed_bfloat16", "mixed_float16"):
        model, embedding = language_model(use_bias=True, dtype=policy)
        assert embedding(np.array([[2, 0]])).dtype == policy.removeprefix("mixed_")
        assert model.output.dtype == model(np.array([[2, 0]])).dtype == "float32"
        assert all(weight.dtype == "float32" for weight in embedding.weights)


def test_tied_embedding_is_saved_with_its_bias(tmp_path):
    for use_bias in (False, True):
        model, _ = language_model(use_bias=use_bias)
        model.save(tmp_path / "words.keras")
        reloaded = keras.models.load_model(tmp_path / "words.keras")
        assert_allclose(reloaded(np.array([[2, 0]])), model(np.array([[2, 0]])))
        assert len(reloaded.weights) == 1 + use_bias


def test_tied_embedding_learns_through_both_ends():
    model, embedding = language_model()
    model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.train_on_batch(np.array([[0, 0]]), np.array([[1, 1]]))
    moved = embedding.get_weights()[0] != TABLE
    assert moved[0].all()  # The word that was read.
    assert moved[1, 0]  # And the word that was wanted, along what was read: (1, 0).
    assert moved[2, 0]


def test_tied_embedding_costs_nothing_forward_and_a_product_backward():
    model, _ = language_model()
    # Two vectors of 2 with three words: 12 multiply–adds; the 6 weights stand in the first row.
    assert [(row.params, row.macs) for row in layer_table(model) if row.name == "words"] == [(6, 0), (0, 12)]
