"""What is launched: the cells of a sweep, those that an experiment sweeps by itself included."""

import json

import pytest

from kerasnn.config import launch
from kerasnn.config.compose import check
from kerasnn.config.folders import groups
from kerasnn.errors import ConfigError, DataError, DeviceError, TrainingError
from kerasnn.tracking.folders import held


def cells(*arguments):
    asked = launch._parse(list(arguments))
    return launch._cells(asked, launch._words(asked))


def test_experiment_sweeps_by_itself():
    found = cells("-m", "experiment=regularisation")
    # Every kind alone, none of them, and three together.
    assert len(found) == len(groups()["regularisation"]) + 1
    configs = [check(cell) for cell in found]
    assert all(config.choices["experiment"] == "regularisation" for config in configs)
    changed = [
        (config.model.arguments, config.optimizer.arguments, config.trainer, list(config.callbacks))
        for config in configs
    ]
    assert all(changed.count(cell) == 1 for cell in changed)
    together = configs[-1]
    assert together.model.arguments["stochastic_depth_rate"] == 0.2
    assert (together.trainer.label_smoothing, together.optimizer.arguments["weight_decay"]) == (0.1, 0.005)


def test_command_line_narrows_and_widens_what_an_experiment_sweeps():
    found = cells("-m", "experiment=regularisation", "regularisation=none,dropout", "seed=0,1,2")
    # Two kinds, three seeds; the last word, of no key of ours, keeps Hydra from sweeping again.
    assert len(found) == 6
    assert [check(cell).seed for cell in found[:3]] == [0, 1, 2]
    assert {check(cell).model.arguments["dropout"] for cell in found} == {0.0, 0.3}


def test_experiment_without_a_sweep_is_one_run():
    (alone,) = cells("experiment=regularisation")
    assert check(alone).model.arguments["dropout"] == 0.0


def test_pattern_stands_for_the_choices_that_there_are(tmp_path, monkeypatch):
    (tmp_path / "more" / "model").mkdir(parents=True)
    (tmp_path / "more" / "model" / "vgg2.yaml").write_text("_target_: kerasnn.models.mlp.mlp\n")
    monkeypatch.chdir(tmp_path)
    found = cells("-m", "model=glob(percep*)", "data=digits", "seed=0,1")
    assert found == [["model=perceptron", "data=digits", "seed=0"], ["model=perceptron", "data=digits", "seed=1"]]
    found = cells("--config-dir=more", "-m", "model=glob([vgg1*,vgg2],exclude=*_bn)")
    assert [cell[0] for cell in found] == [f"model={name}" for name in ("vgg11", "vgg13", "vgg16", "vgg19", "vgg2")]
    for word in ("model=glob(vg16*)", "trainer.epochs=glob(*)"):
        with pytest.raises(ConfigError, match="matches no choice of a group: name some"):
            launch.main(["-m", word])


def test_cell_that_an_experiment_sweeps_is_checked_before_any_is_launched(tmp_path, monkeypatch):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "typo.yaml").write_text(
        "# @package _global_\nhydra:\n  sweeper:\n    params:\n      regularisation: none,dropuot\n", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="unknown regularisation 'dropuot': did you mean 'dropout'"):
        launch.main(["-m", "experiment=typo"])
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("launcher", ["basic", "kerasnn"])
def test_sweep_tells_by_what_it_is_found_again_where_its_launcher_goes_on(tmp_path, monkeypatch, launcher):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launch, "_hydra", lambda *_: None)
    launch.main(["-m", "model=mlp", "seed=0,1", "tracking=none", f"hydra/launcher={launcher}"])
    (file,) = tmp_path.glob("runs/*/*/sweep.json")
    assert bool(json.loads(file.read_text())["digest"]) == (launcher == "kerasnn")


