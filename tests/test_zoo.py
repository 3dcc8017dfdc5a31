"""`kerasnn zoo`: its forms, its numbers, its errors."""

import csv
import io
import json
import subprocess
import sys
from functools import cache
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

from kerasnn import zoo
from kerasnn.errors import ConfigError
from kerasnn.models.catalogue import CATALOGUE

FEW = ("lenet5", "vgg16", "transformer_small", "gpt3", "vit_base")  # The longest name, count and author among them.


@pytest.fixture
def few(monkeypatch):
    """A zoo of five, each counted once for all the forms, since all together take a while to build."""
    monkeypatch.setattr(zoo, "catalogue", lambda: {name: CATALOGUE[name] for name in FEW})
    monkeypatch.setattr(zoo, "row", lambda name, entry: counted(name))


@cache
def counted(name, row=zoo.row):
    return row(name, CATALOGUE[name])


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
    assert "…" not in "".join(lines)
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
    assert [row["params_trainable"] for row in table][:2] == ["61706", "138357544"]


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


def test_zoo_of_all_networks_is_light(root):
    """Every row, in a process of its own: below 1.5 GB and 30 s, TensorFlow's import and GPT-3 included.

    The seconds are the processor's, which another test's load does not stretch; the wall clock's are fewer or as many.
    """
    script = (
        "import sys, time; from kerasnn.cli import main; main(['zoo', '--format', 'json']);"
        "from kerasnn.analysis.cost import peak_memory_mb as peak; print(peak(), time.process_time(), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=root, check=True)
    rows = json.loads(done.stdout)
    assert {row["name"] for row in rows} >= set(CATALOGUE)
    assert all(row["params_trainable"] == row["params_published"] and row["flops"] > 0 for row in rows)
    megabytes, seconds = map(float, done.stderr.split()[-2:])
    assert megabytes < 1500
    assert seconds < 30


@pytest.fixture
def stranger(monkeypatch):
    """A plug-in of a module `stranger`, whose list of networks the test sets."""
    package, module = ModuleType("stranger"), ModuleType("stranger.catalogue")
    module.__spec__ = package.__spec__ = ModuleSpec("stranger", None)
    package.__path__ = []
    monkeypatch.setitem(sys.modules, "stranger", package)
    monkeypatch.setitem(sys.modules, "stranger.catalogue", module)
    monkeypatch.setattr(zoo, "plugin_packages", lambda: ["stranger"])
    return module


def test_zoo_shows_the_networks_of_plugins(stranger):
    stranger.CATALOGUE = {"stray": CATALOGUE["mlp"]}
    assert zoo.catalogue()["stray"] is CATALOGUE["mlp"]


def test_zoo_leaves_out_a_plugin_that_takes_a_name(stranger, caplog):
    stranger.CATALOGUE = {"vgg16": CATALOGUE["mlp"], "stray": CATALOGUE["mlp"]}
    entries = zoo.catalogue()
    assert entries["vgg16"] is CATALOGUE["vgg16"]
    assert "stray" not in entries
    assert "the catalogue of the plug-in stranger is left out: there is a vgg16 already" in caplog.text


def test_zoo_survives_a_plugin_without_a_list(stranger, caplog):
    assert set(zoo.catalogue()) == set(CATALOGUE)
    assert "stranger cannot be read (AttributeError" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vg16"], r"unknown network 'vg16': did you mean 'vgg16'\?"),
        (["--layers"], "--layers needs a network: kerasnn zoo vgg16 --layers"),
        (["--format", "jsn"], r"unknown --format 'jsn': did you mean 'json'\?"),
        (["--lyers"], r"unrecognized arguments: --lyers: did you mean '--layers'\?"),
    ],
)
def test_zoo_mistake_is_one_line(arguments, message):
    with pytest.raises(ConfigError, match=message):
        zoo.main(arguments)
