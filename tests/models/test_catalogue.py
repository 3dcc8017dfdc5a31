"""Every network of the catalogue: recounted at its published size, trained and reloaded at its toy size."""

from pathlib import Path

import keras
import pytest
import yaml
from checks import check_model, count

from kerasnn.config.signature import signature
from kerasnn.config.strict import START
from kerasnn.errors import ModelError
from kerasnn.models.catalogue import CATALOGUE
from kerasnn.models.heads import main_network

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
