"""Runs as places to start from: by id, name, folder and file, from disk and from the store."""

import json
import shutil

import keras
import numpy as np
import pytest

from kerasnn.errors import DataError
from kerasnn.tracking import runs

FACTS = {"mean": [0.25], "deviation": [0.5], "input_shape": [8, 8, 1], "class_names": ["a", "b"]}


def leave(folder, name, run_id, model=b"model"):
    """What a run leaves of itself; `model` None where it ended before its first epoch did."""
    folder.mkdir(parents=True)
    result = {"name": name, "run_id": run_id, "choices": {"model": name}, "facts": FACTS}
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "config.yaml").write_text("model:\n  variant: x\n  depth: 3\n")
    if model:
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "best.keras").write_bytes(model)
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with three runs, two of one name, and no store."""
    monkeypatch.chdir(tmp_path)
    leave(tmp_path / "runs/day/1-vgg16", "vgg16", "abcdef0" + "1" * 25)
    leave(tmp_path / "runs/day/2-sweep/0", "lenet5", "abcdef0" + "2" * 25)
    leave(tmp_path / "runs/day/2-sweep/1", "lenet5", None)
    return tmp_path


@pytest.mark.parametrize(
    "named",
    ["vgg16", "abcdef0" + "1" * 25, "abcdef01", "runs/day/1-vgg16", "runs/day/1-vgg16/checkpoints/best.keras"],
)
def test_find_takes_every_way_to_say_it(place, named):
    (place / "runs/day/1-vgg16/tokenizer.json").write_text("words")
    start = runs.find(named)
    assert start.model.read_bytes() == b"model"
    assert start.tokenizer == "words"
    assert (start.choice, start.network, start.facts) == ("vgg16", {"variant": "x", "depth": 3}, FACTS)
    assert "vgg16 (abcdef0)" in start.label


def test_find_knows_a_run_that_was_killed_by_the_id_that_its_record_noted(place):
    # Its process wrote no last result, in which the id would stand.
    folder = leave(place / "runs/day/3-mlp", "mlp", None)
    (folder / "tracking.state").write_text(json.dumps({"run_id": "3f2a91c0", "status": "RUNNING"}))
    assert runs.find("3f2a91c").model == folder / "checkpoints/best.keras"


def test_find_takes_a_file_that_no_run_left(place):
    (place / "far.keras").write_bytes(b"far")
    start = runs.find("far.keras")
    assert (start.label, start.choice, start.facts) == ("far.keras", None, {})


def test_find_reads_a_damaged_record_as_none(place):
    (place / "runs/day/1-vgg16/result.json").write_text("{")
    with pytest.raises(DataError, match="vgg16 is no run, file or folder"):
        runs.find("vgg16")


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("vgg61", "vgg61 is no run, file or folder: did you mean 'vgg16'? python -m kerasnn compare lists them"),
        ("qqqqqq", "qqqqqq is no run, file or folder: python -m kerasnn compare lists them"),
        (
            "lenet5",
            "lenet5 fits 2 runs: give the id or the folder of one, such as abcdef02222222222222222222222222, ru",
        ),
        ("abcdef0", "abcdef0 fits 2 runs: give the id or the folder of one"),
        ("abcdef", "abcdef is no run, file or folder"),  # Too short to be the beginning of an id.
        ("best.keras", "best.keras: there is no such file"),
    ],
)
def test_find_says_in_one_line_what_cannot_be_meant(place, named, message):
    with pytest.raises(DataError) as caught:
        runs.find(named)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_find_says_that_a_run_kept_no_model(place):
    leave(place / "runs/day/3-mlp", "mlp", "9" * 32, model=None)
    with pytest.raises(DataError, match=r"3-mlp has no checkpoints/best.keras: the run ended before its first epoch"):
        runs.find("mlp")


def test_what_the_store_refuses_is_one_line():
    with pytest.raises(DataError, match="^sqlite:///x.db does not give out models:/a/2: there is no such version$"):
        runs._ask(
            ["-c", "print('a'); raise SystemExit('long\\nthere is no such version')", "models:/a/2", "x"],
            "sqlite:///x.db",
        )


def test_find_fetches_what_only_the_store_has(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inputs = keras.Input((8, 8, 1))
    network = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)), name="mlp")
    tracker = store.start("afar", {"model": "mlp"})
    leave(tracker.run_dir / "left", "afar", None)
    path = tracker.run_dir / "best.keras"
    network.save(path)
    for name in ("result.json", "config.yaml"):
        shutil.move(tracker.run_dir / "left" / name, tracker.run_dir / name)
        tracker.artifact(tracker.run_dir / name)
    pictures = np.ones((2, 8, 8, 1), "float32")
    tracker.model(path, pictures, np.array(network(pictures)), {"mean": [0.25], "tokenizer": '{"words": 1}'})
    run_id = tracker.finish()
    start = runs.find("afar", store.uri)
    assert (start.choice, start.network["depth"], start.facts) == ("afar", 3, FACTS)
    assert start.label == f"run afar ({run_id[:7]})"
    assert start.tokenizer == '{"words": 1}'
    assert np.array_equal(keras.saving.load_model(start.model)(pictures), network(pictures))
    assert runs.find(run_id[:8], "sqlite:///nowhere.db").model == start.model  # From now on it lies on disk.
    with pytest.raises(DataError, match="afra is no run, file or folder: did you mean 'afar'"):
        runs.find("afra", store.uri)
    store.client.create_registered_model("best-one")
    store.client.create_model_version("best-one", f"runs:/{run_id}/model", run_id)
    assert runs.find("models:/best-one/1", store.uri).facts == FACTS
