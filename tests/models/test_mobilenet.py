"""MobileNetV2: the sizes of table 2, the names of published weights, widths, stems."""

import keras
import numpy as np
import pytest
from checks import count, draw
from keras import layers
from numpy.testing import assert_allclose

from kerasnn.errors import ModelError
from kerasnn.models.mobilenet import mobilenet_v2


def shape_after(model, name):
    return model.get_layer(name).output.shape[1:]


def test_mobilenet_v2_has_the_sizes_of_table_2(without_weights):
    model = mobilenet_v2((224, 224, 3), 1000)
    # The last block of each row, counted through: 0; 1-2; 3-5; 6-9; 10-12; 13-15; 16.
    expected = {
        "Conv1": (112, 112, 32),
        "expanded_conv_project_BN": (112, 112, 16),
        "block_2_add": (56, 56, 24),
        "block_5_add": (28, 28, 32),
        "block_9_add": (14, 14, 64),
        "block_12_add": (14, 14, 96),
        "block_15_add": (7, 7, 160),
        "block_16_project_BN": (7, 7, 320),
        "Conv_1": (7, 7, 1280),
        "avg_pool": (1280,),
    }
    assert {name: shape_after(model, name) for name in expected} == expected
    # Six times the 24 input channels.
    assert model.get_layer("block_3_expand").filters == 144


@pytest.mark.parametrize("alpha", [0.35, 0.75, 1.0, 1.4])
def test_mobilenet_v2_weights_are_named_and_shaped_like_the_published(alpha, without_weights):
    ours = mobilenet_v2((224, 224, 3), 1000, width_multiplier=alpha)
    theirs = keras.applications.MobileNetV2(weights=None, alpha=alpha)
    shapes = [
        [(layer.name, [weight.shape for weight in layer.weights]) for layer in model.layers if layer.weights]
        for model in (ours, theirs)
    ]
    assert shapes[0] == shapes[1]


def test_mobilenet_v2_rounds_widths_as_published(without_weights):
    # At width 0.35 the first 32 filters become 11.2: the nearest multiple of 8 is 8, more than a tenth below, so 16.
    # Of 16, 24, 32, 64, 96, 160, 320 in the stages remain 5, 8, 11, 22, 33, 56, 112: 8, 8, 16, 24, 32, 56, 112.
    model = mobilenet_v2((224, 224, 3), 1000, width_multiplier=0.35)
    names = ["expanded_conv", *(f"block_{number}" for number in (1, 3, 6, 10, 13, 16))]
    assert model.get_layer("Conv1").filters == 16
    assert [model.get_layer(f"{name}_project").filters for name in names] == [8, 8, 16, 24, 32, 56, 112]
    assert model.get_layer("Conv_1").filters == 1280  # Never narrower; at width 1.4 it is 1792.
    assert mobilenet_v2((224, 224, 3), 1000, width_multiplier=1.4).get_layer("Conv_1").filters == 1792


def test_mobilenet_v2_activations_stop_at_six(without_weights):
    rectifiers = [layer for layer in mobilenet_v2((32, 32, 3), 10).layers if isinstance(layer, layers.ReLU)]
    # Two in each of 17 blocks, less the first one's expansion, and one after each of the two outer convolutions.
    assert len(rectifiers) == 2 * 17 - 1 + 2
    assert {layer.max_value for layer in rectifiers} == {6.0}


@pytest.mark.parametrize(("side", "first", "last"), [(8, 8, 1), (32, 32, 4), (63, 63, 8), (64, 32, 2), (224, 112, 7)])
def test_mobilenet_v2_chooses_its_stem_by_size(side, first, last, without_weights):
    # The small stem halves three times, the ImageNet stem five times, rounding up.
    model = mobilenet_v2((side, side, 3), 10)
    assert shape_after(model, "Conv1")[:2] == (first, first)
    assert shape_after(model, "out_relu")[:2] == (last, last)


def test_mobilenet_v2_block_with_a_silent_branch_is_the_identity():
    # The narrow ends have no rectifier: with its last normalization's scale at 0, a block gives out its input, signs
    # included.
    model = mobilenet_v2((8, 8, 3), 3, width_multiplier=0.1)
    model.get_layer("block_2_project_BN").gamma.assign(np.zeros(8))
    ends = keras.Model(model.input, [model.get_layer(name).output for name in ("block_1_add", "block_2_add")])
    before, after = ends(draw((2, 8, 8, 3)))
    assert np.asarray(before).min() < 0
    assert_allclose(after, before, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_mobilenet_v2_takes_small_pictures_without_options(channels, without_weights):
    model = mobilenet_v2((32, 32, channels), 10)
    assert (model.name, model.output_shape) == ("mobilenet_v2", (None, 10))
    # 9 × 32 weights of the first convolution for each channel less, and 10 classes instead of 1,000.
    assert count(model.trainable_weights) == 3_504_872 - (3 - channels) * 288 - 990 * 1281


def test_mobilenet_v2_depths_are_the_blocks_of_its_stages(without_weights):
    model = mobilenet_v2((32, 32, 3), 10, depths=(1, 1, 2, 1, 1, 1, 1))
    # Eight blocks, numbered through; the second of 32 filters is number 3.
    depthwise = [layer.name for layer in model.layers if isinstance(layer, layers.DepthwiseConv2D)]
    assert depthwise == ["expanded_conv_depthwise", *(f"block_{number}_depthwise" for number in range(1, 8))]
    assert shape_after(model, "block_3_add") == (16, 16, 32)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_mobilenet_v2_dropout_stands_before_the_classifier(dropout, without_weights):
    model = mobilenet_v2((32, 32, 3), 10, dropout=dropout)
    rates = [layer.rate for layer in model.layers if isinstance(layer, layers.Dropout)]
    assert rates == ([0.3] if dropout else [])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: mobilenet_v2((7, 7, 3), 10), "mobilenet_v2: .* 8×8; set data.image_size=8$"),
        (
            lambda: mobilenet_v2((28, 28, 3), 10, stem="imagenet"),
            "mobilenet_v2: the picture is 28×28, .* 32×32; set data.image_size=32 or model.stem=small$",
        ),
    ],
)
def test_mobilenet_v2_names_what_does_not_fit(build, message):
    with pytest.raises(ModelError, match=message):
        build()


def test_mobilenet_v2_logits_stay_float32_under_mixed_precision(without_weights):
    keras.config.set_dtype_policy("mixed_bfloat16")
    assert mobilenet_v2((32, 32, 3), 10).output.dtype == "float32"
