"""From overrides to a checked config: what is accepted, and the one line for what is not."""

import pytest

from kerasnn.config import schema
from kerasnn.config.compose import changed_values, compose
from kerasnn.config.folders import groups
from kerasnn.errors import ConfigError


def test_compose_gives_the_documented_defaults():
    config = compose()
    assert (config.name, config.seed) == ("lenet5", 0)
    assert config.trainer == schema.Trainer()
    assert config.model.target == "kerasnn.models.lenet.lenet5"
    assert config.choices["data"] == "digits"
    assert config.choices["augment"] == "none"
    assert config.augment == {}


def test_compose_sets_an_argument_that_the_file_does_not_list():
    assert "clipnorm" not in compose().optimizer.arguments
    assert compose(["optimizer.clipnorm=1.0"]).optimizer.arguments["clipnorm"] == 1.0


def test_compose_splits_data_keys_between_source_and_hold_out():
    config = compose(["data=cifar10", "data.dir=/data", "data.train_examples=1000"])
    assert config.data.arguments["dir"] == "/data"
    assert config.bundle["train_examples"] == 1000


def test_compose_merges_augmentation_presets_in_order():
    config = compose(["augment=[flip_crop,colour,noise]"])
    assert config.choices["augment"] == "flip_crop,colour,noise"
    assert list(config.augment) == ["flip_half", "padded_crop", "colour", "noise"]


