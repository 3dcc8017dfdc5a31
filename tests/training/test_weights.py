"""Published weights: what moves, what is folded, what is told, and every way in which they cannot be had."""

import http.client
import re
import urllib.error
from dataclasses import replace

import keras
import numpy as np
import pytest
from checks import draw
from keras import layers
from numpy.testing import assert_allclose

from kerasnn.data.bundle import make_bundle
from kerasnn.data.synthetic import synthetic
from kerasnn.errors import DataError, ModelError
from kerasnn.models.convnext import convnext
from kerasnn.models.lenet import lenet5
from kerasnn.models.mobilenet import mobilenet_v2
from kerasnn.training import weights
from kerasnn.training.weights import DEVIATION, REFERENCES, Reference, as_trained, contract, imagenet_weights, transfer

TORCH, CAFFE = Reference("Example", "torch"), Reference("Example", "caffe")
MOBILENET_FILE = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224"


def small(filters=4, classes=3, bias=False, norm=True):
    """A convolution, perhaps normalized, and a classifier."""
    x = picture = keras.Input((6, 6, 3))
    x = layers.Conv2D(filters, 3, use_bias=bias, name="conv")(x)
    x = layers.BatchNormalization(name="bn")(x) if norm else x
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(picture, layers.Dense(classes, name="predictions")(x), name="small")


def randomised(model):
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.5, 1.5, value.shape) for value in model.get_weights()])
    return model


def tiny_mobilenet(**options):
    return mobilenet_v2((32, 32, 3), options.pop("num_classes", 5), width_multiplier=0.35, **options)


def saved_mobilenet(path, top, classes=1000):
    """An official file's stand-in: the same layers in the same format, with random weights."""
    shape = (224, 224, 3)
    theirs = keras.applications.MobileNetV2(shape, alpha=0.35, include_top=top, weights=None, classes=classes)
    theirs.save(path)
    return theirs


def test_transfer_moves_a_bias_into_the_moving_mean():
    theirs, ours = randomised(small(bias=True)), small()
    report = transfer(theirs, ours, TORCH)
    assert report.loaded == ("conv", "bn", "predictions")
    _, bias = theirs.get_layer("conv").get_weights()
    # conv + bias - mean = conv - (mean - bias).
    moved = theirs.get_layer("bn").get_weights()[2] - bias
    assert_allclose(ours.get_layer("bn").get_weights()[2], moved, rtol=1e-6)
    pictures = draw((2, 6, 6, 3))
    assert_allclose(ours(pictures), theirs(pictures), rtol=1e-5)


def test_transfer_never_drops_a_bias_that_nothing_takes_up():
    def build(bias):
        picture = keras.Input((6, 6, 3))
        x = layers.Conv2D(4, 3, name="first")(picture)
        x = layers.Conv2D(4, 3, use_bias=bias, name="conv")(x)
        return keras.Model(picture, layers.Dense(3, name="predictions")(layers.GlobalAveragePooling2D()(x)))

    report = transfer(randomised(build(True)), build(False), TORCH)
    assert report.loaded == ("first", "predictions")
    assert report.skipped == {"conv": "2 weights are not 1"}


def test_transfer_folds_the_preparation_of_bgr_into_the_first_kernel():
    theirs, ours = randomised(small()), small()
    transfer(theirs, ours, CAFFE)
    pixels = np.random.default_rng(1).uniform(0, 255, (2, 6, 6, 3)).astype("float32")
    # "caffe": BGR less its mean in [0, 255], as keras.applications writes it.
    bgr = pixels[..., ::-1] - np.array([103.939, 116.779, 123.68], "float32")
    mean, deviation = contract("vgg16")
    assert deviation == DEVIATION
    assert_allclose(ours((pixels / 255 - mean) / deviation), theirs(bgr), rtol=1e-4)


def test_transfer_turns_a_convolution_in_groups_into_a_depthwise_one():
    picture = keras.Input((6, 6, 3))
    theirs = keras.Model(picture, layers.Conv2D(3, 3, groups=3, name="conv")(picture))
    ours = keras.Model(picture, layers.DepthwiseConv2D(3, name="conv")(picture))
    transfer(theirs, ours, TORCH)
    pictures = draw((2, 6, 6, 3))
    assert_allclose(ours(pictures), theirs(pictures), rtol=1e-4, atol=1e-6)


