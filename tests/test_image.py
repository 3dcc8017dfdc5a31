"""The image for real, where an engine is there and told to: it is built, and runs as its user and as another one."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
IMAGE = f"kerasnn-test-{os.getpid()}"
USER, HOME = 1000, "/home/kerasnn"


def run(*words):
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


class Engine:
    """Docker or Podman, or buildah, which needs no right to start containers."""

    def __init__(self, name):
        self.name = name
        self.chroot = ["--isolation", "chroot"] if name == "buildah" else []

    def build(self, base):
        form = [] if self.name == "docker" else ["--format", "docker"]  # The other form has no health check.
        options = [*self.chroot, *form, "--build-arg", f"BASE={base}", "--build-arg", "EXTRAS=server"]
        return run(self.name, "build", *options, "-t", IMAGE, ".")

    def run(self, runs, *words, user=None):
        """A command in a new container that has `runs` mounted where its runs go."""
        as_user = ["--user", str(user)] if user else []
        mounted = ["-v", f"{runs}:{HOME}/runs"]
        if self.name != "buildah":
            return run(self.name, "run", "--rm", *as_user, *mounted, "--entrypoint", words[0], IMAGE, *words[1:])
        container = run("buildah", "from", IMAGE).stdout.strip()
        try:
            return run("buildah", "run", *self.chroot, *as_user, *mounted, container, "--", *words)
        finally:
            run("buildah", "rm", container)

    def remove(self):
        run(self.name, "rmi", "--force", IMAGE)


@pytest.fixture(scope="module")
def engine():
    base = os.environ.get("KERASNN_IMAGE_BASE")
    if not base:
        pytest.skip("takes minutes: KERASNN_IMAGE_BASE=python:3.12-slim names the base to build on")
    there = filter(shutil.which, ("docker", "podman", "buildah"))
    # The client alone is not enough: `info` asks the daemon.
    name = next((name for name in there if not run(name, "info").returncode), None)
    if name is None:
        pytest.skip("needs docker with its daemon, podman or buildah")
    engine = Engine(name)
    built = engine.build(base)  # Its last step trains: an image that cannot is not made.
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]
    yield engine
    engine.remove()


@pytest.fixture
def runs(tmp_path):
    """A folder that any user of a container can write into, where the test is another user than that."""
    folder = tmp_path / "runs"
    folder.mkdir()
    folder.chmod(0o777)
    yield folder
    if os.geteuid() != 0:
        shutil.rmtree(folder, ignore_errors=True)


def test_image_says_that_nothing_is_broken(engine, runs):
    answer = engine.run(runs, "python", "-m", "kerasnn", "doctor")
    assert answer.returncode == 0, answer.stderr
    assert "Nothing is broken." in answer.stdout
    assert f"{HOME}/runs" in answer.stdout


@pytest.mark.parametrize("user", [None, 1234])
def test_image_trains_without_root_for_whom_the_runs_belong_to(engine, runs, user):
    sweep = ["-m", "model=perceptron", "seed=0,1", "trainer=smoke", "hydra/launcher=kerasnn"]
    answer = engine.run(runs, "python", "-m", "kerasnn", *sweep, "hydra.sweep.dir=runs/sweep", user=user)
    assert answer.returncode == 0, answer.stdout[-2000:] + answer.stderr[-2000:]
    assert "2 of 2 runs finished" in answer.stdout
    made = [runs / "mlflow.db", runs / "sweep" / "sweep.csv", runs / "sweep" / "1" / "result.json"]
    assert {path.stat().st_uid for path in made} == {user or USER}


def test_image_tells_what_it_cannot_do_by_its_exit_code(engine, runs):
    typo = engine.run(runs, "python", "-m", "kerasnn", "model=vg16")
    assert (typo.returncode, typo.stdout) == (2, "")
    assert "did you mean 'vgg16'?" in typo.stderr
    runs.chmod(0o755)  # As Docker makes the folder of the host that is mounted and is not there.
    if runs.stat().st_uid == USER:
        pytest.skip(f"the folder belongs to the user {USER} of the image, who is also the one that tests")
    barred = engine.run(runs, "python", "-m", "kerasnn", "model=perceptron", "trainer=smoke")
    assert barred.returncode == 2
    assert re.search(rf"kerasnn: {HOME}/runs/\S+ cannot be written: let this user \(number {USER}\)", barred.stderr)
    assert "Traceback" not in barred.stderr


def test_health_check_of_the_image_passes(engine, runs):
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    (command,) = re.findall(r"^HEALTHCHECK .*\\\n +CMD (.*)$", dockerfile, re.MULTILINE)
    assert engine.run(runs, "sh", "-c", command).returncode == 0


def test_image_holds_the_package_and_nothing_that_made_it(engine, runs):
    listing = engine.run(runs, "sh", "-c", f"ls -A /src {HOME} && python -c 'import kerasnn; print(kerasnn.__file__)'")
    assert listing.returncode == 0, listing.stderr
    assert not {"Dockerfile", "pyproject.toml", ".git", "tests"} & set(listing.stdout.split())
    assert listing.stdout.strip().endswith("/site-packages/kerasnn/__init__.py")
