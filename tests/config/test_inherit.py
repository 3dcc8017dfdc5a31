"""`from=RUN` brings that run's network, unless one is chosen; and what `from` and `finetune` cannot mean."""

import json

import pytest
import yaml

from kerasnn.config.compose import changed_values, compose
from kerasnn.config.schema import Finetune
from kerasnn.errors import ConfigError, DataError


@pytest.fixture
def earlier(tmp_path, monkeypatch):
    """The id of a run that trained a small ResNet with options of its own."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "a"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "best.keras").touch()
    (folder / "result.json").write_text(
        json.dumps({"name": "mine", "run_id": "c0ffee" + "0" * 26, "choices": {"model": "resnet20"}})
    )
    (folder / "config.yaml").write_text(compose(["model=resnet20", "model.widths=[4,8,8]", "model.dropout=0.5"]).yaml)
    return "c0ffee" + "0" * 26


def test_from_a_run_brings_its_network(earlier):
    config = compose([f"from={earlier}", "trainer=finetune", "data=cifar10"])
    assert config.choices["model"] == "resnet20"
    assert config.name == "resnet20"
    assert config.model.arguments["widths"] == [4, 8, 8]
    assert config.weights == earlier
    # In the record stands what differs from the choice, as if it had been typed.
    assert changed_values(config) == {"from": earlier, "model.widths": [4, 8, 8], "model.dropout": 0.5}


def test_from_a_run_whose_folder_needs_backslashes_brings_its_network(earlier, tmp_path):
    (tmp_path / "runs" / "a").rename(tmp_path / "runs" / "a (1), b=2")
    for override in (r"from=runs/a\ \(1\)\,\ b\=2", "from='runs/a (1), b=2'"):
        config = compose([override])
        assert (config.choices["model"], config.weights) == ("resnet20", "runs/a (1), b=2")


def test_the_users_own_word_beats_the_runs(earlier):
    assert compose([f"from={earlier}", "model.dropout=0.25"]).model.arguments["dropout"] == 0.25
    assert compose(["from=mine", "model=resnet32"]).model.arguments["variant"] == "resnet32"


@pytest.mark.parametrize("named", ["imagenet", "hub:bert_tiny_en_uncased"])
def test_from_published_weights_brings_no_network(named):
    # The second is how Hydra writes it into the cells of a sweep, and of a single run.
    for override in (f"from={named}", "from=" + named.replace(":", "\\:"), f"from='{named}'"):
        config = compose([override])
        assert (config.choices["model"], config.weights) == ("lenet5", named)


def test_weights_of_a_model_are_the_same_as_from():
    assert compose(["model=resnet50", "model.weights=imagenet"]).weights == "imagenet"
    with pytest.raises(ConfigError, match="from=imagenet and model.weights=imagenet say the same: give one of them"):
        compose(["model=resnet50", "model.weights=imagenet", "from=imagenet"])


def test_finetune_file_says_what_the_schema_says(root):
    written = yaml.safe_load((root / "conf" / "trainer" / "finetune.yaml").read_text())
    assert Finetune(**written["finetune"]) == Finetune()
    assert compose(["trainer=finetune", "from=imagenet"]).finetune == Finetune()
    assert compose().finetune is None


def test_head_alone_takes_as_many_epochs_as_there_are():
    assert compose(["trainer=finetune", "from=imagenet", "finetune.unfreeze=null", "trainer.epochs=1"]).finetune


def test_finetune_chooses_a_schedule_that_the_user_may_replace():
    assert compose(["trainer=finetune", "from=imagenet"]).choices["schedule"] == "warmup_cosine"
    assert compose(["trainer=finetune", "from=imagenet", "schedule=constant"]).choices["schedule"] == "constant"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["trainer=finetune"],
            "trainer=finetune starts from weights: give from=RUN, from=FILE.keras or model.weights=",
        ),
        (["finetune.bn=train"], "finetune.bn=train means nothing without trainer=finetune: choose it"),
        (["finetune=yes"], "finetune=yes must be a section"),
        (["from=3", "model=mlp"], "from=3 must be text or null"),
        (
            ["trainer=finetune", "from=imagenet", "finetune.bn=frosen"],
            "finetune.bn=frosen is not a choice: did you mean 'frozen'?",
        ),
        (
            ["trainer=finetune", "from=imagenet", "finetune.unfreze=all"],
            "unknown key 'finetune.unfreze': did you mean 'finetune.unfreeze'?",
        ),
        (["trainer=finetune", "from=imagenet", "finetune.factor=0"], "finetune.factor=0 must be in 0 < x <= 1"),
        (
            ["trainer=finetune", "from=imagenet", "trainer.epochs=4", "finetune.unfreeze=[conv5,all]"],
            "trainer.epochs=4 is too few for finetune.head_epochs=3 and 2 phases of finetune.unfreeze: give 5 or more",
        ),
    ],
)
def test_compose_refuses_a_start_that_cannot_be_meant(overrides, message):
    with pytest.raises(ConfigError) as raised:
        compose(overrides)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_from_nothing_that_exists_is_said_before_anything_is_imported(earlier):
    with pytest.raises(DataError, match="mien is no run, file or folder: did you mean 'mine'?"):
        compose(["from=mien"])


def test_several_runs_bring_no_network(earlier):
    with pytest.raises(ConfigError, match="from=mine,other names several runs, which bring a network each: choose one"):
        compose(["from=mine,other"])