def test_transfer_tells_what_is_loaded_skipped_and_missing():
    ours = small(classes=5)
    further = layers.Dense(2, name="further")(ours.output)
    report = transfer(randomised(small()), keras.Model(ours.input, further), TORCH)
    assert report.loaded == ("conv", "bn")
    assert report.skipped == {"predictions": "(4, 3) is not (4, 5)"}
    assert report.missing == ("further",)
    assert str(report) == "2 layers loaded, predictions ((4, 3) is not (4, 5)), further new"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: lenet5((32, 32, 3), 7),
            r"weights of another network \(small\): 0 of 4 layers of lenet5 below its head",
        ),
        # One kernel fits, and the head; two kernels have no counterpart.
        (lambda: deeper(), r"1 of 3 layers of deeper below its head fit, and nothing was loaded; build the network as"),
    ],
)
def test_transfer_of_less_than_half_is_an_error_and_changes_nothing(build, message):
    ours = build()
    before = ours.get_weights()
    with pytest.raises(ModelError, match=message) as caught:
        transfer(randomised(small(norm=False)), ours, TORCH)
    assert str(caught.value).startswith("the published Example holds")
    assert "\n" not in str(caught.value)
    assert all(map(np.array_equal, before, ours.get_weights()))


def deeper():
    """One convolution of `small`'s name and shape, and two more."""
    x = picture = keras.Input((9, 9, 3))
    for name, filters in (("conv", 4), ("other", 5), ("further", 4)):
        x = layers.Conv2D(filters, 3, use_bias=False, name=name)(x)
    return keras.Model(picture, layers.Dense(3, name="predictions")(layers.GlobalAveragePooling2D()(x)), name="deeper")


def test_imagenet_weights_equal_the_real_network_of_keras(shared_data):
    path = shared_data / "weights" / f"{MOBILENET_FILE}_no_top.h5"
    ours = mobilenet_v2((96, 96, 3), 10, width_multiplier=0.35)
    report = imagenet_weights(ours, "mobilenet_v2", str(path))
    assert report.missing == ("predictions",)
    assert not report.skipped
    theirs = keras.applications.MobileNetV2((96, 96, 3), alpha=0.35, include_top=False, weights=str(path))
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 96, 96, 3)).astype("float32")
    expected = np.array(theirs(keras.applications.mobilenet_v2.preprocess_input(pixels.copy()), training=False))
    features = keras.Model(ours.input, ours.get_layer("out_relu").output)
    mean, deviation = contract("mobilenet_v2")
    received = np.array(features((pixels / 255 - mean) / deviation, training=False))
    assert expected.max() > 1  # Real features, up to where the rectifier cuts them at 6.
    assert_allclose(received, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("top", "missing"), [(True, ()), (False, ("predictions",))])
def test_imagenet_weights_read_a_file_with_and_without_its_classifier(tmp_path, top, missing):
    theirs = saved_mobilenet(tmp_path / "official.h5", top)
    ours = tiny_mobilenet(num_classes=1000)
    report = imagenet_weights(ours, "mobilenet_v2", str(tmp_path / "official.h5"))
    assert report.missing == missing
    assert not report.skipped
    kernel = ours.get_layer("block_16_project").get_weights()[0]
    assert np.array_equal(kernel, theirs.get_layer("block_16_project").get_weights()[0])


def test_imagenet_weights_come_from_the_cache_of_keras(tmp_path, monkeypatch):
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    (tmp_path / "models").mkdir()
    theirs = saved_mobilenet(tmp_path / "models" / f"{MOBILENET_FILE}.h5", top=True)
    ours = tiny_mobilenet()
    report = imagenet_weights(ours, "mobilenet_v2", "imagenet")
    assert report.skipped == {"predictions": "(1280, 1000) is not (1280, 5)"}
    assert np.array_equal(ours.get_layer("Conv1").get_weights()[0], theirs.get_layer("Conv1").get_weights()[0])