def test_compose_lets_the_command_line_beat_the_choice():
    assert compose(["trainer=smoke"]).trainer.steps_per_epoch == 2
    assert compose(["trainer=smoke", "trainer.steps_per_epoch=null"]).trainer.steps_per_epoch is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "trainer.epoch=3",
            "unknown key 'trainer.epoch': did you mean 'trainer.epochs'? known: trainer.base_batch_size",
        ),
        ("epochs=3", "unknown key 'epochs': did you mean 'trainer.epochs'?"),
        ("modle=vgg16", "unknown key 'modle': did you mean 'model'?"),
        ("model=vg16", "unknown model 'vg16': did you mean 'vgg16'? known: alexnet"),
        ("augment=[flip_corp]", "unknown augment 'flip_corp': did you mean 'flip_crop'?"),
        ("model.widht=3", "unknown key 'model.widht'"),
        ("data.dri=x", "unknown key 'data.dri': did you mean 'data.dir'?"),
        ("optimizer.learning_rat=1", "unknown key 'optimizer.learning_rat': did you mean 'optimizer.learning_rate'?"),
        ("model.wieghts=imagenet", "unknown key 'model.wieghts': did you mean 'model.weights'?"),
        ("model.weights=3", "model.weights=3 must be text or null"),
        ("model.pretrain={_target_:os.system}", "model.pretrain._target_=os.system is not allowed"),
        ("model.pretrain=10", "model.pretrain must be a mapping with a _target_"),
        ("+hydra.callbacks.x._target_=os.makedirs", "hydra.callbacks.x._target_=os.makedirs is not allowed"),
        ("hydra.launcher._target_=shutil.rmtree", "hydra.launcher._target_=shutil.rmtree is not allowed"),
        ("hydra.job_logging.handlers.console.class=os.system", "hydra.job_logging.handlers.console.class=os.system is"),
        ("+unknown=1", "unknown key 'unknown'"),
        ("+trainer.unknown=1", "unknown key 'trainer.unknown'"),
        ("++model.unknown=1", "unknown key 'model.unknown'"),
        ("trainer.epochs=0", "trainer.epochs=0 must be in 1 <= x"),
        ("trainer.epochs=many", "trainer.epochs=many must be a whole number with 1 <= x"),
        ("trainer.epochs=1.5", "trainer.epochs=1.5 must be a whole number with 1 <= x"),
        ("trainer.epochs=null", "trainer.epochs=null must be a whole number with 1 <= x"),
        ("trainer.batch_size=-1", "trainer.batch_size=-1 must be in 1 <= x"),
        ("trainer.jit=atuo", "trainer.jit=atuo is not a choice: did you mean 'auto'? known: auto, false, true"),
        ("seed=-1", "seed=-1 must be in 0 <= x"),
        ("data.validation_fraction=1", "data.validation_fraction=1 must be in"),
        ("~optimizer.learning_rate", "optimizer.learning_rate is missing: schedules start from it"),
        ("optimizer.learning_rate=0", "optimizer.learning_rate=0 must be in 0 < x"),
        ("model._target_=os.system", "model._target_=os.system is not allowed: it must start with kerasnn.models."),
        ("model._target_=kerasnn.data.digits.digits", "is not allowed: it must start with kerasnn.models."),
        (
            "+callbacks.x._target_=kerasnn.tracking.ui.main",
            "callbacks.x._target_=kerasnn.tracking.ui.main is not allowed",
        ),
        ("+callbacks.x._target_=keras.callbacks.RemoteMonitor", "is not allowed"),
        ("model.activation={_target_:os.system}", "model.activation._target_=os.system is not allowed"),
        ("~model", "model"),
        ("~seed", "seed is missing: every run needs it"),
        ("~trainer.epochs", "trainer.epochs is missing"),
        ("model=[vgg16,lenet5]", "model takes exactly one choice"),
        ("data=[digits,mnist]", "data takes exactly one choice"),
        ("trainer=null", "unknown trainer 'null'"),
        ("callbacks=null", "unknown callbacks 'null'"),
        ("seed=5000000000", "seed=5000000000 must be in 0 <= x < 4294967296"),
        ("optimizer.learning_rate=inf", "optimizer.learning_rate=inf must be a finite number"),
        ("tracking.experiment=", "tracking.experiment"),
        ("tracking.experiment=null", "tracking.experiment=null must be text"),
        ("model.num_classes=5", "model.num_classes cannot be set: it comes from the data"),
        ("trainer=5", "unknown trainer '5'"),
        ("++trainer=5", "unknown trainer '5'"),
        ("seed=${oc.env:NO_SUCH_VARIABLE}", "NO_SUCH_VARIABLE"),
        ("name=${nothing.there}", "nothing"),
    ],
)
def test_compose_refuses_in_one_line(override, message):
    with pytest.raises(ConfigError) as raised:
        compose([override])
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=vgg16", "model.variant=vgg11"], "model.variant=vgg11 does not fit model=vgg16: choose model=vgg11"),
        (
            ["model=vgg16", "model.hidden_widths=[15]"],
            "model.hidden_widths=[15] must be a list of whole numbers with 2 <=",
        ),
        (
            ["model=mlp", "model.hidden_widths=[-3]"],
            "model.hidden_widths=[-3] must be a list of whole numbers with 1 <= x",
        ),
        (["trainer.loss=perceptron", "trainer.label_smoothing=0.3"], "needs trainer.loss=cross_entropy"),
        (["callbacks=early_stopping", "callbacks.early_stopping.patience=x"], "must be a whole number with 1 <= x"),
        (["callbacks=early_stopping", "callbacks.early_stopping.monitor=val_acuracy"], "did you mean 'val_accuracy'"),
        (["optimizer.weight_decay=0.1"], "unknown key 'optimizer.weight_decay'"),
        (
            ["callbacks=reduce_on_plateau", "schedule=cosine"],
            "schedule=cosine sets it at each step: choose schedule=con",
        ),
        (["callbacks=csv", "callbacks.csv.folder=x"], "callbacks.csv.folder cannot be set"),
        (["callbacks=ema", "callbacks.ema.decay=1"], "callbacks.ema.decay=1 must be in 0 <= x < 1"),
        (["augment=mixup", "augment.mixpu=null"], "unknown key 'augment.mixpu': did you mean 'augment.mixup'?"),
        (["callbacks=csv", "callbacks.early_stopping=null"], "unknown key 'callbacks.early_stopping'"),
        (["regularisation=weight_decay"], "unknown key 'optimizer.weight_decay'"),
        (["regularisation=dropuot"], "unknown regularisation 'dropuot': did you mean 'dropout'?"),
    ],
)
def test_compose_refuses_what_does_not_go_together(overrides, message):
    with pytest.raises(ConfigError) as raised:
        compose(overrides)
    assert message in str(raised.value)


@pytest.mark.parametrize("override", ["experiment=null", "+experiment=null", "+model=vgg16"])
def test_compose_takes_the_natural_way_to_say_it(override):
    compose([override])


