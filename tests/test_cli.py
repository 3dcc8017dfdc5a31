"""The command line as a process: exit codes, one line for what cannot be meant, and how fast it answers."""

import os
import subprocess
import sys

import pytest

from kerasnn import __version__, cli


def kerasnn(*arguments, cwd=None, **environment):
    """Runs `python -m kerasnn` and returns the finished process."""
    return subprocess.run(
        [sys.executable, "-m", "kerasnn", *arguments],
        capture_output=True, text=True, cwd=cwd, env={**os.environ, **environment}, timeout=120,
    )  # fmt: skip


def processor_seconds(*arguments, tries=5) -> float:
    """The least processor time of some runs: the program is one thread, and the machine may be busy with others."""
    seconds = []
    for _ in range(tries):
        before = os.times()
        kerasnn(*arguments)
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
        if seconds[-1] < 1:
            break
    return min(seconds)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trainer.epoch=3"], "unknown key 'trainer.epoch': did you mean 'trainer.epochs'?"),
        (["model=vg16"], "unknown model 'vg16': did you mean 'vgg16'?"),
        (["trainer.epochs=0"], "trainer.epochs=0 must be in 1 <= x"),
        (["+unknown=1"], "unknown key 'unknown'"),
        (["model._target_=os.system"], "model._target_=os.system is not allowed"),
        (["--cfg", "job", "trainer.epoch=3"], "did you mean 'trainer.epochs'?"),
        (["comparee"], "unknown command 'comparee': did you mean 'compare'?"),
        (["--epochs", "3"], "unrecognized arguments: --epochs"),
        (["seed=1", "oops"], "'oops' is not an override: write key=value"),
        (["model=lenet5,vgg16"], "'model=lenet5,vgg16' gives several values: add -m"),
        (["-m", "model=lenet5,vg16"], "unknown model 'vg16'"),
        (["tracking.uri=./mlruns"], "tracking.uri"),
        (["strategy.devices=3"], "trainer.batch_size=128 cannot be shared by 3 devices: take 126 or 129"),
    ],
)
def test_mistake_is_one_line_with_exit_code_2(arguments, message, tmp_path):
    answer = kerasnn(*arguments, cwd=tmp_path)
    assert answer.returncode == 2
    assert message in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert answer.stdout == ""
    assert list(tmp_path.iterdir()) == []  # Nothing half-written.


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], ["model=vg16"], ["trainer.epochs=0"]])
def test_answer_without_training_comes_within_a_second(arguments):
    assert processor_seconds(*arguments) < 1.0


def test_mistakes_and_help_do_not_import_tensorflow():
    script = (
        "import sys; from kerasnn.cli import main\n"
        "codes = [main([word]) for word in ('--help', 'model=vg16', 'trainer.epochs=0', '+x=1')]\n"
        "print([n for n in ('tensorflow', 'keras', 'mlflow', 'numpy') if n in sys.modules], codes, file=sys.stderr)"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stderr.splitlines()[-1] == "[] [0, 2, 2, 2]"


def test_help_fits_80_columns_and_lists_every_group():
    answer = kerasnn("--help")
    assert answer.returncode == 0
    assert max(map(len, answer.stdout.splitlines())) <= 80
    for word in ("model", "vgg16", "data", "cifar10", "augment", "flip_crop", "trainer", "epochs=20", "-m"):
        assert word in answer.stdout


def test_version_is_that_of_kerasnn():
    answer = kerasnn("--version")
    assert answer.returncode == 0
    assert answer.stdout.startswith(f"kerasnn {__version__} (Hydra ")


def test_cfg_job_prints_the_composed_config():
    answer = kerasnn("--cfg", "job", "model=vgg16", "trainer.epochs=3")
    assert answer.returncode == 0
    assert "_target_: kerasnn.models.vgg.vgg" in answer.stdout
    assert "epochs: 3" in answer.stdout


def test_shell_completion_is_installable_and_completes_choices():
    install = kerasnn("-sc", "install=bash")
    assert install.returncode == 0
    assert "hydra_bash_completion" in install.stdout
    query = kerasnn("-sc", "query=bash", COMP_LINE="kerasnn model=vgg1", COMP_POINT="18")
    assert "model=vgg16" in query.stdout


def test_config_dir_flag_adds_a_folder(tmp_path):
    (tmp_path / "more" / "model").mkdir(parents=True)
    (tmp_path / "more" / "model" / "tiny.yaml").write_text("_target_: kerasnn.models.mlp.mlp\nhidden_widths: [4]\n")
    answer = kerasnn("--config-dir", "more", "--cfg", "job", "model=tiny", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert "- 4" in answer.stdout


def test_commands_are_found_by_their_first_word():
    assert cli._split(["compare", "--sort", "x"]) == ("compare", ["--sort", "x"])
    assert cli._split(["model=vgg16"]) == ("train", ["model=vgg16"])
    assert cli._split(["train", "model=vgg16"]) == ("train", ["model=vgg16"])
    assert cli._split([]) == ("train", [])
