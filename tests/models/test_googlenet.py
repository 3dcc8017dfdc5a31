"""GoogLeNet: the sizes of table 1, both counts, the stems, the start."""

import keras
import numpy as np
import pytest
from checks import count, draw
from numpy.testing import assert_allclose

from kerasnn.errors import ModelError
from kerasnn.models.googlenet import googlenet
from kerasnn.models.heads import WithAuxiliary, main_network


def shape_after(model, name):
    return model.get_layer(name).output.shape[1:]


def test_googlenet_has_the_sizes_of_table_1(without_weights):
    model = googlenet((224, 224, 3), 1000)
    expected = {
        "conv1": (112, 112, 64),
        "pool1": (56, 56, 64),
        "conv2": (56, 56, 192),
        "pool2": (28, 28, 192),
        "inception_3a_output": (28, 28, 256),
        "inception_3b_output": (28, 28, 480),
        "pool3": (14, 14, 480),
        "inception_4a_output": (14, 14, 512),
        "inception_4b_output": (14, 14, 512),
        "inception_4c_output": (14, 14, 512),
        "inception_4d_output": (14, 14, 528),
        "inception_4e_output": (14, 14, 832),
        "pool4": (7, 7, 832),
        "inception_5a_output": (7, 7, 832),
        "inception_5b_output": (7, 7, 1024),
        "avg_pool": (1024,),
        # Section 5: "an average pooling layer … resulting in an 4×4×512 output for the (4a), and 4×4×528 for the (4d)".
        "auxiliary1_pool": (4, 4, 512),
        "auxiliary2_pool": (4, 4, 528),
        "auxiliary1_conv": (4, 4, 128),
        "auxiliary2_fc": (1024,),
        "predictions": (1000,),
        "auxiliary1_predictions": (1000,),
    }
    assert {name: shape_after(model, name) for name in expected} == expected


def test_googlenet_branch_5x5_has_windows_of_5(without_weights):
    # Torchvision's has 3×3 in its place, and 6,624,904 parameters.
    assert googlenet((224, 224, 3), 1000).get_layer("inception_3a_5x5").kernel.shape == (5, 5, 16, 32)


def test_googlenet_counts_with_and_without_auxiliary_classifiers(without_weights):
    # On 4a: (512 + 1) × 128 in the 1×1, (4 × 4 × 128 + 1) × 1024 and (1024 + 1) × 1000 in the dense layers, 3,188,840;
    # on 4d, with 528 channels, 3,190,888. The sum, 6,379,728, is what training adds to 6,998,552.
    plain, full = googlenet((224, 224, 3), 1000, auxiliary=False), googlenet((224, 224, 3), 1000)
    assert count(plain.weights) == 6_998_552
    assert count(full.weights) == 13_378_280
    assert count(main_network(full).weights) == 6_998_552
    assert isinstance(full, WithAuxiliary)
    assert not isinstance(plain, WithAuxiliary)


def test_googlenet_main_network_is_the_one_without_auxiliary_classifiers(without_weights):
    plain, full = googlenet((32, 32, 3), 10, auxiliary=False), googlenet((32, 32, 3), 10)
    assert [layer.name for layer in main_network(full).layers] == [layer.name for layer in plain.layers]


@pytest.mark.parametrize(("side", "places"), [(17, 9), (32, 16), (64, 32), (65, 9), (224, 28)])
def test_googlenet_chooses_its_stem_by_size(side, places, without_weights):
    # The small stem halves once before 3a, the ImageNet stem three times, rounding up.
    assert shape_after(googlenet((side, side, 3), 10), "pool2") == (places, places, 192)


@pytest.mark.parametrize("channels", [1, 3])
def test_googlenet_takes_small_pictures_without_options(channels, without_weights):
    model = googlenet((32, 32, channels), 10)
    assert (model.name, model.output_shape) == ("googlenet", (None, 10))
    # Halved by pool2, pool3 and pool4: 16, 8, 4.
    assert shape_after(model, "inception_5b_output") == (4, 4, 1024)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: googlenet((16, 16, 3), 10), "googlenet: the picture is 16×16, .* 17×17; set data.image_size=17$"),
        (
            lambda: googlenet((32, 32, 3), 10, stem="imagenet"),
            "googlenet: the picture is 32×32, .* 65×65; set data.image_size=65 or model.stem=small$",
        ),
        (lambda: googlenet((64, 10), 10), r"googlenet: the input is \(64, 10\), but it takes pictures"),
    ],
)
def test_googlenet_names_what_does_not_fit(build, message):
    with pytest.raises(ModelError, match=message):
        build()


def test_googlenet_smallest_pictures_leave_one_window_to_the_auxiliary_classifiers(without_weights):
    for side, stem in ((17, "small"), (65, "imagenet")):
        model = googlenet((side, side, 3), 10, stem=stem)
        assert shape_after(model, "inception_4a_output")[:2] == (5, 5)
        assert shape_after(model, "auxiliary1_pool")[:2] == (1, 1)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_googlenet_dropout_stands_before_the_classifier(dropout, without_weights):
    model = main_network(googlenet((32, 32, 3), 10, dropout=dropout))
    rates = [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert rates == ([0.4] if dropout else [])


def test_googlenet_width_multiplier_keeps_units_in_pairs(without_weights):
    # Half of 3a's 64, 96, 128, 16, 32, 32; a tenth of them, to the nearest even number and at least 2.
    names = ("1x1", "3x3_reduce", "3x3", "5x5_reduce", "5x5", "pool_proj")
    for multiplier, widths in ((0.5, [32, 48, 64, 8, 16, 16]), (0.1, [6, 10, 12, 2, 4, 4])):
        model = googlenet((32, 32, 3), 10, width_multiplier=multiplier)
        assert [model.get_layer(f"inception_3a_{name}").filters for name in names] == widths


def test_googlenet_starts_with_different_features_for_different_pictures():
    # Twenty-two rectified layers from independent kernels show all pictures as one: he_normal has no cosine below 0.99.
    model = googlenet((32, 32, 3), 10, auxiliary=False, width_multiplier=0.25)
    features = keras.Model(model.input, model.get_layer("avg_pool").output)
    seen = np.asarray(features(draw((8, 32, 32, 3))))
    seen = seen / np.linalg.norm(seen, axis=-1, keepdims=True)
    cosines = (seen @ seen.T)[np.triu_indices(8, 1)]
    assert cosines.max() < 0.95
    assert_allclose(model(draw((2, 32, 32, 3))), np.zeros((2, 10)), atol=0.5)
