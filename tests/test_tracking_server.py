"""MLflow on PostgreSQL, started by the very words of compose.yaml: a training is recorded there and read back."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from compose_file import services

from kerasnn.tracking import runs

ROOT = Path(__file__).resolve().parents[1]
PASSWORD = "chosen for this test"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def postgres(name):
    """A program of PostgreSQL's; Debian keeps them out of the path."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4]))
    return str(found[-1]) if found else shutil.which(name)


@pytest.fixture(scope="module")
def database():
    """A PostgreSQL of our own that asks for the password; its port."""
    if not postgres("initdb") or not postgres("pg_ctl"):
        pytest.skip("needs PostgreSQL (apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="needs PostgreSQL's driver: pip install 'kerasnn[server]'")
    # It refuses to run as root; the user that its packages make will do.
    other = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="kerasnn-postgres-"))
    port, secret = free_port(), folder / "password"
    secret.write_text(PASSWORD)
    if other:
        shutil.chown(folder, "postgres", "postgres")
        shutil.chown(secret, "postgres", "postgres")

    def run(program, *words):
        environment = {**os.environ, "PGPASSWORD": PASSWORD}
        command = [postgres(program), *words]
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL, **other)

    place = ["-D", str(folder / "data")]
    run("initdb", *place, "-U", "kerasnn", "--auth=scram-sha-256", f"--pwfile={secret}")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    run("pg_ctl", "start", *place, "-w", "-o", options, "-l", str(folder / "log"))
    try:
        run("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "kerasnn", "mlflow")
        yield port
    finally:
        run("pg_ctl", "stop", *place, "-m", "immediate")
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(database, tmp_path_factory):
    """The service `mlflow` of compose.yaml with addresses and folders of this machine; its address."""
    service = services((ROOT / "compose.yaml").read_text(encoding="utf-8"), POSTGRES_PASSWORD=PASSWORD)["mlflow"]
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    here = {
        "database:5432": f"127.0.0.1:{database}",
        "destination=/artifacts": f"destination={folder / 'artifacts'}",
        "--host=0.0.0.0": "--host=127.0.0.1",
        ":5000": f":{port}",
        "--port=5000": f"--port={port}",
    }

    def local(words):
        for there, this in here.items():
            words = [word.replace(there, this) for word in words]
        return [sys.executable if word == "python" else word for word in words]

    settings = {**os.environ, **service["environment"]}
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(
            local([*service["entrypoint"], *service["command"]]),
            cwd=folder, env=settings, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    check = local(service["healthcheck"]["test"][1:])
    try:
        end = time.monotonic() + 120
        while subprocess.run(check, stderr=subprocess.DEVNULL, check=False).returncode:
            assert process.poll() is None, (folder / "log").read_text()[-3000:]
            assert time.monotonic() < end, (folder / "log").read_text()[-3000:]
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(
            process.pid, signal.SIGKILL
        )  # Its workers and its jobs too; an orderly end takes a quarter of a minute.
        process.wait(timeout=30)


def test_training_is_recorded_on_the_server_and_read_back(server, tmp_path, monkeypatch):
    overrides = ["model=perceptron", "trainer=smoke", f"tracking.uri={server}", "hydra.run.dir=runs/one"]
    done = subprocess.run(
        [sys.executable, "-m", "kerasnn", *overrides], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    from kerasnn.tracking.mlflow import connect, read_runs

    (run,) = read_runs(server)
    assert (run["name"], run["status"]) == ("perceptron", "FINISHED")
    told = json.loads((tmp_path / "runs" / "one" / "result.json").read_text())
    assert {name: run["metrics"][name] for name in told["metrics"]} == told["metrics"]
    kept = {found.path for found in connect(server).list_artifacts(run["run_id"])}
    assert {"config.yaml", "result.json", "figures"} <= kept
    assert not (tmp_path / "mlartifacts").exists()

    # From another folder, where only the server knows the run: its model comes back as it was.
    model = (tmp_path / "runs" / "one" / "checkpoints" / "best.keras").read_bytes()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    start = runs.find(run["run_id"], server)
    assert start.choice == "perceptron"
    assert start.model.read_bytes() == model


def test_server_answers_by_the_names_it_is_called_by_and_by_no_other(server):
    def status(host):
        request = urllib.request.Request(f"{server}/api/2.0/mlflow/experiments/get?experiment_id=0")
        request.add_header("Host", host)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    port = server.rpartition(":")[2]
    assert {status(f"{name}:{port}") for name in ("mlflow", "localhost", "127.0.0.1")} == {200}
    assert status(f"evil.example:{port}") == 403
