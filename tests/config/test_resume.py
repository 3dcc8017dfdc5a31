"""`resume=`: which run is meant, what of it holds, and what may not be changed."""

import json
import math
import os
from functools import cache

import pytest

from kerasnn.config.compose import compose
from kerasnn.config.resume import begun_again, reached_before, resumed
from kerasnn.errors import ConfigError
from kerasnn.tracking.folders import held

composed = cache(lambda words: compose(words))

WORDS = ["model=mlp", "++model.hidden_widths=[8]", "++trainer.epochs=3"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder `runs` with a run that was killed and, newer, one that is finished."""
    monkeypatch.chdir(tmp_path)
    leave(tmp_path / "runs" / "killed", "mine", "KILLED", run_id="3f2a91c0", age=1)
    leave(tmp_path / "runs" / "done", "done", "FINISHED", run_id="77777777", age=0)
    return tmp_path / "runs"


def leave(folder, name, status, words=WORDS, run_id=None, age=0):
    """What a run of these overrides leaves behind, so many seconds ago."""
    (folder / ".hydra").mkdir(parents=True)
    config = composed(tuple(words))
    result = {"name": name, "status": status, "digest": config.digest, "run_id": run_id}
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    (folder / "config.yaml").write_text(config.yaml, encoding="utf-8")
    os.utime(folder / "config.yaml", (1e9 - age, 1e9 - age))
    (folder / ".hydra" / "overrides.yaml").write_text(json.dumps([*words, "++resume=auto"]), encoding="utf-8")
    (folder / ".hydra" / "hydra.yaml").write_text("hydra: {overrides: {hydra: []}}\n", encoding="utf-8")


@pytest.mark.parametrize("named", ["3f2a91c", "3f2a91c0", "mine", "runs/killed"])
def test_run_is_found_every_way_and_brings_what_it_was_launched_with(place, named):
    folder = f'"{place / "killed"}"'
    assert resumed([f"resume={named}"]) == [*WORDS, f"resume={folder}", f"hydra.run.dir={folder}"]


def test_auto_takes_the_newest_of_this_config_that_was_cut_off(place):
    same = ["model=mlp", "model.hidden_widths=[8]", "trainer.epochs=3"]
    leave(place / "older", "older", "FAILED", age=5)
    assert resumed([*same, "resume=auto"])[-1] == f'hydra.run.dir="{place / "killed"}"'
    with held(place / "killed"):  # As by another process: this one asks through a descriptor of its own.
        assert resumed([*same, "resume=auto"])[-1] == f'hydra.run.dir="{place / "older"}"'
    # On what it trains is no part of the config that it is known by, nor where the record goes.
    assert resumed([*same, "strategy=mirrored", "strategy.devices=2", "resume=auto"])[-1].endswith('killed"')
    # Another config, whatever its name, is another run: it begins anew.
    assert resumed([*same, "seed=1", "resume=auto"]) == [*same, "seed=1"]


def test_auto_takes_no_run_on_other_data_of_the_users_own(place):
    cats = ["model=mlp", "data=image_folder", "data.dir=cats"]
    leave(place / "cats", "cats", "KILLED", cats)
    assert resumed([*cats, "resume=auto"])[-1] == f'hydra.run.dir="{place / "cats"}"'
    dogs = [*cats[:2], "data.dir=dogs"]  # Of the same digest, which does not tell where data lies.
    assert resumed([*dogs, "resume=auto"]) == dogs


def test_run_whose_config_is_gone_is_no_hindrance(place):
    cats = ["model=mlp", "data=image_folder", "data.dir=cats"]
    for words in (WORDS, cats):
        leave(place / words[-1], "damaged", "KILLED", words)
        (place / words[-1] / "config.yaml").unlink()
        os.utime(place / words[-1] / "result.json", (2e9, 2e9))  # The newest.
    # Where data are the user's own, nobody knows what it was trained on; a published set is the same everywhere.
    assert resumed([*cats, "resume=auto"]) == cats
    assert resumed([*WORDS, "resume=auto"])[-1] == f'hydra.run.dir="{place / WORDS[-1]}"'


def test_words_without_a_run_stay_as_they_are(place):
    for words in (["model=mlp"], ["model=mlp", "resume=null"]):
        assert resumed(words) == words


def test_what_does_not_determine_the_training_may_change(place):
    further = ["trainer.epochs=4", "strategy.devices=2", "tracking=none", "name=other"]
    assert resumed(["resume=mine", *further])[3:7] == further


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["resume=mien"], "resume=mien is no run in runs: did you mean 'mine'"),
        (["resume=done"], "done in runs/done is finished; start another from it with from=done"),
        (["resume=mine", "seed=1"], r"these differ: seed \(was 0, now 1\)"),
        (["resume=mine", "trainer.epochs=2"], r"trainer.epochs \(was 3, now 2\)"),
        (["resume=mine", "strategy.synchronise_batch_norm=false"], "synchronise_batch_norm"),
    ],
)
def test_what_cannot_be_meant_is_one_line(place, words, message):
    with pytest.raises(ConfigError, match=message) as raised:
        resumed(words)
    assert "\n" not in str(raised.value)


def test_sweep_and_a_run_at_work_are_refused(place):
    with pytest.raises(ConfigError, match="a sweep goes on with hydra/launcher=kerasnn"):
        resumed(["resume=auto"], several=True)
    with held(place / "killed"), pytest.raises(ConfigError, match="is being trained right now by another process"):
        resumed(["resume=mine"])
    leave(place / "second", "mine", "FAILED", run_id="44444444")
    with pytest.raises(ConfigError, match="fits 2 runs that were cut off: give one of 44444444, 3f2a91c0"):
        resumed(["resume=mine"])


def test_run_of_a_sweep_goes_on_where_a_scheduler_begins_it_once_more(place):
    config = composed(tuple(WORDS))
    again = begun_again(config, place / "killed")
    assert (again.resume, again.values["resume"], again.digest) == (*[str(place / "killed")] * 2, config.digest)
    # What is finished, or another config's, or not there yet, is no run to go on with.
    for start in ((config, place / "done"), (config, place / "new"), (composed(("model=mlp",)), place / "killed")):
        assert begun_again(*start) is start[0]
    cats, dogs = (composed(("model=mlp", "data=image_folder", f"data.dir={name}")) for name in ("cats", "dogs"))
    leave(place / "cats", "cats", "KILLED", ["model=mlp", "data=image_folder", "data.dir=cats"])
    assert begun_again(cats, place / "cats").resume == str(place / "cats")
    assert begun_again(dogs, place / "cats") is dogs  # Of the same digest.


def test_run_of_a_sweep_that_a_scheduler_begins_after_its_end_keeps_what_it_reached(place):
    config, file = composed(tuple(WORDS)), place / "done" / "result.json"
    for metrics, reached in (({"best/val_accuracy": 0.5}, 0.5), ({"best/val_accuracy": 0}, 0), ({}, math.nan)):
        file.write_text(json.dumps({**json.loads(file.read_text()), "metrics": metrics}), encoding="utf-8")
        assert reached_before(config, place / "done") == pytest.approx(reached, nan_ok=True)
    for start in ((config, place / "killed"), (config, place / "new"), (composed(("model=mlp",)), place / "done")):
        assert reached_before(*start) is None
