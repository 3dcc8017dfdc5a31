"""The circumstances of a run, as tags: versions, machine, the code's commit. Imports none of what it reports on."""

import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import kerasnn
from kerasnn.tracking.process import process_tags

PACKAGES = ("tensorflow", "keras", "keras-cv", "mlflow", "numpy")
NO_CHECKOUT = ("", "", "", False)


def environment_tags(folder: str | Path = ".") -> dict[str, str]:
    """Versions, platform, this process and git commits, under MLflow's own tag names where it has one.

    `git.commit` is that of kerasnn's own code, where it runs from a checkout. `project.git.commit` is that of `folder`,
    where this is another checkout.

    Args:
        folder: the user's own, such as one with configs and modules of theirs.

    Example:
        >>> environment_tags()["keras"]
        '3.15.1'
    """
    return {
        "python": platform.python_version(),
        "kerasnn": kerasnn.__version__,
        **{name: found for name in PACKAGES if (found := _version(name))},
        "platform": platform.platform(),
        **process_tags(),
        "mlflow.source.name": Path(sys.argv[0]).name or "kerasnn",
        "mlflow.source.type": "LOCAL",
        **_git_tags(Path(kerasnn.__file__), Path(folder)),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_tags(code: Path, folder: Path) -> dict[str, str]:
    tags = {}
    # An environment inside somebody's checkout may hold kerasnn; that commit would say nothing about it.
    known = _git(code.parent, "ls-files", code.name)
    root, commit, branch, dirty = _checkout(code.parent) if known else NO_CHECKOUT
    if commit:
        tags = {
            "mlflow.source.git.commit": commit,
            "mlflow.source.git.branch": branch,
            "mlflow.source.git.dirty": str(dirty),
            "git.commit": commit,
            "git.dirty": str(dirty).lower(),
        }
    own, commit, _, dirty = _checkout(folder)
    if commit and own != root:
        tags |= {"project.git.commit": commit, "project.git.dirty": str(dirty).lower()}
    return tags


def _checkout(folder: Path) -> tuple[str, str, str, bool]:
    """Root, commit and branch of a checkout, and whether a file that git knows was changed."""
    found = _git(folder, "rev-parse", "--show-toplevel", "HEAD", "--abbrev-ref", "HEAD").splitlines()
    if len(found) != 3:
        return NO_CHECKOUT
    root, commit, branch = found
    return root, commit, branch, bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))


def _git(folder: Path, *arguments: str) -> str:
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()
