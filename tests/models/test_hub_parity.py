"""Equal weights, equal answers: BERT, GPT-2 and the memory of a decoder against keras-hub's, at toy size."""

import doctest
import warnings

import keras
import numpy as np
import pytest
from checks import draw
from numpy.testing import assert_allclose

from kerasnn.errors import ModelError
from kerasnn.layers.transformer_block import TransformerBlock
from kerasnn.models.bert import bert
from kerasnn.models.gpt import gpt
from kerasnn.training import hub as training_hub
from kerasnn.training.hub import from_hub

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # What it says on import is not about us.
    hub = pytest.importorskip("keras_hub")

TINY = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 32, "vocabulary_size": 13}
OURS = {"depth": 2, "num_heads": 2, "width": 8, "vocab_size": 13}
# Two sentences, one of them, and one with a gap, padded to the right; [SEP] is 3.
TOKENS = np.array([[2, 5, 6, 3, 7, 8, 3], [2, 5, 6, 3, 0, 0, 0], [2, 9, 4, 10, 3, 0, 0]], "int32")
SEGMENTS = np.array([[0, 0, 0, 0, 1, 1, 1], [0] * 7, [0] * 7], "int32")


def with_random_weights(model):
    """Every weight drawn, biases and scales too, so that none is met by chance."""
    model.set_weights([0.8 * draw(weight.shape, seed) for seed, weight in enumerate(model.weights)])
    return model


@pytest.fixture
def bert_backbone():
    return with_random_weights(hub.models.BertBackbone(**TINY, max_sequence_length=10))


@pytest.fixture
def gpt_backbone():
    return with_random_weights(hub.models.GPT2Backbone(**TINY, max_sequence_length=10))


def test_from_hub_does_what_its_docstring_shows():
    [example] = [test for test in doctest.DocTestFinder().find(training_hub) if test.examples]
    told = []
    failed, tried = doctest.DocTestRunner(verbose=False).run(example, out=told.append)
    assert tried >= 5
    assert not failed, "".join(told)


def inputs_of_bert():
    return {"token_ids": TOKENS, "segment_ids": SEGMENTS, "padding_mask": (TOKENS != 0).astype("int32")}


def test_bert_pools_what_keras_hub_pools(bert_backbone):
    ours = bert("bert", (7,), head="none", hidden_dim=32, **OURS)
    assert from_hub(bert_backbone, ours) == []
    expected = bert_backbone.predict_on_batch(inputs_of_bert())["pooled_output"]
    assert_allclose(ours.predict_on_batch(TOKENS), expected, rtol=1e-4, atol=1e-4)
    assert np.abs(expected[1] - expected[2]).max() > 0.1  # The examples differ, so agreement says something.


def test_bert_features_are_keras_hubs_at_every_token(bert_backbone):
    ours = bert("bert", (7,), head="none", hidden_dim=32, **OURS)
    from_hub(bert_backbone, ours)
    features = keras.Model(ours.input, ours.get_layer("transformer_layer_1").output).predict_on_batch(TOKENS)
    expected = bert_backbone.predict_on_batch(inputs_of_bert())["sequence_output"]
    # Padding included: its own features are computed, and agree, though nothing attends to them.
    assert_allclose(features, expected, rtol=1e-4, atol=1e-4)


def test_bert_fills_gaps_as_keras_hubs_head_does(bert_backbone):
    ours = bert("bert", (7,), head="masked_words", hidden_dim=32, **OURS)
    assert from_hub(bert_backbone, ours) == ["mlm_head_dense", "mlm_head_layer_norm"]
    # Their BertMaskedLM's head has the exact gelu and epsilon 1e-5; the authors' code, and ours, the tanh and 1e-12.
    head = hub.layers.MaskedLMHead(
        token_embedding=bert_backbone.token_embedding,
        intermediate_activation=lambda x: keras.activations.gelu(x, approximate=True),
        layer_norm_epsilon=1e-12,
    )
    positions = np.tile(np.arange(7, dtype="int32"), (3, 1))
    features = bert_backbone.predict_on_batch(inputs_of_bert())["sequence_output"]
    head(features, positions)
    dense, norm = ours.get_layer("mlm_head_dense"), ours.get_layer("mlm_head_layer_norm")
    own = {weight.path.rpartition("masked_lm_head")[2].partition("/")[2]: weight for weight in head.weights}
    assert set(own) >= {"intermediate_dense/kernel", "intermediate_layer_norm/gamma", "output_bias"}
    for seed, weight in enumerate(own.values()):
        if weight is not bert_backbone.token_embedding.embeddings:
            weight.assign(draw(weight.shape, seed))
    dense.set_weights([own[f"intermediate_dense/{name}"] for name in ("kernel", "bias")])
    norm.set_weights([own[f"intermediate_layer_norm/{name}"] for name in ("gamma", "beta")])
    ours.get_layer("token_embedding").bias.assign(own["output_bias"])
    assert_allclose(ours.predict_on_batch(TOKENS), head(features, positions), rtol=1e-4, atol=1e-4)


