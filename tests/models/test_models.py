"""What single networks promise: shapes, options, names, errors."""

import keras
import numpy as np
import pytest

from kerasnn.errors import ModelError
from kerasnn.models.alexnet import alexnet
from kerasnn.models.catalogue import CATALOGUE
from kerasnn.models.lenet import C3, lenet5, lenet5_1998
from kerasnn.models.mlp import mlp
from kerasnn.models.perceptron import perceptron
from kerasnn.models.vgg import VGG, Variant, vgg

pytestmark = pytest.mark.usefixtures("without_weights")


def shape_after(model, name):
    return model.get_layer(name).output.shape[1:]


def test_lenet5_1998_has_the_papers_count_in_each_layer():
    model = lenet5_1998((32, 32, 1), 10)
    counts = {
        name: model.get_layer(name).count_params() for name in ("c1", "s2", "c3", "s4", "c5", "f6", "predictions")
    }
    assert counts == {"c1": 156, "s2": 12, "c3": 1516, "s4": 32, "c5": 48120, "f6": 10164, "predictions": 0}


def test_lenet5_1998_table_is_the_papers():
    assert [len(maps) for maps in C3] == [3] * 6 + [4] * 9 + [6]
    # Each map of S2 feeds ten maps of C3, as the rows of table I do.
    assert [sum(seen in maps for maps in C3) for seen in range(6)] == [10] * 6


def test_lenet5_has_the_sizes_of_figure_2():
    model = lenet5((32, 32, 1), 10)
    shapes = [shape_after(model, name) for name in ("c1", "s2", "c3", "s4", "c5", "f6")]
    assert shapes == [(28, 28, 6), (14, 14, 6), (10, 10, 16), (5, 5, 16), (1, 1, 120), (84,)]


def test_alexnet_has_the_sizes_of_figure_2():
    model = alexnet((227, 227, 3), 1000)
    shapes = [shape_after(model, name) for name in ("conv1", "conv2", "conv3", "conv4", "conv5", "pool5")]
    assert shapes == [(55, 55, 96), (27, 27, 256), (13, 13, 384), (13, 13, 384), (13, 13, 256), (6, 6, 256)]


@pytest.mark.parametrize(("side", "places"), [(15, 15), (32, 32), (66, 66), (67, 15), (227, 55)])
def test_alexnet_chooses_its_stem_by_size(side, places):
    # The small stem keeps every place; the ImageNet stem leaves (side - 11) // 4 + 1 of them.
    assert shape_after(alexnet((side, side, 3), 10), "conv1") == (places, places, 96)


def test_vgg16_at_32_ends_in_one_place_of_512():
    model = vgg("vgg16", (32, 32, 3), 10)
    assert shape_after(model, "block5_pool") == (1, 1, 512)
    assert [model.get_layer(name).units for name in ("fc1", "fc2", "predictions")] == [4096, 4096, 10]


def test_vgg16_names_are_those_of_published_weights():
    ours = [layer.name for layer in vgg("vgg16", (224, 224, 3), 1000).layers if layer.weights]
    theirs = [layer.name for layer in keras.applications.VGG16(weights=None).layers if layer.weights]
    assert ours == theirs


def test_vgg_variants_of_the_signature_are_those_of_the_table():
    assert set(Variant.__args__) == set(VGG)


def test_vgg_unknown_variant_is_named_with_the_nearest():
    with pytest.raises(
        ModelError, match=r"unknown variant of vgg 'vgg15': did you mean 'vgg1\d'\? known: vgg11, vgg11_bn"
    ):
        vgg("vgg15", (32, 32, 3), 10)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", [name for name, entry in CATALOGUE.items() if len(entry.input_shape) == 3])
def test_every_network_takes_small_pictures_without_options(name, channels):
    row = {key: value for key, value in CATALOGUE[name].options.items() if key == "variant"}
    model = CATALOGUE[name].builder(input_shape=(32, 32, channels), num_classes=10, **row)
    assert (model.name, model.output_shape) == (name, (None, 10))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: vgg("vgg16", (28, 28, 1), 10), "vgg16: the picture is 28×28, .* 32×32; set data.image_size=32$"),
        (lambda: lenet5((28, 28, 1), 10), "lenet5: the picture is 28×28, .* 32×32; set data.image_size=32$"),
        (lambda: lenet5_1998((8, 40, 1), 10), "lenet5_1998: the picture is 8×40, .* 32×32; set data.image_size=32$"),
        (lambda: alexnet((8, 8, 1), 10), "alexnet: the picture is 8×8, .* 15×15; set data.image_size=15$"),
        (
            lambda: alexnet((32, 32, 3), 10, stem="imagenet"),
            "alexnet: the picture is 32×32, .* 67×67; set data.image_size=67 or model.stem=small$",
        ),
        (lambda: vgg("vgg11", (784,), 10), r"vgg11: the input is \(784,\), but it takes pictures"),
    ],
)
def test_picture_that_does_not_fit_is_an_error_that_helps(build, message):
    with pytest.raises(ModelError, match=message):
        build()


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_dropout_follows_each_hidden_dense_layer_and_zero_adds_none(dropout):
    for model in (alexnet((32, 32, 3), 10, dropout=dropout), mlp((32, 32, 1), 10, dropout=dropout)):
        rates = [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
        assert rates == ([0.3, 0.3] if dropout else [])


def test_logits_stay_float32_under_mixed_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        models = [perceptron((8, 8, 1), 10), lenet5_1998((32, 32, 1), 10), vgg("vgg11", (32, 32, 3), 10)]
    finally:
        keras.config.set_dtype_policy(before)
    assert [model.output.dtype for model in models] == ["float32"] * 3


def test_mlp_activations_start_with_signal_of_similar_size():
    # Standard normal inputs should reach the last hidden layer neither faded nor saturated.
    for activation in ("relu", "tanh", "sigmoid"):
        initializers = [layer.kernel_initializer for layer in mlp((8, 8, 1), 10, activation=activation).layers[2:4]]
        assert all(np.std(initializer((64, 64))) > 0.1 for initializer in initializers)
