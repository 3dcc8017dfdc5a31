"""The image and the services, as far as they can be judged without an engine."""

import re
import subprocess
import tomllib
from fnmatch import fnmatch
from importlib.metadata import requires
from pathlib import Path, PurePosixPath

import pytest
import yaml
from compose_file import compose_command, services, variables
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from kerasnn.config.compose import check

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = (ROOT / "compose.yaml").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXAMPLE = dict(line.split("=", 1) for line in (ROOT / ".env.example").read_text().splitlines() if re.match(r"\w", line))
INSTRUCTIONS = [
    tuple(line.split(maxsplit=1))
    for line in re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE)).splitlines()
    if line.strip()
]


def in_context(name):
    """Whether a file of the checkout is sent to the engine: of the patterns of .dockerignore, the last that fits."""
    kept = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!").removeprefix("**/")
        path = PurePosixPath(name)
        tops = [path, *path.parents][:-1]
        anywhere = "**/" in line and any(fnmatch(part, pattern) for part in path.parts)
        if anywhere or any(top.parent == PurePosixPath(".") and fnmatch(str(top), pattern) for top in tops):
            kept = line.startswith("!")
    return kept


@pytest.fixture
def pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {canonicalize_name(name): pin for name, _, pin in (line.partition("==") for line in lines) if pin}


def test_context_holds_all_that_the_wheel_is_made_of():
    project, wheel = PROJECT["project"], PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    packages = [next((ROOT / package).rglob("*.py")).relative_to(ROOT).as_posix() for package in wheel["packages"]]
    folders = [next((ROOT / name).rglob("*.yaml")).relative_to(ROOT).as_posix() for name in wheel["force-include"]]
    needed = ["pyproject.toml", "constraints.txt", project["readme"], *project["license-files"], *packages, *folders]
    assert [name for name in needed if not in_context(name)] == []
    assert all((ROOT / name).exists() for name in needed)


@pytest.mark.parametrize(
    "name", [".env", ".git/HEAD", "runs/mlflow.db", "tests/test_docker.py", "kerasnn/__pycache__/cli.pyc", "data/a.png"]
)
def test_context_holds_no_secret_and_no_ballast(name):
    assert not in_context(name)


def test_every_copied_file_is_in_the_context():
    copied = [word for kind, words in INSTRUCTIONS if kind == "COPY" for word in words.split()[:-1]]
    assert copied == ["pyproject.toml", "constraints.txt", "."]
    assert all((ROOT / word).exists() for word in copied)


def test_dependencies_are_a_layer_before_the_code_with_locked_versions():
    kinds = [f"{kind} {words}" for kind, words in INSTRUCTIONS]
    (locked,) = (place for place, words in enumerate(kinds) if "--constraint constraints.txt" in words)
    code = kinds.index("COPY . .")
    assert locked < code
    assert "--no-deps" in kinds[code + 1]


def test_image_takes_a_base_and_runs_as_a_user_who_is_not_root():
    words = dict(INSTRUCTIONS)  # The last of each kind.
    assert INSTRUCTIONS[0] == ("ARG", "BASE=python:3.12-slim")
    assert words["FROM"] == "${BASE}"
    assert words["USER"] == "kerasnn"
    assert words["ENTRYPOINT"] == '["python", "-m", "kerasnn"]'
    order = [kind for kind, _ in INSTRUCTIONS]
    assert order.index("USER") < order.index("HEALTHCHECK")


@pytest.mark.parametrize("kind", ["RUN", "HEALTHCHECK"])
def test_digits_run_is_the_check_of_the_build_and_of_the_container(kind):
    (command,) = (words for name, words in INSTRUCTIONS if name == kind and "python -m kerasnn" in words)
    overrides = [word for word in command.split("python -m kerasnn")[1].split("&&")[0].split() if "hydra." not in word]
    config = check(overrides)
    assert (config.choices["model"], config.choices["data"]) == ("lenet5", "digits")


def test_extras_of_the_image_exist():
    (extras,) = re.findall(r"^ARG EXTRAS=(\S+)", DOCKERFILE, re.MULTILINE)
    assert set(extras.split(",")) <= set(PROJECT["project"]["optional-dependencies"])


def test_every_dependency_is_locked_within_its_bounds(pins):
    project = PROJECT["project"]
    listed = [*project["dependencies"], *(need for extra in ("gpu", "server", "hub", "slurm", "dev")
                                          for need in project["optional-dependencies"][extra])]  # fmt: skip
    needs = [need for need in map(Requirement, listed) if need.name != "kerasnn"]
    assert len(needs) > 15
    for need in needs:
        assert need.specifier.contains(pins[canonicalize_name(need.name)]), need


