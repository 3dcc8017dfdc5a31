"""ResNet: the sizes of table 1 and of section 4.2, the names of published weights, shortcuts, stems."""

import keras
import numpy as np
import pytest
from checks import count, draw
from keras import layers
from numpy.testing import assert_allclose

from kerasnn.errors import ModelError
from kerasnn.layers.padded_identity import PaddedIdentity
from kerasnn.models.resnet import RESNET, RESNET_CIFAR, CifarVariant, Variant, resnet, resnet_cifar


def shape_after(model, name):
    return model.get_layer(name).output.shape[1:]


@pytest.mark.parametrize(("variant", "last", "factor"), [("resnet18", (2, 2, 2, 2), 1), ("resnet50", (3, 4, 6, 3), 4)])
def test_resnet_has_the_sizes_of_table_1(variant, last, factor, without_weights):
    model = resnet(variant, (224, 224, 3), 1000)
    assert shape_after(model, "conv1_relu") == (112, 112, 64)
    assert shape_after(model, "pool1_pool") == (56, 56, 64)
    shapes = [shape_after(model, f"conv{stage}_block{block}_out") for stage, block in enumerate(last, start=2)]
    assert shapes == [(side, side, factor * width) for side, width in ((56, 64), (28, 128), (14, 256), (7, 512))]
    assert shape_after(model, "avg_pool") == (factor * 512,)


@pytest.mark.parametrize("variant", ["resnet50", "resnet101"])
def test_resnet_names_and_kernels_are_those_of_published_weights(variant, without_weights):
    published = getattr(keras.applications, variant.replace("resnet", "ResNet"))
    ours = resnet(variant, (224, 224, 3), 1000)
    theirs = published(weights=None, classifier_activation=None)
    shapes = [
        [(layer.name, layer.weights[0].shape) for layer in model.layers if layer.weights] for model in (ours, theirs)
    ]
    assert shapes[0] == shapes[1]
    # Theirs has one more number per filter: 64 in conv1; in a stage of width w 4w in the projection, 6w in each block.
    # For resnet50 64 + 22 × 64 + 28 × 128 + 40 × 256 + 22 × 512 = 26,560; resnet101 has 17 more blocks of 6 × 256.
    biases = 26_560 + (17 * 6 * 256 if variant == "resnet101" else 0)
    assert count(theirs.weights) - count(ours.weights) == biases


def test_resnet_bottlenecks_are_strided_on_the_first_1x1(without_weights):
    model = resnet("resnet50", (224, 224, 3), 1000)
    names = ("conv3_block1_0_conv", "conv3_block1_1_conv", "conv3_block1_2_conv", "conv3_block2_1_conv")
    assert [model.get_layer(name).strides for name in names] == [(2, 2), (2, 2), (1, 1), (1, 1)]


def test_resnet_projects_only_where_shapes_differ(without_weights):
    # Basic blocks keep 64 maps through conv2; bottlenecks go from 64 to 256 there. Identity everywhere else.
    projected = {
        variant: [layer.name for layer in resnet(variant, (32, 32, 3), 10).layers if layer.name.endswith("_0_conv")]
        for variant in ("resnet34", "resnet50")
    }
    assert projected["resnet34"] == [f"conv{stage}_block1_0_conv" for stage in (3, 4, 5)]
    assert projected["resnet50"] == [f"conv{stage}_block1_0_conv" for stage in (2, 3, 4, 5)]


@pytest.mark.parametrize(
    ("variant", "blocks", "layers_", "published"),
    [
        ("resnet20", 3, 20, 0.27),
        ("resnet32", 5, 32, 0.46),
        ("resnet44", 7, 44, 0.66),
        ("resnet56", 9, 56, 0.85),
        ("resnet110", 18, 110, 1.7),
    ],
)
def test_resnet_cifar_has_the_papers_layers_and_parameters(variant, blocks, layers_, published, without_weights):
    # conv1 has 27 × 16 weights and each of the 2n convolutions of a stage 9 × inputs × filters, the first of the second
    # and third stage from half the inputs; each has 2 per filter in its batch normalization; the dense layer 64 × 10
    # + 10. For n = 3: 432 + 13,824 + 50,688 + 202,752 + 1,376 + 650 = 269,722; each further n adds 97,216.
    model = resnet_cifar(variant, (32, 32, 3), 10)
    assert count(model.trainable_weights) == 269_722 + (blocks - 3) * 97_216
    assert sum(isinstance(layer, layers.Conv2D | layers.Dense) for layer in model.layers) == layers_
    digits = 1 if published > 1 else 2
    assert round(count(model.trainable_weights) / 1e6, digits) == published


def test_resnet_cifar_has_the_sizes_of_section_4_2(without_weights):
    model = resnet_cifar("resnet20", (32, 32, 3), 10)
    shapes = [shape_after(model, f"conv{stage}_block3_out") for stage in (2, 3, 4)]
    assert shapes == [(32, 32, 16), (16, 16, 32), (8, 8, 64)]


