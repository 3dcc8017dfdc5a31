"""`kerasnn zoo`: its forms, its numbers, its errors."""

import csv
import io
import json

import pytest

from kerasnn import zoo
from kerasnn.errors import ConfigError
from kerasnn.models.catalogue import CATALOGUE

FEW = ("lenet5", "vgg16", "gpt3")


@pytest.fixture
def few(monkeypatch):
    """A zoo of three, since all together take a while to build."""
    monkeypatch.setattr(zoo, "catalogue", lambda: {name: CATALOGUE[name] for name in FEW})


def answer(capsys, *arguments: str) -> str:
    assert zoo.main(list(arguments)) == 0
    return capsys.readouterr().out


def test_catalogue_is_every_network_by_year():
    entries = zoo.catalogue()
    assert set(CATALOGUE) <= set(entries)
    years = [entry.year for entry in entries.values()]
    assert years == sorted(years)


def test_zoo_fits_80_columns_and_shows_counts_ours_and_published(few, capsys):
    lines = answer(capsys).splitlines()
    assert max(map(len, lines)) <= 80
    (gpt3,) = (line for line in lines if line.startswith("gpt3"))
    assert {"2020", "Brown", "2048", "174,604,259,328", "174.6G"} <= set(gpt3.split())


def test_zoo_json_and_csv_carry_exact_numbers(few, capsys):
    rows = {row["name"]: row for row in json.loads(answer(capsys, "--format", "json"))}
    assert list(rows) == list(FEW)
    vgg16 = rows["vgg16"]
    assert vgg16["year"] == 2014
    assert vgg16["params_trainable"] == vgg16["params_total"] == vgg16["params_published"] == 138_357_544
    assert vgg16["flops"] == 2 * 15_470_264_320
    assert vgg16["input_shape"] == [224, 224, 3]
    table = list(csv.DictReader(io.StringIO(answer(capsys, "--format", "csv"))))
    assert [row["params_trainable"] for row in table] == ["61706", "138357544", "174604259328"]


def test_zoo_markdown_has_a_row_per_network(few, capsys):
    lines = answer(capsys, "--format", "markdown").splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [f"| {name}" for name in FEW]


def test_zoo_card_says_what_is_counted(capsys):
    text = answer(capsys, "gpt3")
    assert "Brown" in text
    assert "175" in text
    assert max(map(len, text.splitlines())) <= 80


def test_zoo_layers_add_up(capsys):
    rows = json.loads(answer(capsys, "lenet5", "--layers", "--format", "json"))
    *layers, total = rows
    assert {row["name"]: row["params"] for row in layers}["c3"] == 2416
    assert total["params"] == sum(row["params"] for row in layers) == 61_706
    assert total["flops"] == sum(row["flops"] for row in layers) == 833_040
    assert max(map(len, answer(capsys, "lenet5", "--layers").splitlines())) <= 80


def test_zoo_layers_of_gpt3_count_175_billion(capsys):
    *layers, total = json.loads(answer(capsys, "gpt3", "--layers", "--format", "json"))
    assert total["params"] == 174_604_259_328
    assert len(layers) > 96  # A block and more for each of its layers.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vg16"], r"unknown network 'vg16': did you mean 'vgg16'\?"),
        (["--layers"], "--layers needs a network: kerasnn zoo vgg16 --layers"),
        (["--format", "jsn"], r"unknown --format 'jsn': did you mean 'json'\?"),
        (["--layer"], r"did you mean '--layers'|ambiguous|--layers needs"),
    ],
)
def test_zoo_mistake_is_one_line(arguments, message):
    with pytest.raises(ConfigError, match=message):
        zoo.main(arguments)
