"""`kerasnn lr_find`: its answer, its files, its errors."""

import csv
import re

import numpy as np
import pytest

from kerasnn import lr_find
from kerasnn.config.compose import compose
from kerasnn.errors import ConfigError
from kerasnn.models.mlp import mlp
from kerasnn.training import run as training

SMALL = ["model=mlp", "model.hidden_widths=[16]", "data=synthetic", "data.examples=300", "data.train_examples=128"]
SMALL += ["trainer.batch_size=32", "optimizer=sgd"]


def test_answer_names_the_key_to_set_and_the_curve_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # Four steps an epoch: forty need ten epochs, more than this config would train.
    assert lr_find.main([*SMALL, "--steps", "40", "trainer.epochs=2", "--first", "1e-4"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("model=mlp data=synthetic optimizer=sgd: ")
    assert max(map(len, said.splitlines())) <= 120
    suggestion = float(re.search(r"optimizer.learning_rate=(\S+)", said)[1])
    compose([*SMALL, f"optimizer.learning_rate={suggestion}"])
    assert 1e-4 < suggestion < 10
    assert sorted(path.name for path in (tmp_path / "runs" / "lr_find").iterdir()) == [
        "mlp_synthetic_sgd.csv",
        "mlp_synthetic_sgd.png",
    ]
    with open(tmp_path / "runs/lr_find/mlp_synthetic_sgd.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert 20 <= len(rows) <= 40
    rates = np.array([float(row["learning_rate"]) for row in rows])
    assert rates[0] == 1e-4
    # From 1e-4 to 10 in 40 steps: each is the last times 10^(5/39).
    np.testing.assert_allclose(rates[1:] / rates[:-1], 10 ** (5 / 39), rtol=1e-6)
    assert all(np.isfinite(float(row["loss"])) for row in rows)


def test_schedule_of_the_config_plays_no_part(tmp_path, capsys):
    # A schedule would not let the rate be set.
    path = tmp_path / "curve.png"
    assert lr_find.main([*SMALL, "schedule=cosine", "--steps", "30", "--out", str(path)]) == 0
    assert path.exists()
    assert path.with_suffix(".csv").exists()


def test_first_phase_of_a_finetuning_is_what_is_tested(tmp_path, monkeypatch, capsys):
    mlp((16, 16, 1), 3, hidden_widths=(16,)).save(tmp_path / "start.keras")
    jobs = []
    built = training.build
    monkeypatch.setattr(training, "build", lambda config: jobs.append(built(config)) or jobs[-1])
    base = [
        *SMALL,
        "data.num_classes=3",
        "data.image_size=16",
        "data.channels=1",
        f"from={tmp_path / 'start.keras'}",
        "trainer=finetune",
    ]
    path = str(tmp_path / "curve.png")
    assert lr_find.main([*base, "trainer.batch_size=32", "--steps", "30", "--out", path]) == 0
    assert "mlp data=synthetic optimizer=sgd (the first phase of trainer=finetune): " in capsys.readouterr().out
    # The head learns first, 16 · 3 + 3 numbers.
    (job,) = jobs
    assert [weight.path for weight in job.model.trainable_variables] == ["predictions/kernel", "predictions/bias"]
    # Without a phase for the head everything learns at a tenth of what the config says, and that is what is drawn.
    whole = ["trainer.batch_size=32", "finetune.head_epochs=0", "finetune.factor=0.1"]
    assert lr_find.main([*base, *whole, "--steps", "30", "--out", path]) == 0
    assert len(jobs[-1].model.trainable_variables) == 4
    with open(tmp_path / "curve.csv", encoding="utf-8") as file:
        assert float(next(csv.DictReader(file))["learning_rate"]) == pytest.approx(lr_find.FIRST)


def test_rates_are_those_of_the_config_where_a_large_batch_multiplies_them(tmp_path, capsys):
    # 32 instead of 8 with `linear`: the optimizer gets four times what the config says, and the answer says the latter.
    path = tmp_path / "curve.png"
    scaling = ["trainer.learning_rate_scaling=linear", "trainer.base_batch_size=8"]
    assert lr_find.main([*SMALL, *scaling, "--steps", "30", "--first", "1e-4", "--out", str(path)]) == 0
    said = capsys.readouterr().out
    with open(path.with_suffix(".csv"), encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rates, smooth = (np.array([float(row[key]) for row in rows]) for key in ("learning_rate", "smooth"))
    assert rates[0] == 1e-4
    assert f"rates 1.0e-04 to {rates[-1]:.1e}" in said
    assert f"lowest at {rates[smooth.argmin()]:.1e}" in said
    suggestion = float(re.search(r"optimizer.learning_rate=(\S+)", said)[1])
    assert suggestion == pytest.approx(rates[np.abs(rates - suggestion).argmin()], rel=0.05)  # Two digits of one.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "5"], "argument --steps: '5' must be a whole number of 20 or more"),
        (["--steps", "many"], "argument --steps: 'many' must be a whole number of 20 or more"),
        (["--first", "0"], "argument --first: '0' must be a number above 0"),
        (["--last", "inf"], "argument --last: 'inf' must be a number above 0"),
        (["--first", "1", "--last", "0.1"], "--first 1 must be lower than --last 0.1"),
        (["--frist", "1"], "did you mean '--first'"),
        (["model=vg16"], "unknown model 'vg16': did you mean 'vgg16'"),
        (["trainer.epoch=3"], "did you mean 'trainer.epochs'"),
        (["model=mlp,lenet5"], "'model=mlp,lenet5' gives several values"),
    ],
)
def test_mistake_is_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as raised:
        lr_find.main(arguments)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []
