"""Weights from runs, files and presets: what moves, what is kept out, and one line for what cannot be meant."""

import json
import os
import zipfile

import keras
import numpy as np
import pytest
from checks import draw
from numpy.testing import assert_allclose

from kerasnn.data.bundle import make_bundle
from kerasnn.data.stream import batch_at
from kerasnn.data.synthetic import synthetic
from kerasnn.errors import DataError, ModelError
from kerasnn.models.bert import bert
from kerasnn.models.mlp import mlp
from kerasnn.models.mobilenet import mobilenet_v2
from kerasnn.models.resnet import resnet_cifar
from kerasnn.models.vit import vit
from kerasnn.training.contract import Contract
from kerasnn.training.record import contract
from kerasnn.training.sources import by_name, open_start

NAMES = ("cat", "dog", "owl")


def network(num_classes=3, filters=4):
    return resnet_cifar("resnet20", (16, 16, 3), num_classes, depth=1, widths=(filters, filters, filters))


def randomised(model, seed=0):
    rng = np.random.default_rng(seed)
    model.set_weights([rng.uniform(0.5, 1.5, value.shape) for value in model.get_weights()])
    return model


def run_folder(folder, model, **facts):
    """What a run leaves of itself, as far as a source of weights reads it."""
    (folder / "checkpoints").mkdir(parents=True)
    model.save(folder / "checkpoints" / "best.keras")
    result = {"name": model.name, "run_id": "0" * 32, "choices": {"model": model.name}, "facts": facts}
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "config.yaml").write_text(json.dumps({"model": {"variant": model.name}}))
    return folder


def kept(model, before):
    return all(map(np.array_equal, before, model.get_weights()))


def test_by_name_moves_everything_of_the_same_network():
    theirs, ours = randomised(network()), network()
    report = by_name(theirs, ours, "run a")
    assert not report.skipped
    assert not report.missing
    pictures = draw((2, 16, 16, 3))
    assert_allclose(ours(pictures), theirs(pictures), rtol=1e-6)


def test_by_name_replaces_a_head_of_other_classes_and_keeps_one_of_the_same():
    theirs = randomised(network())
    other = network(5)
    report = by_name(theirs, other, "run a")
    assert report.skipped == {"predictions": "(4, 3) is not (4, 5)"}
    same = network()
    before = same.get_layer("predictions").get_weights()
    report = by_name(theirs, same, "run a", other_classes=True)
    assert report.skipped == {"predictions": "other classes"}
    assert all(map(np.array_equal, before, same.get_layer("predictions").get_weights()))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        # No layer of the perceptrons but the head is called as one of the residual network.
        (
            lambda: mlp((16, 16, 3), 3, hidden_widths=(8, 6)),
            r"another network \(resnet20\): 0 of 2 layers of mlp below its head fit",
        ),
        # Twice as wide: no kernel and no normalization fits, but for none.
        (lambda: network(filters=8), "0 of 14 layers of resnet20 below its head fit, and nothing was loaded; build"),
    ],
)
def test_by_name_refuses_another_network_and_changes_nothing(build, message):
    ours = build()
    before = ours.get_weights()
    with pytest.raises(ModelError, match=message):
        by_name(randomised(network()), ours, "run a")
    assert kept(ours, before)


def test_by_name_adds_an_update_of_low_rank_to_its_kernel():
    theirs, ours = (mlp((4, 4, 1), 3, hidden_widths=(8,)) for _ in range(2))
    theirs.get_layer("hidden1").enable_lora(2)
    randomised(theirs)
    by_name(theirs, ours, "run a")
    pictures = draw((2, 4, 4, 1))
    assert_allclose(ours(pictures), theirs(pictures), rtol=1e-5)


def test_by_name_moves_the_table_of_words_between_heads():
    # The head of masked words has a number per word beside the table, the others have not.
    def build(head):
        return bert("bert", (6,), 20, head=head, depth=1, width=8, num_heads=2, hidden_dim=8)

    theirs, ours = randomised(build("masked_words")), build("classes")
    report = by_name(theirs, ours, "run a")
    assert (report.skipped, report.missing) == ({}, ("pooled_dense", "predictions"))
    table, numbers = theirs.get_layer("token_embedding").get_weights()
    assert_allclose(ours.get_layer("token_embedding").get_weights(), [table])
    back = build("masked_words")
    own = back.get_layer("token_embedding").get_weights()[1]
    by_name(ours, back, "run b")
    assert_allclose(back.get_layer("token_embedding").get_weights()[0], table)
    assert_allclose(back.get_layer("token_embedding").get_weights()[1], own)
    assert not np.array_equal(own, numbers)


def test_by_name_takes_the_first_positions_of_longer_texts_alone():
    def build(length):
        return bert("bert", (length,), 20, depth=1, width=8, num_heads=2, hidden_dim=8)

    theirs, short = randomised(build(8)), build(5)
    assert not by_name(theirs, short, "run a").skipped
    table = theirs.get_layer("position_embedding").get_weights()[0]
    assert np.array_equal(short.get_layer("position_embedding").get_weights()[0], table[:5])
    # Nobody has learned what stands further on; and a picture's patches lie in rows and columns.
    assert by_name(theirs, build(9), "run a").skipped == {"position_embedding": "(8, 8) is not (9, 8)"}
    wide, narrow = (vit("vit_tiny", (4, side, 3), 3, depth=1, width=6, num_heads=3) for side in (12, 8))
    assert by_name(wide, narrow, "run b").skipped == {"positions": "(4, 6) is not (3, 6)"}


