"""GPT: sizes, causality, the shared table, and how it starts."""

import keras
import numpy as np
import pytest
from checks import draw
from numpy.testing import assert_allclose

from kerasnn.analysis.cost import count
from kerasnn.errors import ModelError
from kerasnn.models.gpt import GPT, Variant, gpt

TINY = {"vocab_size": 13, "depth": 2, "width": 8, "num_heads": 2}
TEXT = np.array([[5, 6, 7, 8, 9, 10]], "int32")


def tiny(length=6, **options):
    """A small GPT whose every weight is drawn as wide as a trained one's, so that what leaks would show."""
    model = gpt("gpt", (length,), **TINY | options)
    model.set_weights([draw(weight.shape, seed) for seed, weight in enumerate(model.weights)])
    return model


def test_gpt_variants_of_the_signature_are_those_of_the_table():
    assert list(Variant.__args__) == list(GPT)


@pytest.mark.parametrize("variant", GPT)
def test_gpt_counts_add_up(variant):
    depth, width, num_heads, length, published = GPT[variant]
    words = 65 if variant == "gpt" else 50_257
    # A layer: four projections and two dense layers of four times the width, 12 w² and 9 w; two normalizations, 4 w.
    layer = 12 * width**2 + 13 * width
    assert depth * layer + (words + length) * width + 2 * width == published
    assert width % num_heads == 0


def test_gpt3_heads_are_the_papers_but_in_two_rows():
    sizes = {variant: row[1] // row[2] for variant, row in GPT.items() if variant.startswith("gpt3")}
    # Table 2.1, by row.
    assert list(sizes.values()) == [64, 64, 96, 128, 80, 128, 128, 128]
    assert [GPT[variant][1:3] for variant in ("gpt3_1_3b", "gpt3_13b")] == [(2048, 16), (5120, 40)]


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ("gpt3_125m", 125e6),
        ("gpt3_350m", 350e6),
        ("gpt3_760m", 760e6),
        ("gpt3_1_3b", 1.3e9),
        ("gpt3_2_7b", 2.7e9),
        ("gpt3_6_7b", 6.7e9),
        ("gpt3_13b", 13e9),
        ("gpt3", 175e9),
    ],
)
def test_gpt3_counts_are_near_the_papers_round_ones(variant, said):
    assert GPT[variant][-1] == pytest.approx(said, rel=0.02)


def test_gpt_predicts_from_earlier_tokens_alone():
    model = tiny()
    changed = TEXT.copy()
    changed[0, 3] = 4
    before, after = model(TEXT), model(changed)
    assert_allclose(after[0, :3], before[0, :3], rtol=1e-4, atol=1e-5)
    assert np.abs(after[0, 3:] - before[0, 3:]).max(axis=-1).min() > 0.01


def test_gpt_answers_the_same_whatever_stands_to_the_right():
    model = tiny()
    padded = TEXT.copy()
    padded[0, 4:] = 0
    assert_allclose(model(padded)[0, :4], model(TEXT)[0, :4], rtol=1e-4, atol=1e-5)


def test_gpt_knows_token_0_as_any_other():
    # 0 is "!" in the published vocabulary: it is read, not hidden.
    model = tiny()
    others = TEXT.copy()
    others[0, 0] = 0
    assert np.abs(model(others)[0, 5] - model(TEXT)[0, 5]).max() > 0.01


def test_gpt_reads_and_writes_with_one_table():
    model = tiny()
    assert [weight.path for weight in model.weights if 13 in weight.shape] == ["token_embedding/embeddings"]
    last = keras.Model(model.input, model.get_layer("layer_norm").output)
    table = model.get_layer("token_embedding").get_weights()[0]
    assert_allclose(model(TEXT), np.array(last(TEXT)) @ table.T, rtol=1e-4, atol=1e-5)


def test_gpt_starts_at_chance():
    # Every token equally likely: log 65 = 4.17, which nanoGPT starts from too.
    model = gpt("gpt", (16,), 65)
    tokens = np.random.default_rng(0).integers(0, 65, (8, 17), dtype="int32")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert float(loss(tokens[:, 1:], model(tokens[:, :-1]))) == pytest.approx(4.17, abs=0.15)


def test_gpt_ends_its_branches_with_smaller_kernels():
    deviation = {weight.path: weight.numpy().std() for weight in gpt("gpt", (8,), 65).weights}
    # Four layers add eight branches: 0.02 / √8.
    for path in ("self_attention/attention_output/kernel", "feedforward_output_dense/kernel"):
        assert deviation[f"transformer_layer_3/{path}"] == pytest.approx(0.02 / 8**0.5, rel=0.05)
    assert deviation["transformer_layer_3/feedforward_intermediate_dense/kernel"] == pytest.approx(0.02, rel=0.05)
    assert deviation["token_embedding/embeddings"] == pytest.approx(0.02, rel=0.05)


def test_gpt_cost_is_the_hand_count():
    with keras.StatelessScope(initialize_variables=False):
        cost = count(gpt("gpt2", (1024,), 50_257))
    # Per layer 12 × 768² per token, and scores and weighted sums of 1,024 × 1,024 × 768; the words once, backwards.
    layer = 1024 * 12 * 768**2 + 2 * 1024**2 * 768
    assert cost.macs == 12 * layer + 1024 * 768 * 50_257 == 145_824_153_600
    assert cost.uncounted == ()


def test_gpt_keeps_logits_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = tiny()
    assert model.output.dtype == model(TEXT).dtype == "float32"
    assert model.get_layer("transformer_layer_1").output.dtype == "bfloat16"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: gpt("gpt4", (6,), 13), "unknown variant of gpt 'gpt4': did you mean 'gpt"),
        (
            lambda: gpt("gpt2", (32, 32, 3), 13),
            r"gpt2: the input is \(32, 32, 3\), but it takes tokens \(length,\); choose such data, as data=text_lm$",
        ),
        (lambda: tiny(num_heads=3), "transformer_layer_0: 3 heads cannot share a width of 8"),
    ],
)
def test_gpt_says_what_is_wrong(build, message):
    with pytest.raises(ModelError, match=message):
        build()
