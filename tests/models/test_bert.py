"""BERT: its counts with and without heads, segments, padding, and what each head reads."""

import keras
import numpy as np
import pytest
from checks import draw
from numpy.testing import assert_allclose

from kerasnn.errors import ModelError
from kerasnn.models.bert import BERT, Variant, bert, segments

TINY = {"vocab_size": 13, "depth": 2, "width": 8, "num_heads": 2, "hidden_dim": 16}


def tiny(head="classes", length=7, **options):
    """A small BERT whose every weight is drawn as wide as a trained one's, so that what leaks would show."""
    model = bert("bert", (length,), head=head, num_classes=3, **TINY | options)
    model.set_weights([draw(weight.shape, seed) for seed, weight in enumerate(model.weights)])
    return model


SENTENCES = np.array([[2, 5, 6, 3, 7, 3, 0]], "int32")  # [CLS] a b [SEP] c [SEP] and padding.


def test_bert_variants_of_the_signature_are_those_of_the_table():
    assert set(Variant.__args__) == set(BERT)


def test_bert_base_has_the_published_counts_with_each_head():
    with keras.StatelessScope(initialize_variables=False):
        none, classes, words = (
            bert("bert_base", (512,), 30_522, head=head).count_params() for head in ("none", "classes", "masked_words")
        )
    assert none == 109_482_240
    assert classes == none + 768 * 2 + 2
    # The pooled features' layer, 768 × 768 + 768, makes room for one of the same size, a normalization, and a bias.
    assert words == none + 2 * 768 + 30_522 == 109_514_298


@pytest.mark.parametrize(("head", "answer"), [("classes", (3,)), ("masked_words", (7, 13)), ("none", (8,))])
def test_bert_answers_in_the_shape_of_its_head(head, answer):
    model = tiny(head)
    assert model.output_shape == (None, *answer)
    assert model.layers[-1].name == ("pooled_dense" if head == "none" else "predictions")


def test_bert_segments_follow_the_first_separator():
    tokens = [
        [2, 5, 6, 3, 7, 8, 3],  # Two sentences.
        [2, 5, 6, 3, 0, 0, 0],  # One: padding is no second segment.
        [2, 5, 3, 3, 7, 3, 0],  # An empty second part begins with its separator.
        [2, 5, 6, 7, 8, 9, 4],  # No separator: cut off.
    ]
    expected = [[0, 0, 0, 0, 1, 1, 1], [0] * 7, [0, 0, 0, 1, 1, 1, 0], [0] * 7]
    assert np.array_equal(segments(np.array(tokens, "int32"), separator_id=3), expected)
    assert np.array_equal(segments(np.array(tokens, "int32"), separator_id=8)[0], [0, 0, 0, 0, 0, 0, 1])


def test_bert_adds_word_position_and_segment():
    model = tiny()
    read = keras.Model(model.input, model.get_layer("embeddings_layer_norm").input)
    table, positions, pair = (
        model.get_layer(f"{name}_embedding").get_weights()[0] for name in ("token", "position", "segment")
    )
    expected = table[SENTENCES[0]] + positions + pair[[0, 0, 0, 0, 1, 1, 0]]
    assert_allclose(read(SENTENCES)[0], expected, rtol=1e-5, atol=1e-7)


def test_bert_takes_its_separator_from_its_argument():
    assert np.abs(tiny(separator_id=7)(SENTENCES) - tiny()(SENTENCES)).max() > 0.01


@pytest.mark.parametrize("head", ["classes", "masked_words", "none"])
def test_bert_answers_the_same_however_long_the_padding(head):
    short, long = tiny(head, 6), tiny(head, 9)
    weights = short.get_weights()
    places = [weight.path for weight in short.weights].index("position_embedding/embeddings")
    further = draw((3, 8))
    long.set_weights([*weights[:places], np.concatenate([weights[places], further]), *weights[places + 1 :]])
    expected = short(SENTENCES[:, :6])
    answer = long(np.pad(SENTENCES[:, :6], [(0, 0), (0, 3)]))
    assert_allclose(answer[:, :6] if head == "masked_words" else answer, expected, rtol=1e-4, atol=1e-5)


def test_bert_fills_a_gap_from_both_sides():
    model = tiny("masked_words")
    gap = np.array([[2, 5, 4, 6, 3, 0, 0]], "int32")
    before = model(gap)[0, 2]
    for place in (1, 3):
        changed = gap.copy()
        changed[0, place] = 9
        assert np.abs(model(changed)[0, 2] - before).max() > 0.01


def test_bert_reads_words_and_fills_gaps_with_one_table():
    model = tiny("masked_words")
    held = [weight.path for weight in model.weights if 13 in weight.shape]
    assert held == ["token_embedding/embeddings", "token_embedding/bias"]


def test_bert_drops_in_training_only():
    model = tiny()
    assert_allclose(model(SENTENCES, training=False), model(SENTENCES))
    assert np.abs(model(SENTENCES, training=True) - model(SENTENCES)).max() > 0.01
    assert {layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)} == {0.1}


def test_bert_keeps_logits_in_float32():
    keras.config.set_dtype_policy("mixed_float16")
    for head in ("classes", "masked_words"):
        model = tiny(head)
        answer = model(SENTENCES)
        assert model.output.dtype == answer.dtype == "float32"
        assert np.isfinite(answer).all()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: bert("bert_bse", (7,), 13), "unknown variant of bert 'bert_bse': did you mean 'bert_base'"),
        (
            lambda: bert("bert", (28, 28, 1), 13),
            r"bert: the input is \(28, 28, 1\), but it takes tokens \(length,\); choose such data, as data=text$",
        ),
        (lambda: tiny(num_heads=5), "transformer_layer_0: 5 heads cannot share a width of 8: .* such as 10$"),
    ],
)
def test_bert_says_what_is_wrong(build, message):
    with pytest.raises(ModelError, match=message):
        build()
