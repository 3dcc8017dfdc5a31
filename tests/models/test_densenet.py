"""DenseNet: the sizes of table 1, the names of published weights, growth, stems."""

import keras
import pytest
from checks import count
from keras import layers

from kerasnn.errors import ModelError
from kerasnn.models.densenet import DENSENET, Variant, densenet

pytestmark = pytest.mark.usefixtures("without_weights")


def shape_after(model, name):
    return model.get_layer(name).output.shape[1:]


def test_densenet121_has_the_sizes_of_table_1():
    # Each block adds 32 maps per layer and each transition halves them: 64 + 6 × 32 = 256, 128 + 12 × 32 = 512,
    # 256 + 24 × 32 = 1024, 512 + 16 × 32 = 1024.
    model = densenet("densenet121", (224, 224, 3), 1000)
    expected = {
        "conv1_relu": (112, 112, 64),
        "pool1": (56, 56, 64),
        "conv2_block6_concat": (56, 56, 256),
        "pool2_pool": (28, 28, 128),
        "conv3_block12_concat": (28, 28, 512),
        "pool3_pool": (14, 14, 256),
        "conv4_block24_concat": (14, 14, 1024),
        "pool4_pool": (7, 7, 512),
        "conv5_block16_concat": (7, 7, 1024),
        "avg_pool": (1024,),
    }
    assert {name: shape_after(model, name) for name in expected} == expected
    # 1 + 2 × (6 + 12 + 24 + 16) + 3 transitions + 1 dense: the 121 of its name.
    assert sum(isinstance(layer, layers.Conv2D | layers.Dense) for layer in model.layers) == 121


def test_densenet121_weights_are_named_and_shaped_like_the_published():
    ours = densenet("densenet121", (224, 224, 3), 1000)
    theirs = keras.applications.DenseNet121(weights=None)
    shapes = [
        [(layer.name, [weight.shape for weight in layer.weights]) for layer in model.layers if layer.weights]
        for model in (ours, theirs)
    ]
    assert shapes[0] == shapes[1]


def test_densenet_growth_is_what_each_layer_adds():
    # With k = 4: conv1 has 2k = 8 maps, the bottleneck 4k = 16; the blocks add 1, 2, 1 and 1 times 4:
    # 8 + 4 = 12, halved to 6, + 8 = 14, halved to 7, + 4 = 11, halved to 5, + 4 = 9.
    model = densenet("densenet121", (32, 32, 3), 10, growth=4, depths=(1, 2, 1, 1))
    names = ("conv1_conv", "conv2_block1_1_conv", "conv2_block1_concat", "conv3_block2_concat")
    assert [shape_after(model, name)[-1] for name in names] == [8, 16, 12, 14]
    assert [shape_after(model, f"conv{block}_block1_concat")[-1] for block in (4, 5)] == [11, 9]


@pytest.mark.parametrize(("side", "places"), [(8, 8), (32, 32), (63, 63), (64, 16), (224, 56)])
def test_densenet_chooses_its_stem_by_size(side, places):
    # The small stem keeps every place; the ImageNet stem halves twice.
    model = densenet("densenet121", (side, side, 3), 10, depths=(1, 1, 1, 1))
    assert shape_after(model, "conv2_block1_concat")[:2] == (places, places)


@pytest.mark.parametrize(("side", "stem"), [(8, "small"), (29, "imagenet")])
def test_densenet_smallest_pictures_end_in_one_place(side, stem):
    model = densenet("densenet121", (side, side, 3), 10, stem=stem, depths=(1, 1, 1, 1))
    assert shape_after(model, "relu")[:2] == (1, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_densenet_takes_small_pictures_without_options(channels):
    model = densenet("densenet121", (32, 32, channels), 10)
    assert (model.name, model.output_shape) == ("densenet121", (None, 10))
    # 27 or 9 × 64 in the small stem instead of 147 × 64, and 10 classes instead of 1,000.
    assert count(model.trainable_weights) == 7_978_856 - (147 - 9 * channels) * 64 - 990 * 1025


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_densenet_dropout_stands_before_the_classifier(dropout):
    model = densenet("densenet121", (32, 32, 3), 10, dropout=dropout, depths=(1, 1, 1, 1))
    rates = [layer.rate for layer in model.layers if isinstance(layer, layers.Dropout)]
    assert rates == ([0.3] if dropout else [])


def test_densenet_variants_of_the_signature_are_those_of_the_table():
    assert set(Variant.__args__) == set(DENSENET)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: densenet("densenet", (64, 64, 3), 10), "unknown variant of densenet 'densenet': did you mean"),
        (lambda: densenet("densenet121", (7, 7, 3), 10), "densenet121: .* 8×8; set data.image_size=8$"),
        (
            lambda: densenet("densenet121", (28, 28, 3), 10, stem="imagenet"),
            "densenet121: the picture is 28×28, .* 29×29; set data.image_size=29 or model.stem=small$",
        ),
    ],
)
def test_densenet_names_what_does_not_fit(build, message):
    with pytest.raises(ModelError, match=message):
        build()


def test_densenet_logits_stay_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    assert densenet("densenet121", (32, 32, 3), 10, depths=(1, 1, 1, 1)).output.dtype == "float32"
