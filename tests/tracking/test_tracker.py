import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import kerasnn
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


def commit(folder: Path, name: str) -> str:
    """Makes `folder` a checkout that knows one file; the commit."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q")
    (folder / name).write_text("one")
    git(folder, "add", name)
    git(folder, "commit", "-qm", "first")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def code(tmp_path, monkeypatch) -> Path:
    """Where kerasnn seems to run from."""
    file = tmp_path / "code" / "__init__.py"
    file.parent.mkdir()
    monkeypatch.setattr(kerasnn, "__file__", str(file))
    return file


def test_environment_tags_name_versions_and_the_commit_of_kerasnn(code, tmp_path):
    known = commit(code.parent, code.name)
    for folder in (code.parent, tmp_path):
        tags = environment_tags(folder)
        assert tags["git.commit"] == tags["mlflow.source.git.commit"] == known
        assert tags["git.dirty"] == "false"
        assert "project.git.commit" not in tags
    code.write_text("two")
    assert environment_tags(tmp_path)["git.dirty"] == "true"
    assert {"python", "kerasnn", "tensorflow", "keras", "platform"} <= tags.keys()
    assert all(isinstance(value, str) for value in tags.values())


def test_environment_tags_keep_the_commit_of_the_users_own_checkout_apart(code, tmp_path):
    known, own = commit(code.parent, code.name), commit(tmp_path / "mine", "recipe.yaml")
    tags = environment_tags(tmp_path / "mine")
    assert (tags["git.commit"], tags["project.git.commit"]) == (known, own)
    assert tags["project.git.dirty"] == "false"


def test_environment_tags_of_an_installed_kerasnn_do_not_claim_the_commit_around_it(code, tmp_path):
    own = commit(tmp_path, "recipe.yaml")
    code.write_text("installed in an environment inside the user's checkout, which does not know it")
    tags = environment_tags(tmp_path)
    assert "git.commit" not in tags
    assert tags["project.git.commit"] == own


def test_environment_tags_without_a_checkout_have_no_commit(code, tmp_path):
    git(code.parent, "init", "-q")  # Without a commit yet.
    assert not [name for name in environment_tags(tmp_path) if "git" in name]


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
