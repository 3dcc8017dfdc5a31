"""One harness per kind of thing: every layer goes through `check_layer`, every network through `check_model`."""

import math
import re

import keras
import numpy as np
from keras import ops
from numpy.testing import assert_allclose

from kerasnn.models.heads import main_network

MAY_STAY = {
    r"/key/bias$": "it adds the same to every score of a query, which a softmax does not see",
    r"^vgg\d\d_bn/block\d_conv\d/bias$": "batch normalization takes a bias before it off again, with the mean",
    r"^mobilenet_v2/.+_project_BN/beta$": "a linear layer hands it to the next batch normalization, which takes it off",
    r"^efficientnet_b\d/block.+_project_bn/beta$": "as in mobilenet_v2",
    r"^convnext_tiny/.+_block_\d_(depthwise_conv|layernorm|pointwise_conv_\d)/": "layer scale makes its branch a "
    "millionth as loud at the start, so what a step changes is rounded away; test_convnext.py takes a scale of 1",
}
"""Weights that one step may leave where they are, by network and path, and why; every other one must move."""


def draw(shape, seed=0):
    """Standard normal float32 numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def count(weights):
    """How many numbers the weights hold."""
    return sum(math.prod(weight.shape) for weight in weights)


def check_layer(kind, options, input_shape, output_shape, trainable=0, non_trainable=0, path="layer.keras"):
    """Build, shapes, weight counts, config, mixed precision, a training step, save and load of one layer.

    Args:
        kind: the layer's class.
        options: its arguments.
        input_shape: of a batch, such as `(2, 8, 8, 3)`.
        output_shape: expected, likewise.
        trainable: expected number of trainable weights (numbers, not tensors).
        non_trainable: expected number of the others.
        path: where to save a model of this layer; give a file in `tmp_path`.
    """
    inputs = draw(input_shape)
    layer = kind(**options)
    outputs = layer(inputs)
    assert outputs.shape == output_shape
    assert layer.compute_output_shape(input_shape) == output_shape
    assert count(layer.trainable_weights) == trainable
    assert count(layer.non_trainable_weights) == non_trainable

    twin = kind.from_config(layer.get_config())
    assert twin.get_config() == layer.get_config()
    twin.build(input_shape)
    twin.set_weights(layer.get_weights())
    assert_allclose(twin(inputs), outputs, rtol=1e-6)

    for policy in ("mixed_bfloat16", "mixed_float16"):
        mixed = kind(**options, dtype=policy)
        half = mixed(ops.cast(inputs, policy.removeprefix("mixed_")))
        assert keras.backend.standardize_dtype(half.dtype) == policy.removeprefix("mixed_")
        assert all(weight.dtype == "float32" for weight in mixed.weights)
        mixed.set_weights(layer.get_weights())
        half = mixed(ops.cast(inputs, policy.removeprefix("mixed_")))
        assert_allclose(ops.cast(half, "float32"), outputs, rtol=0.05, atol=0.05 * float(ops.max(ops.abs(outputs))))

    # The dense layer in front has weights to move, so a layer without any still shows that gradients pass through it.
    entrance = keras.Input(input_shape[1:])
    symbolic = kind(**options)(keras.layers.Dense(input_shape[-1])(entrance))
    assert symbolic.shape == (None, *output_shape[1:])
    model = keras.Model(entrance, symbolic)
    # Drawn, since zeros would not do: the squares of a normalized output add up to the same, whatever the weights.
    _check_step_and_reload(model, inputs, draw(output_shape, seed=1), "mse", path)


def check_model(model, answer, path="model.keras", may_stay=MAY_STAY):
    """One training step, which moves every weight, then save and load, with equal answers.

    Args:
        model: a network of pictures or of tokens, from `input_shape` to logits.
        answer: expected shape of the logits of one example.
        path: where to save it; give a file in `tmp_path`.
        may_stay: the weights that the step may leave where they are, as in `MAY_STAY`.
    """
    network = main_network(model)
    assert network.output_shape == (None, *answer)
    assert network.layers[-1].name == "predictions"
    shape = (4, *network.input_shape[1:])
    tokens = keras.backend.is_int_dtype(network.inputs[0].dtype)
    inputs = np.random.default_rng(0).integers(1, 8, shape, dtype="int32") if tokens else draw(shape)
    labels = np.arange(4 * math.prod(answer[:-1]), dtype="int32").reshape(4, *answer[:-1]) % answer[-1]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    _check_step_and_reload(model, inputs, labels, loss, path, may_stay)


def _check_step_and_reload(model, inputs, targets, loss, path, may_stay=MAY_STAY):
    model.compile(keras.optimizers.SGD(0.01), loss, jit_compile=False)
    before = [weight.numpy() for weight in model.trainable_weights]
    assert np.isfinite(model.train_on_batch(inputs, targets))
    stayed = [
        f"{model.name}/{weight.path}"
        for old, weight in zip(before, model.trainable_weights, strict=True)
        if np.array_equal(old, weight.numpy())
    ]
    unexplained = [path for path in stayed if not any(re.search(pattern, path) for pattern in may_stay)]
    assert not unexplained, f"a training step left these where they were: {', '.join(unexplained)}"
    model.save(path)
    reloaded = keras.models.load_model(path)
    assert reloaded.name == model.name
    assert_allclose(reloaded.predict_on_batch(inputs), model.predict_on_batch(inputs), rtol=1e-6, atol=1e-7)