def test_imagenet_weights_without_a_network_say_what_to_put_where(tmp_path, monkeypatch):
    def refuse(*_):
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", refuse)
    name = f"{MOBILENET_FILE}.h5"
    with pytest.raises(DataError) as caught:
        imagenet_weights(tiny_mobilenet(), "mobilenet_v2")
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("the ImageNet weights of mobilenet_v2 cannot be had: URL fetch failure on https://")
    assert "no network" in text
    assert f"/{name} and put it at {tmp_path / 'models' / name}, or give model.weights=PATH/{name}" in text


@pytest.mark.parametrize(("side", "asked"), [(32, False), (224, True)])
def test_imagenet_weights_of_vgg_take_the_large_file_only_where_its_dense_layers_fit(monkeypatch, side, asked):
    seen = []
    monkeypatch.setattr(weights, "_build", lambda reference, model, top, source=None: seen.append(top))
    picture = keras.Input((side, side, 3))
    model = keras.Model(picture, layers.Dense(2)(layers.Flatten()(picture)))
    weights._download("vgg16", REFERENCES["vgg16"], model)
    assert seen == [asked]


@pytest.mark.parametrize(
    ("build", "variant", "message"),
    [
        (
            lambda: lenet5((32, 32, 3), 10),
            "lenet5",
            "keras.applications has no ImageNet weights for lenet5; it has them for convnext_tiny, densenet121, ",
        ),
        (
            lambda: convnext("convnext_tiny", (16, 16, 1), 3, depths=(1, 1, 1, 1), widths=(4, 4, 4, 4)),
            "convnext_tiny",
            "model.weights=imagenet: the published convnext_tiny sees colours, three channels, but the pictures have 1",
        ),
    ],
)
def test_imagenet_weights_that_cannot_fit_are_an_error_that_helps(build, variant, message):
    with pytest.raises(ModelError, match=message):
        imagenet_weights(build(), variant)


@pytest.mark.parametrize("source", ["imagenet", "official.h5"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        # 320 · 0.4 = 128 filters.
        (
            {"width_multiplier": 0.4},
            r"mobilenet_v2 is published with model.depths=null and model.width_multiplier=0.35, 0.5, 0.75, 1.0, 1.3, "
            r"1.4; the filters of the blocks here \(in the last 128, as of width 0.4\) are of none of these: "
            r"choose one, or model.weights=null$",
        ),
        # 320 · 0.74 = 236.8 is rounded to 240, as with 0.75, but 24 · 0.74 = 17.8 to 16, where 0.75 has 24.
        ({"width_multiplier": 0.74}, r"\(in the last 240, as of width 0.75\) are of none of these: choose one, or"),
        (
            {"width_multiplier": 0.35, "depths": (1,) * 7},
            "the published mobilenet_v2 has 17 blocks, this one 7: leave model.depths=null, or model.weights=null",
        ),
        (
            {"width_multiplier": 0.35, "depths": (1, 2, 3, 4, 3, 4, 1)},
            "has 17 blocks, this one 18: leave model.depths=null",
        ),
        # As many blocks, but the tenth is of the next stage: its weights would be those of another place.
        (
            {"width_multiplier": 0.35, "depths": (1, 2, 3, 3, 4, 3, 1)},
            r"\(in the last 112, as of width 0.35\) are of none of",
        ),
    ],
)
def test_imagenet_weights_of_other_blocks_are_refused_before_anything_is_read(
    tmp_path, monkeypatch, source, options, message
):
    def read(*_):
        raise AssertionError("a file was looked for")

    monkeypatch.setattr(weights, "_build", read)
    (tmp_path / "official.h5").write_bytes(weights.HDF5)
    with keras.StatelessScope(initialize_variables=False):
        ours = mobilenet_v2((32, 32, 3), 5, **options)
    given = source if source == "imagenet" else str(tmp_path / source)
    with pytest.raises(ModelError, match=message) as caught:
        imagenet_weights(ours, "mobilenet_v2", given)
    assert str(caught.value).startswith(f"model.weights={given}: ")
    assert "\n" not in str(caught.value)


def test_mobilenets_widths_are_those_that_keras_publishes():
    # Any other is refused by Keras itself, with the list in its message.
    with pytest.raises(ValueError, match="alpha must be one of") as caught:
        keras.applications.MobileNetV2(alpha=0.4)
    told = str(caught.value).partition("Received")[0]
    assert [float(number) for number in re.findall(r"\d\.\d+", told)] == list(weights.ALPHAS)


