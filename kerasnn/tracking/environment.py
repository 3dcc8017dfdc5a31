"""The circumstances of a run, as tags: versions, machine, the code's commit. Imports none of what it reports on."""

import getpass
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import kerasnn

PACKAGES = ("tensorflow", "keras", "keras-cv", "mlflow", "numpy")


def environment_tags(folder: str | Path = ".") -> dict[str, str]:
    """Versions, platform and git commit, under MLflow's own tag names where it has one.

    Args:
        folder: where the code lives that is being run; a folder outside of any git checkout gives no commit.

    Example:
        >>> environment_tags()["keras"]
        '3.15.1'
    """
    return {
        "python": platform.python_version(),
        "kerasnn": kerasnn.__version__,
        **{name: found for name in PACKAGES if (found := _version(name))},
        "platform": platform.platform(),
        "mlflow.user": _user(),
        "mlflow.source.name": Path(sys.argv[0]).name or "kerasnn",
        "mlflow.source.type": "LOCAL",
        **_git_tags(Path(folder)),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # A container may run under a number that has no name.
        return "unknown"


def _git_tags(folder: Path) -> dict[str, str]:
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return {}
    dirty = bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))
    branch = _git(folder, "rev-parse", "--abbrev-ref", "HEAD")
    return {
        "mlflow.source.git.commit": commit,
        "mlflow.source.git.branch": branch,
        "mlflow.source.git.dirty": str(dirty),
        "git.commit": commit,
        "git.dirty": str(dirty).lower(),
    }


def _git(folder: Path, *arguments: str) -> str:
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()