def test_compose_lets_a_value_ask_hydra():
    assert compose(["model=vgg16", "name=${hydra:runtime.choices.model}-a"]).name == "vgg16-a"


@pytest.mark.parametrize("task", ["faces", "signs", "speech", "sst2"])
def test_experiment_from_scratch_differs_from_the_finetuning_in_its_start_alone(task):
    tuned, scratch = (compose([f"experiment={kind}_{task}"]) for kind in ("finetune", "scratch"))
    assert scratch.choices["experiment"] == scratch.name == f"scratch_{task}"
    assert (scratch.weights, scratch.finetune, scratch.choices["trainer"]) == (None, None, "fit")
    assert tuned.weights
    assert (scratch.model, scratch.data, scratch.bundle, scratch.schedule, scratch.trainer, scratch.augment) == (
        tuned.model, tuned.data, tuned.bundle, tuned.schedule, tuned.trainer, tuned.augment,
    )  # fmt: skip


def test_experiment_makes_its_own_choices():
    config = compose(["experiment=perceptron_digits"])
    assert (config.choices["model"], config.choices["experiment"]) == ("perceptron", "perceptron_digits")
    assert config.trainer.loss == "perceptron"
    # What the recipe changes is recorded, beside its name.
    assert changed_values(config)["trainer.epochs"] == 30


def test_compose_refuses_a_dropout_beyond_its_range():
    with pytest.raises(ConfigError, match="model.dropout=1.5 must be in 0 <= x < 1"):
        compose(["model=vgg16", "model.dropout=1.5"])


def test_compose_finds_a_conf_folder_of_the_users_own(tmp_path, monkeypatch):
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "tiny.yaml").write_text(
        "_target_: kerasnn.models.mlp.mlp\nhidden_widths: [4]\n", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    assert "tiny" in groups()["model"]
    config = compose(["model=tiny"])
    assert config.name == "tiny"
    assert config.model.arguments["hidden_widths"] == [4]


def test_compose_checks_the_users_own_files(tmp_path, monkeypatch):
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "evil.yaml").write_text("_target_: os.system\ncommand: true\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="_target_=os.system is not allowed"):
        compose(["model=evil"])


def test_changed_values_are_those_that_differ_from_the_choices():
    config = compose(["model=vgg16", "trainer.epochs=3", "seed=0", "model.dropout=0.25"])
    # `seed=0` repeats the default, so it is no change.
    assert changed_values(config) == {"trainer.epochs": 3, "model.dropout": 0.25}


def test_changed_values_of_a_choice_that_needs_more_than_itself():
    # data=csv alone is refused, since only the user can say where the table lies; with it, it is what was changed.
    assert changed_values(compose(["data=csv", "data.dir=table.csv"])) == {"data.dir": "table.csv"}


def test_digest_ignores_name_and_tracking_alone():
    plain = compose().digest
    assert compose(["name=a", "tracking=none"]).digest == plain
    assert compose(["seed=1"]).digest != plain


def test_kinds_of_regularisation_add_up():
    config = compose(["model=resnet20", "regularisation=[dropout,label_smoothing,early_stopping]", "callbacks=csv"])
    assert config.model.arguments["dropout"] == 0.3
    assert config.trainer.label_smoothing == 0.1
    assert list(config.callbacks) == ["csv", "early_stopping"]
    assert config.choices["regularisation"] == "dropout,label_smoothing,early_stopping"
    # They are recorded as the choice that they are.
    assert changed_values(config) == {}


@pytest.mark.parametrize("group", sorted(groups()))
def test_every_choice_of_a_group_composes_and_binds(group):
    for choice in groups()[group]:
        # The user's own data, which only the user can name.
        own = ("image_folder", "csv", "text", "text_lm", "masked_words", "audio")
        needed = ["data.dir=x"] if group == "data" and choice in own else ["data.name=x"] if choice == "tfds" else []
        needed += ["from=imagenet"] if choice == "finetune" else []  # Weights to start from.
        if group == "regularisation":  # Stochastic depth leaves out branches, and Adam does not decay weights.
            needed = ["model=resnet20", "optimizer=nesterov"]
        compose([f"{group}={choice}", *needed])
