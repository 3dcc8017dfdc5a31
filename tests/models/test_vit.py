"""ViT against its paper's sizes, and against keras-hub's ViT with the same weights."""

import keras
import numpy as np
import pytest
from checks import draw
from numpy.testing import assert_allclose

from kerasnn.analysis.cost import count
from kerasnn.errors import ModelError
from kerasnn.models.vit import VIT, Variant, vit

TOY = {"depth": 2, "width": 12, "num_heads": 3}


@pytest.mark.usefixtures("without_weights")
@pytest.mark.parametrize(
    ("variant", "width", "heads"), [("vit_tiny", 192, 3), ("vit_small", 384, 6), ("vit_base", 768, 12)]
)
def test_vit_has_the_sizes_of_its_table(variant, width, heads):
    model = vit(variant, (224, 224, 3), 1000)
    # 224 / 16 = 14 patches each way: 196 tokens and the class token.
    assert model.get_layer("positions").output.shape[1:] == (197, width)
    blocks = [layer for layer in model.layers if isinstance(layer, keras.layers.MultiHeadAttention)]
    assert len(blocks) == 12
    assert {(block.num_heads, block.key_dim) for block in blocks} == {(heads, 64)}
    assert model.get_layer("block12_fc1").units == 4 * width


@pytest.mark.usefixtures("without_weights")
def test_vit_base_cost_is_the_hand_count():
    tokens, width = 197, 768
    patches = 196 * 16 * 16 * 3 * width
    # Four projections, scores and weighted sums over all pairs of tokens, and the two dense layers.
    block = 4 * tokens * width**2 + 2 * tokens**2 * width + 8 * tokens * width**2
    cost = count(vit("vit_base", (224, 224, 3), 1000))
    assert cost.macs == patches + 12 * block + width * 1000
    assert cost.uncounted == ()


@pytest.mark.usefixtures("without_weights")
@pytest.mark.parametrize(("side", "tokens"), [(4, 1), (32, 64), (60, 225), (64, 16), (96, 36)])
def test_vit_chooses_its_patches_by_size(side, tokens):
    # Patches of 4×4 below 64×64: (side / 4)² tokens; of 16×16 from there on.
    model = vit("vit_tiny", (side, side, 3), 10, **TOY)
    assert model.get_layer("sequence").output.shape[1] == tokens


@pytest.mark.usefixtures("without_weights")
def test_vit_drops_later_blocks_more_often():
    model = vit("vit_tiny", (32, 32, 3), 10, stochastic_depth_rate=0.11)
    # Twelve blocks from 0 to 0.11 in steps of 0.01, two branches each; the first block never falls out.
    rates = [layer.rate for layer in model.layers if layer.name.endswith("_stochastic_depth")]
    assert rates == pytest.approx([0.01 * number for number in range(1, 12) for _ in range(2)])


@pytest.mark.usefixtures("without_weights")
def test_vit_dropout_follows_the_patches_and_each_dense_layer():
    model = vit("vit_tiny", (32, 32, 3), 10, dropout=0.2, stochastic_depth_rate=0.0, **TOY)
    rates = {layer.name: layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)}
    inside = [f"block{block}_{place}_dropout" for block in (1, 2) for place in ("attention", "fc1", "fc2")]
    assert rates == dict.fromkeys(["positions_dropout", *inside], 0.2)
    still = vit("vit_tiny", (32, 32, 3), 10, stochastic_depth_rate=0.0, **TOY)
    assert not [layer for layer in still.layers if isinstance(layer, keras.layers.Dropout)]


def test_vit_knows_its_patches_by_their_positions_alone():
    # Without positions a picture is a bag of patches: two of them swapped give the same answer.
    model = vit("vit_tiny", (8, 8, 3), 5, stochastic_depth_rate=0.0, **TOY)
    picture = draw((1, 8, 8, 3))
    swapped = np.concatenate([picture[:, :, 4:], picture[:, :, :4]], axis=2)
    assert not np.allclose(model(picture), model(swapped), atol=1e-5)
    positions = model.get_layer("positions")
    positions.set_weights([np.zeros_like(weight) for weight in positions.get_weights()])
    assert_allclose(model(picture), model(swapped), atol=1e-5)


def test_vit_answers_as_that_of_keras_hub():
    models = pytest.importorskip("keras_hub", reason="needs the extra `hub`").models
    backbone = models.ViTBackbone(
        image_shape=(32, 48, 3), patch_size=8, num_layers=2, num_heads=3, hidden_dim=12, mlp_dim=48
    )
    theirs = models.ViTImageClassifier(backbone, num_classes=5, pooling="token")
    ours = vit("vit_tiny", (32, 48, 3), 5, patch_size=8, **TOY)
    rng = np.random.default_rng(1)
    values = [rng.normal(size=weight.shape) for weight in theirs.weights]
    theirs.set_weights(values)
    # The one order differs: they hold the class token before the patches' kernel and bias, we after.
    token = next(place for place, weight in enumerate(theirs.weights) if "class_token" in weight.path)
    kernel = next(place for place, weight in enumerate(theirs.weights) if "patch_embedding/kernel" in weight.path)
    ordered = [values[kernel], values[kernel + 1], values[token]]
    ordered += [value for place, value in enumerate(values) if place not in (token, kernel, kernel + 1)]
    ours.set_weights(ordered)
    pictures = draw((2, 32, 48, 3))
    answer = np.array(theirs(pictures, training=False))
    assert np.ptp(answer, axis=0).min() > 0.01  # The two pictures get different answers, so the agreement says much.
    assert_allclose(ours(pictures, training=False), answer, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("without_weights")
def test_vit_logits_stay_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = vit("vit_tiny", (32, 32, 3), 10, **TOY)
    assert model.get_layer("block1_attention").compute_dtype == "bfloat16"
    assert model.output.dtype == "float32"


def test_vit_variants_of_the_signature_are_those_of_the_table():
    assert set(Variant.__args__) == set(VIT)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: vit("vit_huge", (32, 32, 3), 10), r"unknown variant of vit 'vit_huge': did you mean 'vit_\w+'"),
        (
            lambda: vit("vit_tiny", (30, 28, 3), 10),
            "vit_tiny: the picture is 30×28, which patches of 4×4 do not fill; "
            "set data.image_size=32 or another model.patch_size$",
        ),
        (
            lambda: vit("vit_tiny", (8, 8, 1), 10, patch_size=16),
            "vit_tiny: the picture is 8×8, .* 16×16; set data.image_size=16 or a smaller model.patch_size$",
        ),
        (
            lambda: vit("vit_tiny", (32, 32, 3), 10, num_heads=5),
            "vit_tiny: model.num_heads=5 does not divide .* model.width=192 is no multiple of it, 195 would be$",
        ),
    ],
)
def test_vit_that_cannot_be_is_an_error_that_helps(build, message):
    with pytest.raises(ModelError, match=message):
        build()
