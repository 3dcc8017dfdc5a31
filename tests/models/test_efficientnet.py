"""EfficientNet against table 1 of its paper, and its compound scaling against numbers worked out by hand."""

import keras
import pytest

from kerasnn.analysis.cost import count
from kerasnn.errors import ModelError
from kerasnn.models.efficientnet import EFFICIENTNET, Variant, efficientnet

pytestmark = pytest.mark.usefixtures("without_weights")


def stage_shapes(model, last_blocks):
    """Shape after the stem, after the last block of each stage, and after the top."""
    names = ["stem_activation", *(f"block{block}_project_bn" for block in last_blocks), "top_activation"]
    return [model.get_layer(name).output.shape[1:] for name in names]


def filters(model, name):
    return model.get_layer(name).filters


def drop_rates(model):
    return {layer.name: layer.rate for layer in model.layers if layer.name.endswith("_drop")}


def test_efficientnet_b0_has_the_sizes_of_table_1():
    model = efficientnet("efficientnet_b0", (224, 224, 3), 1000)
    assert stage_shapes(model, ("1a", "2b", "3b", "4c", "5c", "6d", "7a")) == [
        (112, 112, 32),
        (112, 112, 16),
        (56, 56, 24),
        (28, 28, 40),
        (14, 14, 80),
        (14, 14, 112),
        (7, 7, 192),
        (7, 7, 320),
        (7, 7, 1280),
    ]
    kernels = [model.get_layer(f"block{stage}a_dwconv").kernel_size[0] for stage in range(1, 8)]
    assert kernels == [3, 3, 5, 3, 5, 5, 3]


def test_efficientnet_b0_costs_what_table_2_says():
    # 0.39 billion multiply–adds, to the paper's two digits.
    assert round(count(efficientnet("efficientnet_b0", (224, 224, 3), 1000)).macs / 1e9, 2) == 0.39


@pytest.mark.parametrize(("side", "places"), [(16, 16), (63, 63), (64, 32), (65, 33)])
def test_efficientnet_chooses_its_stem_by_size(side, places):
    # The small stem keeps every place; the ImageNet stem halves, rounding up.
    shape = efficientnet("efficientnet_b0", (side, side, 3), 10).get_layer("stem_conv").output.shape
    assert shape[1:3] == (places, places)


def test_efficientnet_small_stem_at_32_leaves_two_by_two_places():
    # Four halvings of 32, where the ImageNet stem would leave one place.
    small = efficientnet("efficientnet_b0", (32, 32, 3), 10)
    large = efficientnet("efficientnet_b0", (32, 32, 3), 10, stem="imagenet")
    assert small.get_layer("top_conv").output.shape[1:3] == (2, 2)
    assert large.get_layer("top_conv").output.shape[1:3] == (1, 1)


def test_efficientnet_b7_is_twice_as_wide_and_3_1_times_as_deep():
    model = efficientnet("efficientnet_b7", (64, 64, 3), 10, depth_multiplier=1.0)
    # 2.0 × 32, 16, 24, 40, 80, 112, 192, 320, 1280: all multiples of 8 already.
    widths = [filters(model, f"block{block}_project_conv") for block in ("1a", "2a", "3a", "4a", "5a", "6a", "7a")]
    assert [filters(model, "stem_conv"), *widths, filters(model, "top_conv")] == [
        64, 32, 48, 80, 160, 224, 384, 640, 2560,
    ]  # fmt: skip
    deep = efficientnet("efficientnet_b7", (64, 64, 3), 10, width_multiplier=0.25)
    # 3.1 × 1, 2, 2, 3, 3, 4, 1 rounded up: 4, 7, 7, 10, 10, 13, 4.
    depths = [sum(layer.name.startswith(f"block{stage}") and layer.name.endswith("dwconv") for layer in deep.layers)
              for stage in range(1, 8)]  # fmt: skip
    assert depths == [4, 7, 7, 10, 10, 13, 4]