def test_cuda_libraries_of_tensorflow_are_locked_within_its_bounds(pins):
    needs = [need for need in map(Requirement, requires("tensorflow")) if "and-cuda" in str(need.marker)]
    assert len(needs) >= 10
    for need in needs:
        assert need.specifier.contains(pins[canonicalize_name(need.name)]), need


def test_services_need_a_password_and_no_file_of_ours_holds_one():
    with pytest.raises(KeyError, match="POSTGRES_PASSWORD"):
        services(COMPOSE)
    found = services(COMPOSE, POSTGRES_PASSWORD="chosen")
    assert found["database"]["environment"]["POSTGRES_PASSWORD"] == "chosen"
    assert found["mlflow"]["environment"]["PGPASSWORD"] == "chosen"
    assert not any("chosen" in word for service in found.values() for word in service.get("command", ()))
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


def test_example_of_the_environment_names_every_variable_and_composes():
    assert set(EXAMPLE) == variables(COMPOSE)
    assert services(COMPOSE, **EXAMPLE) == services(COMPOSE, POSTGRES_PASSWORD=EXAMPLE["POSTGRES_PASSWORD"])


def test_mlflow_is_reached_from_this_machine_alone_unless_told_otherwise():
    found = services(COMPOSE, POSTGRES_PASSWORD="x")
    ports = {name: service["ports"] for name, service in found.items() if "ports" in service}
    assert ports == {"mlflow": ["127.0.0.1:5000:5000"]}
    told = services(COMPOSE, POSTGRES_PASSWORD="x", MLFLOW_ADDRESS="10.0.0.7", MLFLOW_PORT="80")
    assert told["mlflow"]["ports"] == ["10.0.0.7:80:5000"]


def test_services_wait_for_each_other_and_come_back():
    found = services(COMPOSE, POSTGRES_PASSWORD="x")
    assert found["mlflow"]["depends_on"] == {"database": {"condition": "service_healthy"}}
    assert found["train"]["depends_on"] == {"mlflow": {"condition": "service_healthy"}}
    assert all(service["restart"] for service in found.values())
    assert all("healthcheck" in found[name] for name in ("database", "mlflow"))
    volumes = yaml.safe_load(COMPOSE)["volumes"]
    used = {mount.split(":")[0] for service in found.values() for mount in service["volumes"]}
    assert used == set(volumes)
    # A volume that Docker makes belongs to who owns the folder in the image; of these the user must be the owner.
    for name in ("mlflow", "train"):
        for mount in found[name]["volumes"]:
            assert mount.split(":")[1].startswith(("/artifacts", "/home/kerasnn"))


def test_training_takes_all_gpus_and_its_command_composes():
    train = services(COMPOSE, POSTGRES_PASSWORD="x")["train"]
    (devices,) = train["deploy"]["resources"]["reservations"]["devices"]
    assert devices == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    config = check(train["command"])
    assert (config.strategy.name, config.strategy.kind) == ("mirrored", "GPU")
    assert train["environment"]["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"


def test_without_a_gpu_a_service_trains_on_the_cpu_where_it_is_named():
    found = services(COMPOSE, POSTGRES_PASSWORD="x")
    train = found["train-cpu"]
    assert train["profiles"] == ["cpu"]
    assert [name for name, service in found.items() if "deploy" in service] == ["train"]
    config = check(train["command"])
    assert (config.choices["data"], config.strategy.kind) == ("digits", "CPU")
    same = ("environment", "volumes", "depends_on", "restart", "image", "build")
    assert {key: train[key] for key in same} == {key: found["train"][key] for key in same}


def test_extras_are_chosen_in_one_place():
    built = [service["build"] for service in services(COMPOSE, POSTGRES_PASSWORD="x", EXTRAS="server").values()
             if "build" in service]  # fmt: skip
    assert built == [{"context": ".", "args": {"EXTRAS": "server"}}] * 3
    assert f"ARG EXTRAS={EXAMPLE['EXTRAS']}" in DOCKERFILE


def test_engine_reads_the_services(tmp_path):
    command = [*compose_command(), "--profile", "cpu", "config"]
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    (tmp_path / ".env").write_text((ROOT / ".env.example").read_text())
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert set(yaml.safe_load(answer.stdout)["services"]) == {"database", "mlflow", "train", "train-cpu"}
