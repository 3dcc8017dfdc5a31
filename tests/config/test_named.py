"""What a config names and is not there: one line at once, and nothing is left behind."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from kerasnn.config.compose import check
from kerasnn.config.named import check_named, own_data
from kerasnn.config.recipe import Recipe
from kerasnn.errors import DataError

START = """
import sys
from kerasnn.cli import main
code = main(sys.argv[1:])
assert not {"tensorflow", "keras", "mlflow"} & set(sys.modules)
sys.exit(code)
"""


@pytest.mark.parametrize("words", [["model=mlp"], ["-m", "model=mlp", "seed=0,1", "hydra/launcher=kerasnn"]])
def test_data_that_is_not_there_is_told_before_anything_is_imported_or_written(tmp_path, words):
    words += ["data=image_folder", "data.dir=pets"]
    answer = subprocess.run(
        [sys.executable, "-c", START, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 2, answer.stderr
    assert answer.stderr.startswith(
        "kerasnn: data=image_folder: data.dir=pets does not exist, here or in $KERASNN_DATA"
    )
    assert answer.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data=csv", "data.dir=absent.csv"], "data=csv: data.dir=absent.csv does not exist"),
        (["data=text_lm", "data.dir=novel.txt"], "data=text_lm: data.dir=novel.txt does not exist"),
        (["model.weights=absent.h5"], "absent.h5: there is no such file, here or in"),
        (["from=runs/a/best.keras"], "runs/a/best.keras: there is no such file"),
        (["from=mien"], "mien is no run, file or folder: did you mean 'mine'?"),
    ],
)
def test_what_is_not_there_is_one_line(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "result.json").write_text(json.dumps({"name": "mine", "status": "FINISHED"}))
    config = check(["model=mlp", *words])
    with pytest.raises(DataError) as raised:
        check_named([check(["model=mlp"]), config])
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_what_is_there_or_elsewhere_is_not_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERASNN_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "pets").mkdir(parents=True)
    (tmp_path / "data" / "official.h5").touch()
    words = [
        ["data=image_folder", "data.dir=pets", "model.weights=official.h5"],
        ["data=cifar10", "data.dir=absent"],  # It is looked for in other places too, and downloaded.
        ["model.weights=imagenet"],
        ["model.weights=hub:bert_tiny_en_uncased"],
    ]
    check_named([check(["model=mlp", *some]) for some in words])


def test_data_of_a_plug_in_that_must_be_told_where_it_lies_are_the_users_own(tmp_path, monkeypatch):
    (tmp_path / "acme_pets").mkdir()
    (tmp_path / "acme_pets" / "__init__.py").write_text(
        "def pets(dir): ...\ndef toys(dir=None): ...\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    pets, toys = (
        replace(check(["model=mlp"]), data=Recipe(f"acme_pets.{name}", {"dir": "cats"})) for name in ("pets", "toys")
    )
    assert (own_data(pets), own_data(toys)) == ("cats", None)
    check_named([pets])  # Its source may look for them in other places than ours do.
