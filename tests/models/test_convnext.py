"""ConvNeXt against figure 4 and table 9 of its paper."""

import keras
import numpy as np
import pytest
from checks import check_model, draw

from kerasnn.analysis.cost import count
from kerasnn.errors import ModelError
from kerasnn.layers.layer_scale import LayerScale
from kerasnn.models.convnext import CONVNEXT, Variant, convnext

TOY = {"depths": (1, 1, 2, 1), "widths": (4, 8, 8, 16)}


def stage_shapes(model, depths=(3, 3, 9, 3)):
    names = [f"{model.name}_stage_{stage}_block_{depth - 1}_add" for stage, depth in enumerate(depths)]
    return [model.get_layer(name).output.shape[1:] for name in names]


@pytest.mark.usefixtures("without_weights")
def test_convnext_tiny_has_the_sizes_of_table_9():
    model = convnext("convnext_tiny", (224, 224, 3), 1000)
    assert stage_shapes(model) == [(56, 56, 96), (28, 28, 192), (14, 14, 384), (7, 7, 768)]


@pytest.mark.usefixtures("without_weights")
def test_convnext_tiny_costs_what_table_1_says():
    # 4.5 billion multiply–adds, to the paper's two digits.
    cost = count(convnext("convnext_tiny", (224, 224, 3), 1000))
    assert round(cost.macs / 1e9, 1) == 4.5
    assert cost.uncounted == ()


@pytest.mark.usefixtures("without_weights")
@pytest.mark.parametrize(("side", "places"), [(16, 8), (32, 16), (63, 31), (64, 16), (96, 24)])
def test_convnext_chooses_its_stem_by_size(side, places):
    # Patches of 2×2 below 64×64, of 4×4 from there on; what fills no patch is dropped.
    shape = convnext("convnext_tiny", (side, side, 3), 10, **TOY).get_layer("convnext_tiny_stem_conv").output.shape
    assert shape[1:3] == (places, places)


@pytest.mark.usefixtures("without_weights")
def test_convnext_drops_later_blocks_more_often():
    model = convnext("convnext_tiny", (32, 32, 3), 10, stochastic_depth_rate=0.17)
    # Eighteen blocks from 0 to 0.17 in steps of 0.01; the first never falls out, so it needs no layer.
    rates = [layer.rate for layer in model.layers if layer.name.endswith("_stochastic_depth")]
    assert rates == pytest.approx([0.01 * number for number in range(1, 18)])
    still = convnext("convnext_tiny", (32, 32, 3), 10, stochastic_depth_rate=0.0)
    assert not [layer for layer in still.layers if isinstance(layer, keras.layers.Dropout)]


@pytest.mark.usefixtures("without_weights")
def test_convnext_scales_every_branch_from_the_papers_start():
    scales = [layer for layer in convnext("convnext_tiny", (32, 32, 3), 10).layers if isinstance(layer, LayerScale)]
    assert [scale.initial for scale in scales] == [1e-6] * 18


def test_convnext_starts_as_if_it_had_no_blocks():
    # With a layer scale of zero each block is the identity, whatever its kernels are.
    model = convnext("convnext_tiny", (16, 16, 3), 5, layer_scale=0.0, **TOY)
    pictures = draw((2, 16, 16, 3))
    before = np.array(model(pictures))
    block = model.get_layer("convnext_tiny_stage_2_block_1_pointwise_conv_2")
    block.set_weights([weight + 1 for weight in block.get_weights()])
    assert np.array_equal(model(pictures), before)


def test_convnext_trains_every_weight_once_its_branches_are_heard(tmp_path):
    model = convnext("convnext_tiny", (16, 16, 3), 3, layer_scale=1.0, **TOY)
    check_model(model, (3,), path=tmp_path / "model.keras", may_stay={})


def test_convnext_dropping_a_branch_is_all_or_nothing():
    # Layer scale 1 and a rate of 0.5 on the last block: an example's branch is left out, or doubled to keep its mean.
    model = convnext("convnext_tiny", (16, 16, 3), 5, stochastic_depth_rate=0.5, layer_scale=1.0, **TOY)
    layer = model.get_layer("convnext_tiny_stage_3_block_0_stochastic_depth")
    branch = draw((64, 1, 1, 16))
    factors = np.array(layer(branch, training=True)) / branch
    assert np.allclose(factors, factors[..., :1], rtol=1e-5)
    assert set(np.unique(factors[..., 0].round(5))) == {0.0, 2.0}


@pytest.mark.usefixtures("without_weights")
def test_convnext_dropout_stands_before_the_classifier():
    model = convnext("convnext_tiny", (32, 32, 3), 10, dropout=0.3, **TOY)
    assert model.layers[-2].rate == 0.3


@pytest.mark.usefixtures("without_weights")
def test_convnext_logits_stay_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    assert convnext("convnext_tiny", (32, 32, 3), 10, **TOY).output.dtype == "float32"


def test_convnext_variants_of_the_signature_are_those_of_the_table():
    assert set(Variant.__args__) == set(CONVNEXT)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: convnext("convnext_tinny", (32, 32, 3), 10),
            "unknown variant of convnext 'convnext_tinny': did you mean 'convnext_tiny'",
        ),
        (
            lambda: convnext("convnext_tiny", (8, 8, 1), 10),
            "convnext_tiny: the picture is 8×8, .* 16×16; set data.image_size=16$",
        ),
        (
            lambda: convnext("convnext_tiny", (28, 28, 1), 10, stem="imagenet"),
            "convnext_tiny: the picture is 28×28, .* 32×32; set data.image_size=32 or model.stem=small$",
        ),
    ],
)
def test_convnext_that_cannot_be_is_an_error_that_helps(build, message):
    with pytest.raises(ModelError, match=message):
        build()
