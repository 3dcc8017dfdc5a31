"""The wheel: built from the checkout, installed elsewhere, and used in an empty folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return next(folder.glob("*.whl"))


def test_wheel_carries_every_config(wheel):
    packed = set(zipfile.ZipFile(wheel).namelist())
    on_disk = {path.relative_to(ROOT).as_posix() for path in (ROOT / "conf").rglob("*.yaml")}
    assert {f"kerasnn/{name}" for name in on_disk} <= packed
    assert "hydra_plugins/kerasnn_launcher/launcher.py" in packed
    assert not any(name.startswith(("tests/", "runs/", "benchmarks/")) for name in packed)


def test_installed_wheel_composes_in_an_empty_folder(wheel, tmp_path):
    # Its dependencies are those of this environment; kerasnn itself comes from the wheel alone.
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(site), str(wheel)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    script = (
        "from kerasnn.config import compose, folders\n"
        "print(folders.conf_dir()); print(compose.compose(['model=vgg16', 'data=cifar10']).model.target)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], cwd=empty, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(site)},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines() == [str(site / "kerasnn" / "conf"), "kerasnn.models.vgg.vgg"]


def test_kerasnn_imports_neither_tensorflow_nor_mlflow():
    script = "import sys, kerasnn; print({'tensorflow', 'keras', 'mlflow'} & set(sys.modules), kerasnn.__version__)"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.startswith("set() ")
