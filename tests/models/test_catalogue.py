"""Every network of the catalogue: recounted at its published size, trained and reloaded at its toy size."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml
from checks import check_model, count, draw

from kerasnn.config.signature import signature
from kerasnn.config.strict import START
from kerasnn.errors import ModelError
from kerasnn.models.catalogue import CATALOGUE
from kerasnn.models.heads import main_network
from kerasnn.training.losses import CrossEntropy

CONF = Path(__file__).parents[2] / "conf" / "model"


@pytest.mark.parametrize("name", CATALOGUE)
def test_catalogue_counts_are_the_published(name):
    with keras.StatelessScope(initialize_variables=False):
        model = CATALOGUE[name].build()
    assert count(model.trainable_weights) == CATALOGUE[name].params_published


@pytest.mark.parametrize("name", CATALOGUE)
def test_catalogue_network_trains_and_reloads(name, tmp_path):
    model = CATALOGUE[name].build_toy(num_classes=3)
    assert model.name == name
    answer = main_network(model).output_shape[1:]
    if CATALOGUE[name].num_classes:
        assert answer == (3,)
    else:  # A language model answers at each position with one of its words.
        assert answer == (CATALOGUE[name].smallest[-1], CATALOGUE[name].toy["vocab_size"])
    check_model(model, answer, path=tmp_path / "model.keras")


PICTURES = [name for name, entry in CATALOGUE.items() if len(entry.input_shape) == 3]


@pytest.mark.parametrize("name", [name for name in PICTURES if min(CATALOGUE[name].smallest[:2]) > 1])
def test_catalogue_smallest_input_is_the_smallest(name):
    entry = CATALOGUE[name]
    height, width, channels = entry.smallest
    with pytest.raises(ModelError, match=f"set data.image_size={height}"):
        entry.builder(input_shape=(height - 1, width, channels), num_classes=10, **entry.options)


@pytest.mark.parametrize("name", CATALOGUE)
def test_catalogue_names_author_and_year(name):
    assert str(CATALOGUE[name].year) in CATALOGUE[name].paper


def test_every_model_file_is_in_the_catalogue_and_the_reverse():
    assert sorted(path.stem for path in CONF.glob("*.yaml")) == sorted(CATALOGUE)


@pytest.mark.parametrize("name", CATALOGUE)
def test_model_file_builds_the_network_of_its_name(name):
    text = (CONF / f"{name}.yaml").read_text(encoding="utf-8")
    options = yaml.safe_load(text)
    builder = CATALOGUE[name].builder
    assert options["_target_"] == f"{builder.__module__}.{builder.__name__}"
    kept = {key: value for key, value in options.items() if key not in ("_target_", *START)}
    arguments = signature(options["_target_"]).parameters
    shape = (32, 32, 1) if name in PICTURES else CATALOGUE[name].input_shape
    supplied = {"input_shape": shape, "num_classes": 10, "vocab_size": 100}
    with keras.StatelessScope(initialize_variables=False):
        model = builder(**kept, **{key: value for key, value in supplied.items() if key in arguments})
    assert model.name == name
    assert f"{CATALOGUE[name].params_published:,}" in text  # The header quotes the count.
    assert len(text.splitlines()) <= 8


FAMILIES = {entry.builder: name for name, entry in reversed(CATALOGUE.items())}  # The first row of each.


@pytest.mark.parametrize("name", FAMILIES.values())
def test_family_learns_a_batch_by_heart(name):
    """Eighty steps over the same eight examples: a family whose gradients go astray stays where it began."""
    entry = CATALOGUE[name]
    sides = [max(side, 8) for side in entry.smallest[:-1]] if name in PICTURES else entry.smallest[:-1]
    model = replace(entry, smallest=(*sides, entry.smallest[-1])).build_toy(num_classes=3)
    network = main_network(model)
    shape, answer = (8, *network.input_shape[1:]), network.output_shape[1:]
    tokens = keras.backend.is_int_dtype(network.inputs[0].dtype)
    inputs = np.random.default_rng(1).integers(1, 8, shape, dtype="int32") if tokens else draw(shape)
    labels = np.random.default_rng(2).integers(0, answer[-1], (8, *answer[:-1]))
    model.compile(keras.optimizers.Adam(0.02), CrossEntropy(), jit_compile=False)
    for _ in range(80):
        model.train_on_batch(inputs, labels)
    # Guessing costs the log of the number of answers.
    assert float(model.test_on_batch(inputs, labels)) < 0.7 * np.log(answer[-1])
