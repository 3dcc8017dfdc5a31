"""The Transformer as encoder and decoder, and each alone: what sees what, and which weights are shared."""

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose

from kerasnn.errors import ModelError
from kerasnn.layers.sinusoidal_positions import position_table
from kerasnn.models.transformer import TRANSFORMER, Variant, transformer

TINY = {"vocab_size": 13, "depth": 2, "width": 8, "num_heads": 2, "hidden_dim": 16}


def tiny(architecture="encoder_decoder", length=6, **options):
    shape = (2, length) if architecture == "encoder_decoder" else (length,)
    return transformer("transformer_small", shape, architecture=architecture, **TINY | options)


def example(source=(5, 6, 7, 3, 0, 0), target=(2, 8, 9, 10, 11, 12)):
    return np.array([[source, target]], "int32")


def test_transformer_variants_of_the_signature_are_those_of_the_table():
    assert set(Variant.__args__) == set(TRANSFORMER)


@pytest.mark.parametrize(
    ("architecture", "input_shape", "answer"),
    [("encoder_decoder", (2, 6), (6, 13)), ("encoder", (6,), (3,)), ("decoder", (6,), (6, 13))],
)
def test_transformer_answers_in_the_shape_of_its_architecture(architecture, input_shape, answer):
    model = tiny(architecture, num_classes=3)
    assert model.input_shape == (None, *input_shape)
    assert model.output_shape == (None, *answer)
    assert model.inputs[0].dtype == "int32"
    assert model.layers[-1].name == "predictions"


def test_transformer_halves_have_the_papers_weights():
    with keras.StatelessScope(initialize_variables=False):
        counts = {
            architecture: transformer(
                "transformer", (2, 64) if architecture == "encoder_decoder" else (64,), 37_000, 10, architecture
            ).count_params()
            for architecture in ("encoder_decoder", "encoder", "decoder")
        }
    words = 37_000 * 512
    dense = 2 * 512 * 2048 + 2048 + 512
    encoder = 6 * (4 * 512**2 + dense + 2 * 1024)  # Attention without biases, two normalizations.
    decoder = 6 * (4 * 512**2 + dense + 2 * 1024)
    memory = 6 * (4 * 512**2 + 1024)  # Attention to the memory, and its normalization.
    assert counts["encoder_decoder"] == words + encoder + decoder + memory == 63_045_632
    assert counts["encoder"] == words + encoder + 512 * 10 + 10
    assert counts["decoder"] == words + decoder


def test_transformer_has_one_table_of_words():
    model = tiny()
    assert [weight.path for weight in model.weights if 13 in weight.shape] == ["embedding/embeddings"]
    assert not any(layer.weights for layer in model.layers if layer.name in ("predictions", "encoder_positions"))


def test_transformer_reads_words_times_the_root_of_the_width_plus_positions():
    model = tiny()
    first = keras.Model(model.input, model.get_layer("encoder_positions").output)
    table = model.get_layer("embedding").get_weights()[0]
    source = example()[0, 0]
    assert_allclose(first(example())[0], table[source] * 8**0.5 + position_table(6, 8), rtol=1e-5)


def test_transformer_predicts_each_word_from_earlier_ones_alone():
    for model, changed in (
        (tiny(), example(target=(2, 8, 9, 4, 11, 12))),
        (tiny("decoder"), np.array([[2, 8, 9, 4, 11, 12]], "int32")),
    ):
        plain = example() if model.input_shape == (None, 2, 6) else example()[:, 1]
        before, after = model(plain), model(changed)
        assert_allclose(after[0, :3], before[0, :3], rtol=1e-5, atol=1e-6)  # Position 3 is the one that changed.
        assert np.abs(after[0, 3:] - before[0, 3:]).max(axis=-1).min() > 1e-3


def test_transformer_predicts_each_word_from_the_whole_source():
    model = tiny()
    before, after = model(example()), model(example((5, 6, 4, 3, 0, 0)))
    assert np.abs(after - before).max(axis=-1).min() > 1e-3


@pytest.mark.parametrize("architecture", ["encoder_decoder", "encoder", "decoder"])
def test_transformer_answers_the_same_however_long_the_padding(architecture):
    short, long = tiny(architecture, 4), tiny(architecture, 9)
    long.set_weights(short.get_weights())  # Sines have no weights, so the two have the same.
    words = example()[:, :, :4] if architecture == "encoder_decoder" else example()[:, 0, :4]
    padded = np.pad(words, [(0, 0)] * (words.ndim - 1) + [(0, 5)])
    expected, answer = short(words), long(padded)
    assert_allclose(answer if architecture == "encoder" else answer[:, :4], expected, rtol=1e-4, atol=1e-5)


def test_transformer_of_padding_alone_is_finite():
    for architecture in ("encoder_decoder", "encoder", "decoder"):
        model = tiny(architecture)
        assert np.isfinite(model(np.zeros((1, *model.input_shape[1:]), "int32"))).all()


def test_transformer_starts_with_logits_of_unit_variance():
    # A normalized vector of width d is √d long, a word's vector 1: their product varies by 1. The word that was just
    # read is the exception: shortcuts carry it to the end, where it meets itself.
    model = tiny(width=64, num_heads=4, depth=1)
    pairs = np.random.default_rng(0).integers(1, 13, (64, 2, 6), dtype="int32")
    logits = np.array(model(pairs))
    read = np.eye(13, dtype=bool)[pairs[:, 1]]
    assert logits[~read].std() == pytest.approx(1, rel=0.2)
    assert abs(logits[~read].mean()) < 0.3


def test_transformer_keeps_logits_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    for architecture in ("encoder_decoder", "encoder", "decoder"):
        model = tiny(architecture)
        answer = model(example() if architecture == "encoder_decoder" else example()[:, 0])
        assert model.output.dtype == answer.dtype == "float32"
        assert model.get_layer("decoder_block1" if architecture == "decoder" else "encoder_block1").output.dtype == (
            "bfloat16"
        )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: transformer("transformer_smal", (2, 6), 13),
            "unknown variant of transformer 'transformer_smal': did you mean 'transformer_small'",
        ),
        (
            lambda: transformer("transformer", (32, 32, 3), 13),
            r"transformer: the input is \(32, 32, 3\), but it takes pairs of tokens \(2, length\); choose such data, "
            "as data=sequences$",
        ),
        (
            lambda: transformer("transformer", (2, 6), 13, architecture="encoder"),
            r"the input is \(2, 6\), but it takes tokens \(length,\); choose such data, as data=text$",
        ),
        (
            lambda: transformer("transformer", (6,), 13),
            r"the input is \(6,\), but it takes pairs of tokens",
        ),
        (
            lambda: transformer("transformer", (2, 1), 13),
            "the sequence has 1 token, the shortest it can take has 2; set data.sequence_length=2$",
        ),
        (lambda: tiny(num_heads=3), "encoder_block1: 3 heads cannot share a width of 8: .* such as 9$"),
    ],
)
def test_transformer_says_what_is_wrong(build, message):
    with pytest.raises(ModelError, match=message):
        build()