def test_imagenet_weights_hide_no_mistake_behind_a_download(monkeypatch):
    def build(*_):
        raise TypeError("a mistake of our own")

    monkeypatch.setattr(weights, "_build", build)
    with pytest.raises(TypeError, match="a mistake of our own"):
        imagenet_weights(tiny_mobilenet(), "mobilenet_v2")


@pytest.mark.parametrize("error", [TimeoutError("timed out"), http.client.IncompleteRead(b""), ValueError("a hash")])
def test_imagenet_weights_tell_of_a_line_that_breaks(monkeypatch, error):
    def build(*_):
        raise error

    monkeypatch.setattr(weights, "_build", build)
    with pytest.raises(DataError, match="the ImageNet weights of mobilenet_v2 cannot be had: ") as caught:
        imagenet_weights(tiny_mobilenet(), "mobilenet_v2")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (
            "absent.h5",
            "absent.h5: there is no such file; give imagenet, or the path of a .h5 file of keras.applications",
        ),
        ("best.keras", "best.keras is not a .h5 file of keras.applications.MobileNetV2; give imagenet"),
        ("text.h5", "text.h5 is not a .h5 file of keras.applications.MobileNetV2; give imagenet"),
        ("empty.h5", "empty.h5 is not a .h5 file of keras.applications.MobileNetV2; give imagenet"),
    ],
)
def test_imagenet_weights_of_a_wrong_file_are_an_error_of_one_line(tmp_path, file, message):
    small().save(tmp_path / "best.keras")
    (tmp_path / "text.h5").write_text("no weights")
    (tmp_path / "empty.h5").touch()
    with pytest.raises(DataError, match=message) as caught:
        imagenet_weights(tiny_mobilenet(), "mobilenet_v2", str(tmp_path / file))
    assert "\n" not in str(caught.value)


def test_imagenet_weights_of_another_network_change_nothing(tmp_path):
    # As many layers as the one that is asked for, but narrower.
    saved_mobilenet(tmp_path / "narrow.h5", top=False)
    ours = mobilenet_v2((32, 32, 3), 5, width_multiplier=0.5)
    before = ours.get_weights()
    message = r"narrow.h5 does not hold the weights of mobilenet_v2 \(.+\): give imagenet, or a .h5 file"
    with pytest.raises(DataError, match=message) as caught:
        imagenet_weights(ours, "mobilenet_v2", str(tmp_path / "narrow.h5"))
    assert "\n" not in str(caught.value)
    assert all(map(np.array_equal, before, ours.get_weights()))


def test_as_trained_standardises_by_the_contract_and_tells_of_another_size(caplog):
    bundle = make_bundle(synthetic(channels=3))
    trained = as_trained(bundle, "imagenet", "resnet50")
    assert (trained.mean, trained.deviation) == contract("resnet50")
    assert trained.train is bundle.train
    told = "the published resnet50 was trained on pictures of 224×224, and here they are 32×32: data.image_size=224"
    assert told in caplog.text
    caplog.clear()
    as_trained(replace(bundle, input_shape=(224, 224, 3)), "imagenet", "resnet50")
    assert not caplog.records


def test_as_trained_refuses_pictures_without_colour():
    with pytest.raises(ModelError, match=r"the published resnet50 sees colours, three channels, .* have 1: choose"):
        as_trained(make_bundle(synthetic(channels=1)), "imagenet", "resnet50")


@pytest.mark.parametrize(
    ("variant", "module", "scale"),
    [("densenet121", "densenet", 1.0), ("mobilenet_v2", "mobilenet_v2", 1.0), ("vgg16", "vgg16", None)],
)
def test_contract_is_how_keras_prepares_pictures(variant, module, scale):
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 2, 2, 3)).astype("float32")
    mean, deviation = map(np.array, contract(variant))
    ours = (pixels / 255 - mean) / deviation
    theirs = getattr(keras.applications, module).preprocess_input(pixels.copy())
    if scale is None:
        # "caffe" leaves BGR in [0, 255]: our channels turned round and multiplied by 255 deviations.
        ours = (ours * 255 * deviation)[..., ::-1]
    assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
