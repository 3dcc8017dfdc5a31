"""Generation, with networks whose answers are known: the next number, fixed odds, a copy of the source."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from kerasnn.analysis.generate import generate, translate
from kerasnn.errors import DataError, ModelError
from kerasnn.models.bert import bert
from kerasnn.models.gpt import gpt
from kerasnn.models.transformer import transformer

TINY = {"depth": 2, "width": 16, "num_heads": 2}


def table_model(logits, length=4):
    """Logits of the next token from the last one alone: row t of `logits` follows token t."""
    logits = np.asarray(logits, "float32")
    tokens = keras.Input((length,), dtype="int32")
    table = layers.Embedding(*logits.shape)
    model = keras.Model(tokens, table(tokens), name="table")
    table.set_weights([logits])
    return model


def counting_model(words=10):
    """After n comes n + 1, and after the last word the first."""
    return table_model(10 * np.roll(np.eye(words), 1, axis=1))


def copying_model(length=5, words=9):
    """The target is the source."""
    pair = keras.Input((2, length), dtype="int32")
    return keras.Model(pair, ops.one_hot(pair[:, 0], words))


def listed(texts):
    return [text.tolist() for text in texts]


def test_generate_greedily_counts_on():
    # The window holds four tokens, and slides: 2 3 4 5 → 6, 3 4 5 6 → 7.
    texts = generate(counting_model(), [[2], [5, 6, 7]], new_tokens=5, temperature=0)
    assert listed(texts) == [[2, 3, 4, 5, 6, 7], [5, 6, 7, 8, 9, 0, 1, 2]]
    assert all(text.dtype == "int32" for text in texts)


def test_generate_reads_a_prompt_longer_than_the_window():
    assert listed(generate(counting_model(), [[1, 1, 1, 1, 1, 4]], new_tokens=2, temperature=0)) == [
        [1, 1, 1, 1, 1, 4, 5, 6]
    ]


def test_generate_stops_each_text_at_its_end():
    texts = generate(counting_model(), [[6], [2]], new_tokens=4, temperature=0, end_id=8)
    assert listed(texts) == [[6, 7, 8], [2, 3, 4, 5, 6]]
    assert listed(generate(counting_model(), np.array([[6], [7]]), new_tokens=99, temperature=0, end_id=8)) == [
        [6, 7, 8],
        [7, 8],
    ]


def test_generate_says_the_same_with_the_same_seed():
    model = gpt("gpt", (8,), 13, **TINY)
    first, again, other = (listed(generate(model, [[5, 6]], new_tokens=12, seed=seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_generate_rows_do_not_depend_on_each_other():
    model = gpt("gpt", (8,), 13, **TINY)
    alone = listed(generate(model, [[5, 6]], new_tokens=10, seed=1))
    together = listed(generate(model, [[5, 6], [7, 8, 9, 10, 11], [5, 6]], new_tokens=10, seed=1))
    assert together[0] == alone[0]
    assert together[2] != together[0]  # Equal prompts go different ways.


def test_generate_draws_by_the_odds():
    # Tokens 0, 1, 2 with odds 1 : 2 : 5 at temperature 1; √ of them at temperature 2: 0.215, 0.304, 0.481.
    model = table_model(np.log([[1, 2, 5]] * 3))
    for temperature, odds in ((1.0, [0.125, 0.25, 0.625]), (2.0, [0.215, 0.304, 0.481])):
        texts = generate(model, [[0]] * 400, new_tokens=10, temperature=temperature, seed=3)
        drawn = np.concatenate([text[1:] for text in texts])
        # 4,000 draws: a share is right within 0.008, so 0.03 is almost four deviations.
        np.testing.assert_allclose(np.bincount(drawn, minlength=3) / drawn.size, odds, atol=0.03)


def test_generate_draws_from_the_top_alone():
    model = table_model(np.log([[1, 2, 5]] * 3))
    texts = generate(model, [[0]] * 50, new_tokens=10, top_k=2)
    assert set(np.concatenate([text[1:] for text in texts])) == {1, 2}
    greedy = generate(model, [[0]], new_tokens=5, temperature=0)
    assert listed(generate(model, [[0]], new_tokens=5, top_k=1)) == listed(greedy) == [[0, 2, 2, 2, 2, 2]]
    assert listed(generate(model, [[0]], new_tokens=5, temperature=1e-300)) == [[0, 2, 2, 2, 2, 2]]


def test_generate_follows_the_network_token_by_token():
    """Greedy text of a real network is the argmax of its own logits, whatever stands behind the text."""
    model = gpt("gpt", (8,), 13, **TINY)
    text = generate(model, [[5, 6, 7]], new_tokens=5, temperature=0)[0]
    logits = model.predict_on_batch(text[None])[0]
    assert text[3:].tolist() == logits[2:7].argmax(axis=-1).tolist()


def test_translate_copies_up_to_the_end():
    # 3 ends a text; without it the network's length does.
    targets = translate(copying_model(), [[5, 6, 3], [7, 3], [4, 5, 6, 7, 8]])
    assert listed(targets) == [[5, 6], [7], [4, 5, 6, 7, 8]]


def test_translate_follows_the_network_token_by_token():
    model = transformer("transformer_small", (2, 6), 13, hidden_dim=16, **TINY)
    target = translate(model, [[5, 6, 7, 3]], end_id=99)[0]
    pair = np.array([[[5, 6, 7, 3, 0, 0], [2, *target[:-1]]]], "int32")
    assert target.tolist() == model.predict_on_batch(pair)[0].argmax(axis=-1).tolist()


def test_nothing_in_nothing_out():
    assert generate(counting_model(), [], new_tokens=3) == translate(copying_model(), []) == []


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (
            lambda: generate(counting_model(), [[]], new_tokens=1),
            DataError,
            "a prompt is empty: give at least one token",
        ),
        (
            lambda: generate(counting_model(), [[3, 10]], new_tokens=1),
            DataError,
            "a prompt holds token 10, but the network knows 0 to 9",
        ),
        (
            lambda: translate(copying_model(), [[4] * 6]),
            DataError,
            "a source has 6 tokens, but .* reads 5",
        ),
        (
            lambda: generate(bert("bert", (7,), 13, hidden_dim=8, **TINY), [[2]], new_tokens=1),
            ModelError,
            r"bert takes \(None, 7\) to \(None, 2\), but next tokens need \(batch, length\) ids",
        ),
        (
            lambda: translate(counting_model(), [[2]]),
            ModelError,
            r"table takes \(None, 4\) .* need \(batch, 2, length\) ids",
        ),
        (lambda: generate(copying_model(), [[2]], new_tokens=1), ModelError, r"takes \(None, 2, 5\) to"),
    ],
)
def test_generation_says_what_is_wrong(act, error, message):
    with pytest.raises(error, match=message):
        act()
