import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from kerasnn.errors import ConfigError
from kerasnn.tracking.environment import environment_tags
from kerasnn.tracking.spool import SpoolTracker
from kerasnn.tracking.store import artifact_root, resolve_uri
from kerasnn.tracking.tracker import MemoryTracker, NoTracker, Tracker


@pytest.mark.parametrize("kind", [NoTracker, MemoryTracker, SpoolTracker])
def test_trackers_take_the_interfaces_arguments(kind):
    for name in Tracker.__abstractmethods__:
        expected, own = (list(inspect.signature(getattr(owner, name)).parameters) for owner in (Tracker, kind))
        assert own == expected, f"{kind.__name__}.{name}"


def test_memory_tracker_remembers_everything():
    tracker = MemoryTracker()
    tracker.start("lenet5", "tests", {"device": "cpu"}, {"seed": 1}, parent="sweep")
    tracker.metrics({"val/loss": 1}, step=1)
    tracker.metrics({"val/loss": 0.5}, step=2)
    tracker.metrics({"test/accuracy": 0.9})
    tracker.tags({"hash.train": "a"})
    tracker.artifact("figures/curves.png", "figures")
    tracker.dataset("digits", "test", "a" * 64, "UCI", 360, [32, 32, 1], 10)
    tracker.model("best.keras", [[1.0]], [[0.5]])
    assert tracker.started == {"name": "lenet5", "experiment": "tests", "parent": "sweep"}
    assert tracker.history["val/loss"] == [(1, 1.0), (2, 0.5)]
    assert tracker.values == {"val/loss": 0.5, "test/accuracy": 0.9}
    assert tracker.tagged == {"device": "cpu", "hash.train": "a"}
    assert tracker.artifacts == [(Path("figures/curves.png"), "figures")]
    assert tracker.datasets[0]["input_shape"] == (32, 32, 1)
    assert tracker.models[0]["output_example"].shape == (1, 1)
    assert tracker.finish("FAILED") == "memory"
    assert tracker.status == "FAILED"


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_environment_tags_name_versions_and_the_commit(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "code.py").write_text("one")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-qm", "first")
    tags = environment_tags(tmp_path)
    assert tags["git.commit"] == tags["mlflow.source.git.commit"] == git(tmp_path, "rev-parse", "HEAD")
    assert tags["git.dirty"] == "false"
    (tmp_path / "code.py").write_text("two")
    assert environment_tags(tmp_path)["git.dirty"] == "true"
    assert {"python", "kerasnn", "tensorflow", "keras", "platform", "mlflow.user"} <= tags.keys()
    assert all(isinstance(value, str) for value in tags.values())


def test_environment_tags_without_a_checkout_have_no_commit(tmp_path):
    assert "git.commit" not in environment_tags(tmp_path)


def test_tracking_is_imported_without_tensorflow_and_mlflow(root):
    """The command line answers in well under a second; so this may cost it nothing."""
    code = (
        "import kerasnn.tracking.spool, kerasnn.tracking.sweep, kerasnn.tracking.ui, kerasnn.tracking.mlflow, sys;"
        "print([name for name in ('tensorflow', 'keras', 'mlflow', 'pandas', 'matplotlib') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_resolve_uri_takes_what_is_given_then_the_environment_then_the_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve_uri() == f"sqlite:///{tmp_path}/runs/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert resolve_uri() == "http://127.0.0.1:5000"
    assert resolve_uri("sqlite:///a/b.db") == f"sqlite:///{tmp_path}/a/b.db"
    assert resolve_uri(f"sqlite:///{tmp_path}/c.db") == f"sqlite:///{tmp_path}/c.db"
    assert resolve_uri("postgresql+psycopg2://u@h/d") == "postgresql+psycopg2://u@h/d"
    assert artifact_root(resolve_uri("sqlite:///a/b.db")) == tmp_path / "a" / "artifacts"


@pytest.mark.parametrize("uri", ["./mlruns", "mlruns", "file:///tmp/mlruns", "file:./mlruns"])
def test_resolve_uri_refuses_a_folder_and_names_sqlite(uri):
    with pytest.raises(ConfigError, match=r"is a folder, .* use a database such as sqlite:///runs/mlflow.db"):
        resolve_uri(uri)


def test_resolve_uri_refuses_what_is_no_store(monkeypatch):
    with pytest.raises(ConfigError, match=r"tracking.uri='ftp://x' is no tracking store.*sqlite://"):
        resolve_uri("ftp://x")
    with pytest.raises(ConfigError, match="names no file"):
        resolve_uri("sqlite://mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    with pytest.raises(ConfigError, match=r"MLFLOW_TRACKING_URI='./mlruns' is a folder"):
        resolve_uri()
