"""Every family drops maps, blocks and branches, where it has them, by the same options; it is the same without."""

import inspect

import keras
import numpy as np
import pytest
from checks import check_model, draw
from keras import layers
from numpy.testing import assert_allclose

from kerasnn.layers.drop_block import DropBlock2D
from kerasnn.layers.map_dropout import map_dropout
from kerasnn.layers.transformer_block import TransformerBlock
from kerasnn.models.catalogue import CATALOGUE
from kerasnn.models.resnet import resnet, resnet_cifar

# A row of each family with feature maps, and where it drops them: behind each stage, block or pooling.
PLACES = {
    "lenet5": ["s2", "s4"],
    "alexnet": ["pool1", "pool2", "pool5"],
    "vgg11_bn": [f"block{block}" for block in range(1, 6)],
    "googlenet": ["inception_3b", "inception_4e", "inception_5b"],
    "resnet18": [f"conv{stage}" for stage in range(2, 6)],
    "resnet20": [f"conv{stage}" for stage in range(2, 5)],
    "densenet121": [f"conv{block}" for block in range(2, 6)],
    "mobilenet_v2": [f"stage{stage}" for stage in range(1, 8)],
    "efficientnet_b0": [f"block{stage}" for stage in range(1, 8)],
    "convnext_tiny": [f"convnext_tiny_stage_{stage}" for stage in range(4)],
}
WORDS = ("transformer_small", "bert", "gpt")
RESIDUAL = ("resnet18", "resnet20", "mobilenet_v2", "efficientnet_b0", "convnext_tiny", "vit_tiny", *WORDS)
BARE = ("perceptron", "lenet5_1998")  # No hidden unit to drop, and the paper's own, which had none dropped.


def toy(name, **options):
    entry = CATALOGUE[name]
    return entry.builder(input_shape=entry.smallest, num_classes=10, **entry.options, **entry.toy, **options)


def options_of(entry):
    return set(inspect.signature(entry.builder).parameters)


def test_every_family_offers_dropout_and_every_one_with_maps_the_rest():
    without = {name for name, entry in CATALOGUE.items() if "dropout" not in options_of(entry)}
    assert without == set(BARE)
    builders = {entry.builder for entry in CATALOGUE.values() if {"spatial_dropout", "drop_block"} <= options_of(entry)}
    assert builders == {CATALOGUE[name].builder for name in PLACES}
    residual = {entry.builder for entry in CATALOGUE.values() if "stochastic_depth_rate" in options_of(entry)}
    assert residual == {CATALOGUE[name].builder for name in RESIDUAL}


@pytest.mark.parametrize("name", PLACES)
def test_maps_are_dropped_behind_each_stage_and_weights_keep_their_names(name):
    with keras.StatelessScope(initialize_variables=False):
        plain, dropping = toy(name), toy(name, spatial_dropout=0.1, drop_block=0.2)
    # In pairs, in the order of computation: whole maps, then blocks.
    assert [layer.name for layer in dropping.layers if isinstance(layer, DropBlock2D)] == [
        f"{place}_drop_block" for place in PLACES[name]
    ]
    whole = [layer for layer in dropping.layers if layer.name.endswith("_spatial_dropout")]
    assert [layer.name for layer in whole] == [f"{place}_spatial_dropout" for place in PLACES[name]]
    assert {(layer.rate, layer.noise_shape) for layer in whole} == {(0.1, (None, 1, 1, None))}
    paths = [[(weight.path, weight.shape) for weight in model.weights] for model in (plain, dropping)]
    assert paths[0] == paths[1]
    assert not any("spatial_dropout" in layer.name or "drop_block" in layer.name for layer in plain.layers)


@pytest.mark.parametrize("name", ["vgg11_bn", "resnet20"])
def test_network_with_everything_dropped_trains_and_reloads(name, tmp_path):
    further = {"stochastic_depth_rate": 0.3} if name == "resnet20" else {}
    check_model(toy(name, spatial_dropout=0.1, drop_block=0.1, **further), (10,), tmp_path / "model.keras")


def test_spatial_dropout_takes_whole_maps_and_scales_the_others():
    # A share of a half: each map is either gone or doubled.
    inputs = keras.Input((3, 3, 200))
    model = keras.Model(inputs, map_dropout(spatial_dropout=0.5)(inputs, "maps"))
    output = np.array(model(np.ones((2, 3, 3, 200), "float32"), training=True))
    maps = output.reshape(2, 9, 200)
    assert set(np.unique(maps)) == {0.0, 2.0}
    assert (maps == maps[:, :1]).all()
    assert 140 < (maps[:, 0] == 0).sum() < 260  # 400 draws of a half: 200 ± 6 deviations of 10.


