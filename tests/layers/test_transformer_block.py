"""The Transformer's block against the paper's formulas in NumPy, and what its masks hide."""

from itertools import combinations, product

import keras
import numpy as np
import pytest
from checks import count, draw
from numpy.testing import assert_allclose

from kerasnn.errors import ModelError
from kerasnn.layers.transformer_block import TransformerBlock


def random_block(**options):
    """A block of 2 heads and 6 hidden units for width 4, every weight drawn, biases and scales too."""
    block = TransformerBlock(num_heads=2, hidden_dim=6, **options)
    block.build((None, 3, 4))
    block.set_weights([draw(weight.shape, seed) for seed, weight in enumerate(block.weights)])
    return block


def named(block):
    """Its weights as NumPy arrays, by their path inside the block."""
    return {weight.path.partition("/")[2]: weight.numpy() for weight in block.weights}


def attention(x, memory, w, name, hidden):
    """Equation 1 and section 3.2.2; `hidden` `(batch, positions, memory)` is true where no position may look."""
    query, key, value = (
        np.einsum("btd,dhk->bthk", source, w[f"{name}/{part}/kernel"]) + w.get(f"{name}/{part}/bias", 0)
        for source, part in ((x, "query"), (memory, "key"), (memory, "value"))
    )
    scores = np.einsum("bthk,bshk->bhts", query, key) / np.sqrt(query.shape[-1])
    scores = np.where(hidden[:, None], -np.inf, scores)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    said = np.einsum("bhts,bshk->bthk", weights, value)
    output = f"{name}/attention_output"
    return np.einsum("bthk,hkd->btd", said, w[f"{output}/kernel"]) + w.get(f"{output}/bias", 0)


def norm(x, w, name):
    deviation = np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return (x - x.mean(-1, keepdims=True)) / deviation * w[f"{name}/gamma"] + w[f"{name}/beta"]


def feed_forward(x, w, activate):
    hidden, output = "feedforward_intermediate_dense", "feedforward_output_dense"
    hidden = activate(x @ w[f"{hidden}/kernel"] + w[f"{hidden}/bias"])
    return hidden @ w[f"{output}/kernel"] + w[f"{output}/bias"]


def test_block_with_a_memory_is_the_papers_decoder():
    """Figure 1, right: each branch is added and then normalized; positions see no later ones, and no padded memory."""
    block = random_block(causal=True, cross_attention=True, attention_bias=False)
    x, memory, mask = draw((2, 3, 4), 1), draw((2, 5, 4), 2), np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], bool)
    w = named(block)
    later = np.broadcast_to(np.triu(np.ones((3, 3), bool), 1), (2, 3, 3))
    expected = norm(x + attention(x, x, w, "self_attention", later), w, "self_attention_layer_norm")
    unseen = np.broadcast_to(~mask[:, None], (2, 3, 5))
    expected = norm(
        expected + attention(expected, memory, w, "cross_attention", unseen), w, "cross_attention_layer_norm"
    )
    expected = norm(expected + feed_forward(expected, w, lambda z: np.maximum(z, 0)), w, "feedforward_layer_norm")
    assert_allclose(block(x, memory=memory, memory_mask=mask), expected, rtol=1e-4, atol=1e-5)