@pytest.mark.parametrize("named", ["folder", "file"])
def test_a_run_gives_its_weights_its_contract_and_its_classes(tmp_path, named):
    theirs = randomised(network())
    facts = {"mean": [0.1, 0.2, 0.3], "deviation": [0.5, 0.5, 0.25], "input_shape": [16, 16, 3], "class_names": NAMES}
    folder = run_folder(tmp_path / "run", theirs, **facts)
    start = open_start(str(folder if named == "folder" else folder / "checkpoints" / "best.keras"), "resnet20")
    bundle = start.apply(make_bundle(synthetic(channels=3)))
    assert (bundle.mean, bundle.deviation) == ((0.1, 0.2, 0.3), (0.5, 0.5, 0.25))
    assert not start.load(network(), NAMES).skipped
    assert start.load(network(), ("x", "y", "z")).skipped == {"predictions": "other classes"}


@pytest.mark.parametrize(("examples", "warned"), [(200, False), (300, True)])
def test_run_that_was_tested_on_other_examples_of_the_same_data_is_a_warning(tmp_path, caplog, examples, warned):
    theirs = make_bundle(synthetic(examples=200))  # Of which the last fifth are the test split.
    folder = run_folder(tmp_path / "run", network(), **contract(theirs))
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(result | {"hashes": theirs.hashes}))
    start = open_start(str(folder), "resnet20")
    bundle = start.apply(make_bundle(synthetic(examples=examples)))
    start.check(bundle, np.array(batch_at(bundle, seed=0, batch_size=8, epoch=0, step=0)[0]), {})
    assert (f"{start.label} was trained on this data too (synthetic)" in caplog.text) == warned


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_head_of_unknown_classes_is_kept_with_a_word(tmp_path, caplog, suffix):
    theirs, same = randomised(network()), network()
    (theirs.save if suffix == ".keras" else theirs.save_weights)(tmp_path / f"a{suffix}")
    assert not open_start(str(tmp_path / f"a{suffix}"), "resnet20").load(same, NAMES).skipped
    assert f"a{suffix} does not say what its classes are: its head is kept" in caplog.text
    caplog.clear()
    open_start(str(tmp_path / f"a{suffix}"), "resnet20").load(network(5), "abcde")
    assert not caplog.text


def test_weights_file_fills_all_but_another_head(tmp_path):
    theirs, ours = randomised(network()), network(5)
    theirs.save_weights(tmp_path / "a.weights.h5")
    report = open_start(str(tmp_path / "a.weights.h5"), "resnet20").load(ours, NAMES)
    assert (report.skipped, report.missing) == ({"predictions": "(4, 3) is not (4, 5)"}, ())
    assert_allclose(ours.get_layer("conv1_conv").get_weights(), theirs.get_layer("conv1_conv").get_weights())


@pytest.mark.parametrize("name", ["a.keras", "a.weights.h5", "text.keras", "text.weights.h5", "absent.keras"])
def test_file_that_is_not_this_network_is_one_line_and_changes_nothing(tmp_path, name):
    other = mlp((16, 16, 3), 3, hidden_widths=(8, 6))
    other.save(tmp_path / "a.keras")
    other.save_weights(tmp_path / "a.weights.h5")
    (tmp_path / f"text{name.removeprefix('text')}").write_text("no model")
    ours = network()
    before = ours.get_weights()
    with pytest.raises((DataError, ModelError)) as caught:
        open_start(str(tmp_path / name), "resnet20").load(ours, NAMES)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)
    assert kept(ours, before)


def test_lambda_layer_is_refused_and_never_run(tmp_path):
    trap = str(tmp_path / "sprung")
    picture = keras.Input((16, 16, 3))
    x = keras.layers.Lambda(lambda x: (__import__("os").mkdir(trap), x)[1], output_shape=(16, 16, 3))(picture)
    keras.Model(picture, network()(x)).save(tmp_path / "evil.keras")
    keras.saving.load_model(tmp_path / "evil.keras", safe_mode=False)(draw((1, 16, 16, 3)))
    os.rmdir(trap)  # It was sprung: whoever trusts the file runs its code.
    with pytest.raises(DataError, match=r"evil.keras is refused: it holds a Lambda layer, which is code of whoever"):
        open_start(str(tmp_path / "evil.keras"), "resnet20").load(network(), NAMES)
    assert not os.path.exists(trap)


def test_class_of_a_foreign_package_is_refused(tmp_path):
    described = {"module": "os", "class_name": "system", "config": {"command": "true"}, "registered_name": None}
    with zipfile.ZipFile(tmp_path / "evil.keras", "w") as archive:
        archive.writestr("config.json", json.dumps({"config": {"layers": [described]}}))
    with pytest.raises(DataError, match="evil.keras is refused: it names system of os, no class of Keras'"):
        open_start(str(tmp_path / "evil.keras"), "resnet20").load(network(), NAMES)


def test_official_weights_come_through_the_same_door(shared_data, monkeypatch):
    monkeypatch.setenv("KERASNN_DATA", str(shared_data))  # Where `from=weights/…` is found too.
    file = "weights/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"
    start = open_start(file, "mobilenet_v2")
    assert start.apply(make_bundle(synthetic(channels=3))).mean == (0.5, 0.5, 0.5)
    assert start.contract == Contract((0.5,) * 3, (0.5,) * 3, (224, 224, 3))
    report = start.load(mobilenet_v2((32, 32, 3), 10, width_multiplier=0.35), NAMES)
    assert report.missing == ("predictions",)