def test_bert_masked_lm_of_keras_hub_is_ours_but_for_its_heads_rounding(bert_backbone):
    """Their whole model, its own gelu and epsilon in the head: near, not equal."""
    theirs = hub.models.BertMaskedLM(bert_backbone)
    ours = bert("bert", (7,), head="masked_words", hidden_dim=32, **OURS)
    from_hub(bert_backbone, ours)
    for layer in (theirs.masked_lm_head._intermediate_dense, ours.get_layer("mlm_head_dense")):
        layer.set_weights([draw((8, 8), 1), draw((8,), 2)])
    positions = np.tile(np.arange(7, dtype="int32"), (3, 1))
    expected = theirs.predict_on_batch({**inputs_of_bert(), "mask_positions": positions})
    answer = ours.predict_on_batch(TOKENS)
    assert expected.std() > 1
    assert_allclose(answer, expected, atol=0.01)


def test_gpt_features_and_logits_are_keras_hubs(gpt_backbone):
    ours = gpt("gpt", (7,), **OURS)
    assert from_hub(gpt_backbone, ours) == []
    theirs = hub.models.GPT2CausalLM(gpt_backbone)
    masks = (TOKENS != 0).astype("int32")
    expected = theirs.predict_on_batch({"token_ids": TOKENS, "padding_mask": masks})
    answer = ours.predict_on_batch(TOKENS)
    # Theirs hides padding from what follows it, which is padding; no token that says something can tell.
    assert_allclose(answer[masks == 1], expected[masks == 1], rtol=1e-4, atol=1e-4)
    full = np.where(TOKENS == 0, 11, TOKENS)
    expected = theirs.predict_on_batch({"token_ids": full, "padding_mask": np.ones_like(full)})
    assert_allclose(ours.predict_on_batch(full), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pre_norm", [False, True])
def test_block_with_a_memory_is_keras_hubs(pre_norm):
    theirs = hub.layers.TransformerDecoder(intermediate_dim=16, num_heads=2, normalize_first=pre_norm, name="block")
    x, memory, mask = draw((2, 5, 8), 1), draw((2, 6, 8), 2), np.array([[1] * 6, [1, 1, 1, 0, 0, 0]])
    theirs(x, memory)
    with_random_weights(theirs)
    ours = TransformerBlock(2, 16, causal=True, cross_attention=True, pre_norm=pre_norm, name="block")
    ours.build((None, 5, 8))
    values = {weight.path.partition("/")[2]: weight.numpy() for weight in theirs.weights}
    for weight in ours.weights:
        weight.assign(values[weight.path.partition("/")[2]])
    expected = theirs(x, memory, encoder_padding_mask=mask)
    assert_allclose(ours(x, memory=memory, memory_mask=mask.astype(bool)), expected, rtol=1e-4, atol=1e-4)


def test_networks_of_other_sizes_are_refused_before_anything_moves(bert_backbone, gpt_backbone):
    ours = gpt("gpt", (7,), **OURS | {"vocab_size": 12})
    before = ours.get_weights()
    with pytest.raises(
        ModelError, match=r"token_embedding is \(12, 8\) in gpt and \(13, 8\) in .* fits .* for 13 words"
    ):
        from_hub(gpt_backbone, ours)
    assert all(np.array_equal(old, new) for old, new in zip(before, ours.get_weights(), strict=True))
    with pytest.raises(ModelError, match=r"position_embedding is \(12, 8\) in gpt and \(10, 8\)"):
        from_hub(gpt_backbone, gpt("gpt", (12,), **OURS))
    for depth in (1, 3):
        with pytest.raises(ModelError, match=f"layer 'transformer_layer_{min(depth, 2)}' exists in one of them alone"):
            from_hub(gpt_backbone, gpt("gpt", (7,), **OURS | {"depth": depth}))
    with pytest.raises(ModelError, match="gpt is not bert_backbone: layer 'embeddings_layer_norm' exists in one"):
        from_hub(bert_backbone, gpt("gpt", (7,), **OURS))