def test_block_that_normalizes_first_is_gpts():
    """Section 2.3 of Radford et al. 2019: what a branch reads is normalized, the sum is not."""
    block = random_block(pre_norm=True, activation="gelu_tanh")
    x, mask, w = draw((2, 3, 4), 1), np.array([[1, 1, 1], [1, 1, 0]], bool), named(block)
    hidden = np.broadcast_to(~mask[:, None], (2, 3, 3))
    read = norm(x, w, "self_attention_layer_norm")
    expected = x + attention(read, read, w, "self_attention", hidden)

    def gelu(z):
        return 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))

    expected = expected + feed_forward(norm(expected, w, "feedforward_layer_norm"), w, gelu)
    assert_allclose(block(x, padding_mask=mask), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("attention_dropout", [0.0, 0.5])  # With dropout Keras takes another way through attention.
def test_block_that_is_causal_ignores_later_positions(attention_dropout):
    block = random_block(causal=True, attention_dropout=attention_dropout)
    x = draw((1, 3, 4))
    changed = x + np.array([0, 0, 1], "float32")[:, None]
    before, after = block(x).numpy(), block(changed).numpy()
    assert_allclose(after[:, :2], before[:, :2], rtol=1e-6)
    assert np.abs(after[:, 2] - before[:, 2]).max() > 0.01
    assert np.abs(random_block()(changed).numpy()[:, 0] - random_block()(x).numpy()[:, 0]).max() > 0.01


@pytest.mark.parametrize("attention_dropout", [0.0, 0.5])
def test_block_ignores_what_is_padding(attention_dropout):
    block = random_block(attention_dropout=attention_dropout)
    x, mask = draw((1, 3, 4)), np.array([[1, 1, 0]], bool)
    changed = x + np.array([0, 0, 1], "float32")[:, None]
    assert_allclose(block(changed, padding_mask=mask)[:, :2], block(x, padding_mask=mask)[:, :2], rtol=1e-6)
    # Nothing but padding is no accident of arithmetic either.
    assert np.isfinite(block(x, padding_mask=np.zeros((1, 3), bool))).all()


def test_block_drops_in_training_only():
    block = random_block(dropout=0.5)
    x = draw((1, 3, 4))
    assert_allclose(block(x, training=False), block(x))
    assert np.abs(block(x, training=True) - block(x)).max() > 0.1


@pytest.mark.parametrize("pre_norm", [False, True])
def test_block_leaves_out_each_branch_of_an_example_as_a_whole(pre_norm):
    # At a rate of a half a branch adds nothing or twice itself. Three branches, each with its own draw: eight answers.
    block = random_block(stochastic_depth_rate=0.5, pre_norm=pre_norm, cross_attention=True)
    inputs, memory, w = draw((1, 3, 4), 1), draw((1, 5, 4), 2), named(block)
    branches = {
        "self_attention": lambda x: attention(x, x, w, "self_attention", np.zeros((1, 3, 3), bool)),
        "cross_attention": lambda x: attention(x, memory, w, "cross_attention", np.zeros((1, 3, 5), bool)),
        "feedforward": lambda x: feed_forward(x, w, lambda z: np.maximum(z, 0)),
    }

    def answer(scales):
        x = inputs
        for scale, (name, branch) in zip(scales, branches.items(), strict=True):
            if pre_norm:
                x = x + scale * branch(norm(x, w, f"{name}_layer_norm"))
            else:
                x = norm(x + scale * branch(x), w, f"{name}_layer_norm")
        return x

    answers = np.concatenate([answer(scales) for scales in product((0, 2), repeat=3)])
    given = np.array(block(np.repeat(inputs, 256, 0), memory=np.repeat(memory, 256, 0), training=True))
    nearest = np.abs(given[:, None] - answers).max((2, 3)).argmin(1)
    assert_allclose(given, answers[nearest], rtol=1e-4, atol=1e-4)
    assert min(np.abs(one - other).max() for one, other in combinations(answers, 2)) > 0.01  # None stands for two.
    found = np.bincount(nearest, minlength=8)
    assert found.min() > 8, found  # 256 draws of an eighth: 32 ± 5 deviations of 5.
    assert found.max() < 60, found


def test_block_without_stochastic_depth_is_the_same_block():
    plain, dropping = (random_block(name="block", stochastic_depth_rate=rate) for rate in (0.0, 0.5))
    assert [weight.path for weight in plain.weights] == [weight.path for weight in dropping.weights]
    # Not even a seed: nothing is drawn.
    assert [variable.path for variable in plain.variables] == [weight.path for weight in plain.weights]
    x = draw((2, 3, 4))
    assert np.array_equal(plain(x, training=True), plain(x))
    assert np.array_equal(dropping(x), plain(x))


@pytest.mark.parametrize("half", ["bfloat16", "float16"])
def test_block_leaves_out_branches_in_half_precision(half):
    block = random_block(stochastic_depth_rate=0.5, pre_norm=True, dtype=f"mixed_{half}")
    x = keras.ops.cast(draw((256, 3, 4)), half)
    output = block(x, training=True)
    assert output.dtype == half
    output, x = (np.array(keras.ops.cast(tensor, "float32")) for tensor in (output, x))
    assert np.isfinite(output).all()
    # Both branches fall out in a quarter of the examples, 64 ± 5 deviations of 7: these pass to the bit.
    assert 29 < (output == x).all((1, 2)).sum() < 99


def test_block_starts_as_its_initializers_say():
    block = TransformerBlock(
        num_heads=4,
        hidden_dim=256,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
        output_initializer=keras.initializers.RandomNormal(stddev=0.005),
    )
    block.build((None, 2, 64))
    w = named(block)
    # 4,096 and 16,384 draws: the deviation comes out within some 3 %.
    inside = [w[f"self_attention/{part}/kernel"] for part in ("query", "key", "value")]
    for kernel in (*inside, w["feedforward_intermediate_dense/kernel"]):
        assert kernel.std() == pytest.approx(0.02, rel=0.06)
    for kernel in (w["self_attention/attention_output/kernel"], w["feedforward_output_dense/kernel"]):
        assert kernel.std() == pytest.approx(0.005, rel=0.06)
    assert np.abs(np.corrcoef([kernel.ravel() for kernel in inside]) - np.eye(3)).max() < 0.1  # Each has its own seed.


@pytest.mark.parametrize("num_heads", [1, 8])
def test_block_starts_from_glorot_however_many_heads(num_heads):
    block = TransformerBlock(num_heads, hidden_dim=128)
    block.build((None, 2, 64))
    w = named(block)
    # Uniform of variance 2 / (in + out): 64 to 64 for attention, 64 to 128 for the dense layers.
    for part in ("query", "key", "value", "attention_output"):
        assert w[f"self_attention/{part}/kernel"].std() == pytest.approx((2 / 128) ** 0.5, rel=0.05)
    assert w["feedforward_intermediate_dense/kernel"].std() == pytest.approx((2 / 192) ** 0.5, rel=0.05)


def test_block_with_a_memory_counts_its_weights_and_its_arithmetic():
    block = TransformerBlock(num_heads=2, hidden_dim=16, cross_attention=True)
    block.build((None, 5, 8))
    # Two attentions of four 8 × 8 projections with biases, 576; dense layers, 280; three normalizations, 48.
    assert count(block.weights) == 904
    # Per attention four projections 5 × 8 × 8, and scores and weighted sums of 5 × 5 × 8; dense 2 × 5 × 8 × 16.
    assert block.macs((None, 5, 8), (None, 5, 8)) == 2 * (4 * 320 + 2 * 200) + 1280 == 4640


def test_block_with_a_memory_is_rebuilt_from_its_file(tmp_path):
    x, memory = keras.Input((3, 4)), keras.Input((3, 4))
    block = random_block(cross_attention=True, stochastic_depth_rate=0.25)
    model = keras.Model([x, memory], block(x, memory=memory))
    model.save(tmp_path / "block.keras")
    inputs = [draw((2, 3, 4), 1), draw((2, 3, 4), 2)]
    reloaded = keras.models.load_model(tmp_path / "block.keras")
    assert_allclose(reloaded(inputs), model(inputs), rtol=1e-6)
    assert reloaded.get_layer(block.name).get_config() == block.get_config()
    assert reloaded.get_layer(block.name).stochastic_depth_rate == 0.25


def test_block_says_what_is_wrong():
    with pytest.raises(ModelError, match="stage: 3 heads cannot share a width of 64: give a multiple of 3, such as 63"):
        TransformerBlock(num_heads=3, hidden_dim=8, name="stage").build((None, 5, 64))
    with pytest.raises(ValueError, match="activation='swish' is unknown: give one of relu, gelu, gelu_tanh"):
        TransformerBlock(num_heads=2, hidden_dim=8, activation="swish")
    with pytest.raises(ValueError, match="attends to a memory: give it as `memory`"):
        random_block(cross_attention=True)(draw((1, 3, 4)))