def test_resnet_cifar_shortcuts_have_no_parameters(without_weights):
    model = resnet_cifar("resnet56", (32, 32, 3), 10)
    shortcuts = [layer for layer in model.layers if isinstance(layer, PaddedIdentity)]
    assert [layer.name for layer in shortcuts] == ["conv3_block1_0_identity", "conv4_block1_0_identity"]
    assert [(layer.filters, layer.strides) for layer in shortcuts] == [(32, 2), (64, 2)]
    assert not any(layer.weights for layer in shortcuts)


def test_resnet_strided_windows_are_centred_where_the_shortcut_looks():
    # One bright pixel at an even place: the shortcut keeps it, and windows of 3 centred there see it in one place only.
    model = resnet_cifar("resnet20", (8, 8, 1), 3, depth=1, widths=(1, 1, 1))
    strided = keras.Model(model.get_layer("conv2_block1_out").output, model.get_layer("conv3_block1_1_conv").output)
    model.get_layer("conv3_block1_1_conv").kernel.assign(np.ones((3, 3, 1, 1)))
    picture = np.zeros((1, 8, 8, 1), "float32")
    picture[0, 4, 2] = 1.0
    seen = np.asarray(strided(picture))[0, :, :, 0]
    assert np.argwhere(seen).tolist() == [[2, 1]]


def test_resnet_block_with_a_silent_branch_is_its_shortcut():
    # With the last batch normalization's scale at 0, a block gives out the rectified shortcut.
    model = resnet("resnet18", (8, 8, 3), 3, depths=(1, 1, 1, 1), widths=(4, 4, 8, 8))
    norm = model.get_layer("conv2_block1_2_bn")
    norm.gamma.assign(np.zeros(4))
    ends = keras.Model(model.input, [model.get_layer(name).output for name in ("conv1_relu", "conv2_block1_out")])
    before, after = ends(draw((2, 8, 8, 3)))
    assert_allclose(after, before, atol=1e-6)


@pytest.mark.parametrize(("side", "places"), [(8, 8), (32, 32), (63, 63), (64, 16), (224, 56)])
def test_resnet_chooses_its_stem_by_size(side, places, without_weights):
    # The small stem keeps every place; the ImageNet stem halves twice.
    model = resnet("resnet18", (side, side, 3), 10)
    before = [node.operation.name for node in model.get_layer("conv2_block1_add")._inbound_nodes[0].parent_nodes]
    assert before[0] == ("pool1_pool" if side >= 64 else "conv1_relu")
    assert shape_after(model, "conv2_block1_out") == (places, places, 64)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("variant", ["resnet18", "resnet50", "resnet20"])
def test_resnet_takes_small_pictures_without_options(variant, channels, without_weights):
    model = (resnet if variant in RESNET else resnet_cifar)(variant, (32, 32, channels), 10)
    assert (model.name, model.output_shape) == (variant, (None, 10))


def test_resnet_small_stem_ends_in_4_by_4_at_32(without_weights):
    assert shape_after(resnet("resnet18", (32, 32, 3), 10), "conv5_block2_out") == (4, 4, 512)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_resnet_dropout_stands_before_the_classifier(dropout, without_weights):
    for model in (
        resnet("resnet18", (32, 32, 3), 10, dropout=dropout),
        resnet_cifar("resnet20", (32, 32, 3), 10, dropout),
    ):
        rates = [layer.rate for layer in model.layers if isinstance(layer, layers.Dropout)]
        assert rates == ([0.3] if dropout else [])


def test_resnet_variants_of_the_signatures_are_those_of_the_tables():
    assert set(Variant.__args__) == set(RESNET)
    assert set(CifarVariant.__args__) == set(RESNET_CIFAR)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: resnet("resnet51", (64, 64, 3), 10), "unknown variant of resnet 'resnet51': did you mean 'resnet50'"),
        (lambda: resnet_cifar("resnet18", (32, 32, 3), 10), "unknown variant of resnet_cifar 'resnet18': .* resnet20"),
        (lambda: resnet("resnet18", (7, 9, 3), 10), "resnet18: the picture is 7×9, .* 8×8; set data.image_size=8$"),
        (
            lambda: resnet("resnet50", (28, 28, 3), 10, stem="imagenet"),
            "resnet50: the picture is 28×28, .* 32×32; set data.image_size=32 or model.stem=small$",
        ),
        (lambda: resnet_cifar("resnet20", (3, 3, 1), 10), "resnet20: .* 4×4; set data.image_size=4$"),
    ],
)
def test_resnet_names_what_does_not_fit(build, message):
    with pytest.raises(ModelError, match=message):
        build()


def test_resnet_logits_stay_float32_under_mixed_precision(without_weights):
    keras.config.set_dtype_policy("mixed_bfloat16")
    assert resnet_cifar("resnet20", (32, 32, 3), 10).output.dtype == "float32"
