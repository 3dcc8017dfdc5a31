"""Every network of the catalogue: recounted at its published size, trained and reloaded at its toy size."""

from pathlib import Path

import keras
import pytest
import yaml
from checks import check_model, count

from kerasnn.errors import ModelError
from kerasnn.models.catalogue import CATALOGUE

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
    check_model(model, num_classes=3, path=tmp_path / "model.keras")


@pytest.mark.parametrize("name", [name for name in CATALOGUE if min(CATALOGUE[name].smallest[:2]) > 1])
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
    assert options.pop("_target_") == f"{builder.__module__}.{builder.__name__}"
    with keras.StatelessScope(initialize_variables=False):
        model = builder(**options, input_shape=(32, 32, 1), num_classes=10)
    assert model.name == name
    assert f"{CATALOGUE[name].params_published:,}" in text  # The header quotes the count.
    assert len(text.splitlines()) <= 7
