"""Our networks against those of keras.applications: the same weights must give the same answers.

Each family by outputs, its other depths by names and shapes, since a hundred more layers of one kind prove no more.
"""

import inspect
import sys

import keras
import numpy as np
import pytest
from keras import ops

from kerasnn.models.catalogue import CATALOGUE
from kerasnn.training.weights import REFERENCES, contract, transfer, weighted

BY_OUTPUT = ("vgg16", "resnet50", "densenet121", "mobilenet_v2", "efficientnet_b0", "convnext_tiny")
BY_SHAPE = sorted(set(REFERENCES) - set(BY_OUTPUT))

SHAPE = (48, 37, 3)  # An even and an odd side, neither a power of two: padding shows in both.
CLASSES = 7


def ours(variant):
    """As for ImageNet: small pictures would else get the small stem."""
    entry = CATALOGUE[variant]
    stem = {"stem": "imagenet"} if "stem" in inspect.signature(entry.builder).parameters else {}
    return entry.builder(input_shape=SHAPE, num_classes=CLASSES, **entry.options, **stem)


def theirs(variant):
    build = getattr(keras.applications, REFERENCES[variant].application)
    return build(weights=None, input_shape=SHAPE, classes=CLASSES, classifier_activation=None)


def as_theirs(variant, pixels):
    """Pixels as their network wants them: by the function that stands beside it, where that is not in the network."""
    module = sys.modules[getattr(keras.applications, REFERENCES[variant].application).__module__]
    return module.preprocess_input(pixels.copy())


def randomise(model, rng):
    """Weights that let the picture through to the answer: kernels of He's variance, scales and variances about 1."""
    for layer in weighted(model):
        if isinstance(layer, keras.layers.Normalization):
            # Part of EfficientNet; ImageNet's statistics stand in the published file.
            mean, deviation = map(np.array, contract("efficientnet_b0"))
            layer.set_weights([mean, deviation**2, np.array(0)])
            layer.finalize_state()
        else:
            values = zip(layer.weights, layer.get_weights(), strict=True)
            layer.set_weights([drawn(layer, weight.name, value.shape, rng) for weight, value in values])


def drawn(layer, name, shape, rng):
    if name in ("gamma", "moving_variance"):
        return rng.uniform(0.5, 1.5, shape)
    if len(shape) == 1:
        return rng.normal(0, 0.1, shape)
    inputs = shape[:2] if isinstance(layer, keras.layers.DepthwiseConv2D) else shape[:-1]
    return rng.normal(0, np.sqrt(2 / np.prod(inputs)), shape)


@pytest.mark.parametrize("variant", BY_OUTPUT)
def test_reference_of_the_family_gives_the_same_answers(variant):
    rng = np.random.default_rng(0)
    published, network = theirs(variant), ours(variant)
    randomise(published, rng)
    report = transfer(published, network, REFERENCES[variant])
    assert not report.skipped
    assert not report.missing
    pixels = rng.uniform(0, 255, (2, *SHAPE)).astype("float32")
    mean, deviation = contract(variant)
    expected = np.array(published(as_theirs(variant, pixels), training=False))
    received = np.array(network((pixels / 255 - mean) / deviation, training=False))
    scale = np.abs(expected).max()
    # The two pictures get different answers, so the pictures, and not the biases alone, are what agrees.
    assert np.ptp(expected, axis=0).max() > 0.01 * scale
    np.testing.assert_allclose(received, expected, rtol=0, atol=1e-4 * scale)
    # And what the published network answers when it is asked, the shares of the classes.
    np.testing.assert_allclose(ops.softmax(received), ops.softmax(expected), rtol=0, atol=1e-4)


@pytest.mark.parametrize("variant", BY_SHAPE)
def test_reference_has_the_names_and_shapes_of_ours(variant):
    with keras.StatelessScope(initialize_variables=False):
        published, network = theirs(variant), ours(variant)
    expected = {layer.name: shapes(layer) for layer in weighted(published)}
    received = {layer.name: shapes(layer) for layer in weighted(network)}
    for name in [layer.name for layer in weighted(published) if isinstance(layer, keras.layers.Normalization)]:
        del expected[name]
    if variant.startswith("resnet"):
        # Their convolutions have biases, which batch normalization takes up; `transfer` moves them there.
        expected = {name: sizes[:1] if name.endswith("_conv") else sizes for name, sizes in expected.items()}
    assert received == expected


def shapes(layer):
    return [tuple(weight.shape) for weight in layer.weights]


def test_reference_is_a_network_of_ours_and_of_theirs():
    assert set(REFERENCES) <= set(CATALOGUE)
    assert all(hasattr(keras.applications, reference.application) for reference in REFERENCES.values())


@pytest.mark.parametrize("variant", [v for v in REFERENCES if v != "mobilenet_v2"])
def test_reference_size_is_the_published(variant):
    assert CATALOGUE[variant].input_shape == (REFERENCES[variant].size, REFERENCES[variant].size, 3)
