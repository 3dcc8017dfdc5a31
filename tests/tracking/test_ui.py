import os
import socket
import sqlite3

import pytest

from kerasnn.errors import ConfigError, DataError
from kerasnn.tracking import ui


@pytest.fixture
def database(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    sqlite3.connect(tmp_path / "runs" / "mlflow.db").close()
    return tmp_path / "runs" / "mlflow.db"


def test_ui_becomes_mlflows_server_on_this_machine_only(database, monkeypatch):
    called = []
    monkeypatch.setattr(os, "execv", lambda program, command: called.append(command))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ui.main(["--port", str(port)])
    (command,) = called
    assert command[1:4] == ["-m", "mlflow", "server"]
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert options["--backend-store-uri"] == f"sqlite:///{database}"
    assert options["--default-artifact-root"] == str(database.parent / "artifacts")
    assert (options["--host"], options["--port"]) == ("127.0.0.1", str(port))


def test_ui_names_a_free_way_when_the_port_is_taken(database):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port} cannot be used .* choose another with --port"):
            ui.main(["--port", str(port)])


def test_ui_without_runs_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"no runs yet: .*mlflow.db does not exist"):
        ui.main([])
    assert not (tmp_path / "runs").exists()


def test_ui_of_a_server_is_its_own(tmp_path):
    with pytest.raises(ConfigError, match="open it in a browser"):
        ui.main(["--uri", "http://127.0.0.1:5000"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prot", "3"], "unrecognized arguments: --prot 3: did you mean '--port'"),
        (["--hots=::1"], "unrecognized arguments: --hots=::1: did you mean '--host'"),
        (["--port", "x"], r"argument --port: invalid int value: 'x' \(see --help\)"),
    ],
)
def test_ui_refuses_in_one_line(arguments, message, capsys):
    with pytest.raises(ConfigError, match=message) as caught:
        ui.main(arguments)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().err == ""