def test_config_is_printed_whether_or_not_what_it_names_is_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["model=mlp", "data=csv", "data.dir=absent.csv", "model.weights=absent.h5"]
    for asked in (["--cfg", "all"], ["--cfg", "job", "--package", "data"]):
        assert launch.main([*words, *asked]) == 0
        assert "absent.csv" in capsys.readouterr().out
    with pytest.raises(DataError, match="absent.csv does not exist"):
        launch.main(words)


def test_folder_in_which_another_process_trains_is_left_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "mine"
    with held(folder), pytest.raises(DataError, match="another process is training in"):
        launch.main(["model=mlp", f"hydra.run.dir={folder}"])
    # No record was begun: what Hydra itself writes down is all.
    assert {path.name for path in folder.iterdir()} <= {".hydra", "kerasnn.log", "main.log", "cli.log"}


def test_runs_that_belong_to_somebody_else_are_told_in_one_line_and_no_other_file(tmp_path, monkeypatch):
    def barred(*_):
        raise PermissionError(13, "Permission denied", place)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launch, "_hydra", barred)
    place = "runs/2026-11-25"  # As Hydra says it.
    with pytest.raises(DataError, match=r"/runs/2026-11-25 cannot be written: let this user \(number \d+\) own runs"):
        launch.main(["model=mlp"])
    place = str(tmp_path / "pictures" / "a.png")
    with pytest.raises(PermissionError):
        launch.main(["model=mlp"])


def test_cells_that_never_began_are_counted(tmp_path, monkeypatch, capsys):
    # Of three cells one finished, one failed, and with that the launcher stopped.
    class Stopped:
        def children(self):
            return ["finished", "failed"]

        def finish(self, status):
            return 1

    monkeypatch.setattr("kerasnn.tracking.sweep.open_sweep", lambda *_: Stopped())
    monkeypatch.setattr(launch, "_hydra", lambda *_: None)
    assert launch._sweep([], [], tmp_path, None, 3) == 1
    assert capsys.readouterr().out.startswith("1 of 3 runs finished")


def test_launcher_that_gives_up_is_one_line_and_a_failure(tmp_path, monkeypatch):
    class Stopped:
        def children(self):
            return ["finished", "died"]

        def finish(self, status):
            assert status == "FAILED"
            return 1

    def gives_up(*_):
        raise Lost("Job 7 (task: 0) with path x.pkl\nhas not produced any output (state: FAILED)\nError stream:\n---")

    Lost = type("UncompletedJobError", (RuntimeError,), {"__module__": "submitit.core.utils"})
    monkeypatch.setattr("kerasnn.tracking.sweep.open_sweep", lambda *_: Stopped())
    monkeypatch.setattr(launch, "_hydra", gives_up)
    with pytest.raises(TrainingError, match=r"lost a run .*\(Job 7 .* has not produced any output \(state: FAILED\)\)"):
        launch._sweep([], [], tmp_path, None, 2)
    Lost.__module__ = "hydra_plugins"  # A defect comes out as it is.
    with pytest.raises(Lost):
        launch._sweep([], [], tmp_path, None, 2)


def test_package_that_a_callback_needs_is_asked_for_before_any_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("kerasnn.config.recipe.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="needs the package tensorboard, which is not here: pip install tensorboard"):
        launch.main(["-m", "callbacks=default,tensorboard"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("on_error=contineu", "unknown hydra.launcher.on_error 'contineu': did you mean 'continue'"),
        ("retries=0", "hydra.launcher.retries=0 must be 1 or more"),
        ("processes=two", "two"),
        ("devices=null", "hydra.launcher.devices=None must be auto, a number of GPUs, or a list"),
        ("devices=[GPU-of-another-machine]", "GPU-of-another-machine is no GPU of this machine"),
    ],
)
def test_launcher_that_cannot_do_what_it_is_asked_leaves_nothing_behind(tmp_path, monkeypatch, setting, message):
    monkeypatch.chdir(tmp_path)
    words = ["-m", "model=mlp", "seed=0,1", "hydra/launcher=kerasnn", f"hydra.launcher.{setting}"]
    with pytest.raises((ConfigError, DeviceError), match=message) as raised:
        launch.main(words)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []
