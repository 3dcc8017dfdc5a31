"""Hydra's own launchers for clusters, where their packages are: a sweep of two, of which one fails."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from kerasnn.config.compose import check, compose_plain
from kerasnn.errors import ConfigError
from kerasnn.tracking.mlflow import read_runs

SMALL = ["gpus_per_node=null", "cpus_per_task=1", "mem_gb=2", "timeout_min=10"]


def needs(*packages, told, asked=None):
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: {told}")
    if asked and not os.environ.get(asked):
        pytest.skip(f"asks a cluster of this machine to work: {asked}=1 allows it")


def sweep(folder, *further):
    """One run that trains and one whose loss becomes infinite, recorded where only the environment says."""
    words = ["-m", "model=mlp", "model.hidden_widths=[8]", "trainer.epochs=1", "optimizer=sgd"]
    words += ["optimizer.learning_rate=0.01,1e30", "hydra.sweep.dir=runs/sweep"]
    return subprocess.run(
        [sys.executable, "-m", "kerasnn", *words, *further], cwd=folder, capture_output=True, text=True, check=False,
        timeout=300, env={**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'record.db'}"},
    )  # fmt: skip


def assert_one_of_two_is_recorded(folder, answer):
    assert answer.returncode == 1, answer.stderr[-3000:]
    assert answer.stdout.splitlines()[-1].startswith("1 of 2 runs finished; all in runs/sweep/sweep.csv")
    rows = {row["name"]: row for row in read_runs(f"sqlite:///{folder / 'record.db'}")}
    parent = rows.pop("sweep of optimizer.learning_rate")
    statuses = {float(name.removeprefix("optimizer.learning_rate=")): row["status"] for name, row in rows.items()}
    assert statuses == {0.01: "FINISHED", 1e30: "FAILED"}
    assert {row["parent"] for row in rows.values()} == {parent["run_id"]}
    assert all((folder / "runs" / "sweep" / number / "result.json").exists() for number in "01")
    assert not (folder / "runs" / "mlflow.db").exists()


def test_submitit_trains_each_run_in_a_process_of_its_own(tmp_path):
    needs("submitit", "hydra_plugins.hydra_submitit_launcher", told="pip install 'kerasnn[slurm]'")
    assert_one_of_two_is_recorded(tmp_path, sweep(tmp_path, "hydra/launcher=submitit_local"))
    assert (tmp_path / "runs" / "sweep" / ".submitit").is_dir()


def test_slurm_trains_each_run_as_a_task_of_an_array(tmp_path):
    told = "pip install 'kerasnn[slurm]'"
    needs("submitit", "hydra_plugins.hydra_submitit_launcher", told=told, asked="KERASNN_SLURM")
    small = [f"hydra.launcher.{setting}" for setting in SMALL]
    assert_one_of_two_is_recorded(tmp_path, sweep(tmp_path, "hydra/launcher=slurm", *small))


def test_ray_trains_each_run_as_a_task(tmp_path):
    needs("ray", "hydra_plugins.hydra_ray_launcher", told="pip install hydra-ray-launcher (docs/sweeps.md says how)")
    small = ["hydra.launcher.ray.remote.num_gpus=0", "+hydra.launcher.ray.init.num_cpus=2"]
    assert_one_of_two_is_recorded(tmp_path, sweep(tmp_path, "hydra/launcher=ray_gpu", *small))


@pytest.mark.parametrize(
    ("launcher", "plugin", "package"),
    [
        ("slurm", "hydra_submitit_launcher", r"kerasnn\[slurm\]"),
        ("submitit_local", "hydra_submitit_launcher", r"kerasnn\[slurm\]"),
        ("ray_gpu", "hydra_ray_launcher", "hydra-ray-launcher"),
    ],
)
def test_launcher_without_its_package_says_which_it_is(launcher, plugin, package):
    if find_spec(f"hydra_plugins.{plugin}"):
        pytest.skip(f"{plugin} is installed")
    with pytest.raises(ConfigError, match=rf"unknown hydra/launcher '\w+'.*pip install .*{package}"):
        check([f"hydra/launcher={launcher}"])


def test_slurm_gives_each_run_a_gpu_and_takes_the_settings_of_submitit():
    needs("hydra_plugins.hydra_submitit_launcher", told="pip install 'kerasnn[slurm]'")
    launcher = compose_plain(["hydra/launcher=slurm", "hydra.launcher.partition=gpu"]).hydra.launcher
    assert launcher._target_.endswith(".SlurmLauncher")
    assert (launcher.gpus_per_node, launcher.tasks_per_node, launcher.nodes) == (1, 1, 1)
    assert launcher.partition == "gpu"
    with pytest.raises(ConfigError, match="partitoin"):
        check(["hydra/launcher=slurm", "hydra.launcher.partitoin=gpu"])