def test_efficientnet_rounds_filters_to_eights_and_never_a_tenth_down():
    # b2, width 1.1: 1.1 × 16 = 17.6 is nearest to 16, 9 % below: kept. 1.1 × 40 = 44 rounds up to 48.
    model = efficientnet("efficientnet_b2", (64, 64, 3), 10)
    assert filters(model, "block1a_project_conv") == 16
    assert filters(model, "block3a_project_conv") == 48
    # Width 0.3: 0.3 × 40 = 12 rounds up to 16; 0.3 × 320 = 96. 0.35 × 32 = 11.2 is nearest to 8, 29 % below: 16.
    assert filters(efficientnet("efficientnet_b0", (64, 64, 3), 10, width_multiplier=0.3), "block3a_project_conv") == 16
    assert filters(efficientnet("efficientnet_b0", (64, 64, 3), 10, width_multiplier=0.35), "stem_conv") == 16


def test_efficientnet_squeezes_to_a_quarter_of_what_enters_the_block():
    model = efficientnet("efficientnet_b0", (64, 64, 3), 10)
    # Block 2a reads 16 filters and widens them to 96; 3a reads 24 and widens them to 144.
    squeezed = [filters(model, f"block{block}_se_reduce") for block in ("1a", "2a", "3a")]
    widened = [filters(model, f"block{block}_se_expand") for block in ("1a", "2a", "3a")]
    assert squeezed == [32 // 4, 16 // 4, 24 // 4]
    assert widened == [32, 96, 144]


def test_efficientnet_drops_later_blocks_more_often():
    rates = drop_rates(efficientnet("efficientnet_b0", (64, 64, 3), 10, stochastic_depth_rate=0.16))
    # Sixteen blocks, so block number n from 0 has the rate 0.01 n; the first of a stage that halves or widens has no
    # shortcut, and so nothing to fall back on.
    assert rates == pytest.approx(
        {
            "block2b_drop": 0.02,
            "block3b_drop": 0.04,
            "block4b_drop": 0.06,
            "block4c_drop": 0.07,
            "block5b_drop": 0.09,
            "block5c_drop": 0.10,
            "block6b_drop": 0.12,
            "block6c_drop": 0.13,
            "block6d_drop": 0.14,
        }
    )
    assert drop_rates(efficientnet("efficientnet_b0", (64, 64, 3), 10, stochastic_depth_rate=0.0)) == {}


@pytest.mark.parametrize(
    ("variant", "dropout", "rate"),
    [("efficientnet_b0", None, 0.2), ("efficientnet_b4", None, 0.4), ("efficientnet_b4", 0.1, 0.1)],
)
def test_efficientnet_dropout_is_the_variants_unless_given(variant, dropout, rate):
    model = efficientnet(variant, (64, 64, 3), 10, dropout=dropout, depth_multiplier=0.1, width_multiplier=0.25)
    assert model.get_layer("top_dropout").rate == rate


def test_efficientnet_dropout_of_zero_adds_no_layer():
    model = efficientnet("efficientnet_b0", (64, 64, 3), 10, dropout=0.0)
    assert "top_dropout" not in {layer.name for layer in model.layers}


def test_efficientnet_kernels_of_one_shape_start_different():
    with keras.StatelessScope(initialize_variables=True):
        model = efficientnet("efficientnet_b0", (16, 16, 1), 2, width_multiplier=0.25)
        first, second = (model.get_layer(f"block6{letter}_dwconv").kernel for letter in "bc")
        assert not keras.ops.all(keras.ops.equal(first, second))


def test_efficientnet_logits_stay_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = efficientnet("efficientnet_b0", (32, 32, 3), 10, depth_multiplier=0.1, width_multiplier=0.25)
    assert model.get_layer("top_conv").compute_dtype == "bfloat16"
    assert model.output.dtype == "float32"


def test_efficientnet_variants_of_the_signature_are_those_of_the_table():
    assert set(Variant.__args__) == set(EFFICIENTNET)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: efficientnet("efficientnet_b8", (64, 64, 3), 10),
            r"unknown variant of efficientnet 'efficientnet_b8': did you mean 'efficientnet_b\d'\? known: ",
        ),
        (
            lambda: efficientnet("efficientnet_b0", (12, 40, 3), 10),
            "efficientnet_b0: the picture is 12×40, .* 16×16; set data.image_size=16$",
        ),
        (
            lambda: efficientnet("efficientnet_b0", (28, 28, 3), 10, stem="imagenet"),
            "efficientnet_b0: the picture is 28×28, .* 32×32; set data.image_size=32 or model.stem=small$",
        ),
    ],
)
def test_efficientnet_that_cannot_be_is_an_error_that_helps(build, message):
    with pytest.raises(ModelError, match=message):
        build()