def test_stochastic_depth_grows_towards_the_last_block():
    # Three stages of three blocks at 0.8: block k of 0 … 8 is left out at 0.8 × k / 8; the first never is.
    with keras.StatelessScope(initialize_variables=False):
        model = resnet_cifar("resnet20", (8, 8, 3), 10, stochastic_depth_rate=0.8)
    found = [layer for layer in model.layers if layer.name.endswith("_stochastic_depth")]
    assert [layer.name.removesuffix("_stochastic_depth") for layer in found] == [
        f"conv{stage}_block{block}" for stage in (2, 3, 4) for block in (1, 2, 3)
    ][1:]
    assert_allclose([layer.rate for layer in found], np.arange(1, 9) / 10)


def test_stochastic_depth_leaves_out_the_branch_of_an_example_as_a_whole():
    # The last block of the last stage at a rate of a half: it adds nothing to the shortcut, or twice the branch.
    model = resnet("resnet18", (8, 8, 3), 3, depths=(1, 1, 1, 2), widths=(4, 4, 8, 8), stochastic_depth_rate=0.5)
    names = ("conv5_block1_out", "conv5_block2_2_bn", "conv5_block2_stochastic_depth", "conv5_block2_add")
    ends = keras.Model(model.input, [model.get_layer(name).output for name in names])
    shortcut, branch, dropped, added = (np.array(x) for x in ends(draw((64, 8, 8, 3)), training=True))
    gone = (dropped == 0).all(axis=(1, 2, 3))
    assert 8 < gone.sum() < 56
    assert_allclose(dropped[~gone], 2 * branch[~gone], rtol=1e-5, atol=1e-6)
    assert_allclose(added[gone], shortcut[gone], rtol=1e-6)


def test_mobilenet_leaves_out_only_branches_that_are_added():
    # 17 blocks at 0.16: block k is left out at 0.01 k where it is added, which the first of a stage never is.
    with keras.StatelessScope(initialize_variables=False):
        model = CATALOGUE["mobilenet_v2"].builder((32, 32, 3), 10, stochastic_depth_rate=0.16)
    rates = {
        layer.name: layer.rate
        for layer in model.layers
        if isinstance(layer, layers.Dropout) and layer.name.endswith("_stochastic_depth")
    }
    added = (2, 4, 5, 7, 8, 9, 11, 12, 14, 15)
    assert rates == pytest.approx({f"block_{number}_stochastic_depth": number / 100 for number in added})


def tiny(name, **options):
    """A network of words of 5 layers, or 5 of encoder and 5 of decoder, that drops nothing else."""
    entry = CATALOGUE[name]
    sizes = entry.options | entry.toy | {"depth": 5, "dropout": 0.0}
    return entry.builder(input_shape=(2, 6) if name == "transformer_small" else (6,), **sizes, **options)


@pytest.mark.parametrize("name", WORDS)
def test_networks_of_words_leave_out_the_branches_of_later_layers_more_often(name):
    with keras.StatelessScope(initialize_variables=False):
        plain, dropping = tiny(name), tiny(name, stochastic_depth_rate=0.4)
    rates = [
        [layer.stochastic_depth_rate for layer in model.layers if isinstance(layer, TransformerBlock)]
        for model in (plain, dropping)
    ]
    # Layer k of 0 … 4 at 0.4 × k / 4; the encoder's and the decoder's each count from their own first.
    stacks = 2 if name == "transformer_small" else 1
    assert_allclose(rates, [[0.0] * 5 * stacks, [0.0, 0.1, 0.2, 0.3, 0.4] * stacks])
    paths = [[(weight.path, weight.shape) for weight in model.weights] for model in (plain, dropping)]
    assert paths[0] == paths[1]
    # Nothing is drawn without it: not even a seed is held.
    assert len(plain.variables) == len(plain.weights)


@pytest.mark.parametrize("architecture", ["encoder", "decoder"])
def test_halves_of_the_transformer_leave_out_branches_too(architecture):
    with keras.StatelessScope(initialize_variables=False):
        model = CATALOGUE["transformer_small"].builder(
            "transformer_small", (6,), 11, 3, architecture, depth=3, stochastic_depth_rate=0.2
        )
    rates = {layer.name: layer.stochastic_depth_rate for layer in model.layers if isinstance(layer, TransformerBlock)}
    assert rates == pytest.approx({f"{architecture}_block{number}": (number - 1) / 10 for number in (1, 2, 3)})


@pytest.mark.parametrize("name", WORDS)
def test_network_of_words_that_leaves_out_branches_trains_and_reloads(name, tmp_path):
    entry = CATALOGUE[name]
    sizes = entry.options | entry.toy | {"depth": 2, "stochastic_depth_rate": 0.2}
    shape, answer = {"transformer_small": ((2, 6), (6, 11)), "bert": ((6,), (2,)), "gpt": ((6,), (6, 11))}[name]
    check_model(entry.builder(input_shape=shape, **sizes), answer, tmp_path / "model.keras")
