"""Where runs are recorded: the tracking URI that holds, and the folders that go with it. Imports no MLflow."""

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from kerasnn.errors import ConfigError, DataError

RUNS = "runs"
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
SERVERS = ("http", "https", "databricks")
PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433, "http": 80, "https": 443}
KNOCK_SECONDS = 5.0


def resolve_uri(given: str | None = None, runs: str | Path = RUNS) -> str:
    """The tracking URI: what was given, else `MLFLOW_TRACKING_URI`, else SQLite at `<runs>/mlflow.db`, made absolute.

    Raises:
        ConfigError: a folder or `file:` URI, which MLflow no longer opens, or an unknown kind of store.

    Example:
        >>> resolve_uri("sqlite:///runs/mlflow.db")
        'sqlite:////home/ada/kerasnn/runs/mlflow.db'
    """
    uri = given or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path(runs).absolute() / 'mlflow.db'}"
    name = "tracking.uri" if given else "MLFLOW_TRACKING_URI"
    scheme = urlsplit(uri).scheme.split("+")[0]
    if scheme == "sqlite":
        return _absolute_sqlite(uri, name)
    if scheme in ("", "file"):
        raise ConfigError(
            f"{name}='{uri}' is a folder, and MLflow no longer keeps runs in folders: use a database such as "
            f"sqlite:///{RUNS}/mlflow.db or a server such as http://127.0.0.1:5000"
        )
    if scheme not in DATABASES + SERVERS and uri != "databricks":
        known = ", ".join(f"{known}://" for known in (*DATABASES, "http", "https", "databricks"))
        raise ConfigError(f"{name}='{uri}' is no tracking store: it starts with '{scheme}:', allowed are {known}")
    return uri


def _absolute_sqlite(uri: str, name: str) -> str:
    path = uri.split("?")[0].removeprefix("sqlite:///")
    if "://" in path or path in ("", ":memory:"):
        raise ConfigError(
            f"{name}='{uri}' names no file: write sqlite:///{RUNS}/mlflow.db (three slashes, then the path)"
        )
    return f"sqlite:///{Path(path).expanduser().absolute()}"


def database_file(uri: str) -> Path | None:
    """The SQLite file behind a resolved URI, None for any other store."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:") else None


def reachable(uri: str) -> str | None:
    """Why nothing answers at the address of a resolved URI, None where something does or there is no address.

    MLflow itself would try for minutes.
    """
    parts = urlsplit(uri)
    if database_file(uri) or not parts.hostname:
        return None
    port = parts.port or PORTS.get(parts.scheme.split("+")[0], 443)
    try:
        socket.create_connection((parts.hostname, port), timeout=KNOCK_SECONDS).close()
    except OSError as error:
        return f"{parts.hostname}:{port}: {error.strerror or error}"
    return None


def require_runs(uri: str) -> None:
    """Checks that there is something to read.

    Raises:
        DataError: the SQLite file behind a resolved URI does not exist.
    """
    file = database_file(uri)
    if file and not file.exists():
        raise DataError(f"no runs yet: {file} does not exist; train something first, or name another store with --uri")


def artifact_root(uri: str, runs: str | Path = RUNS) -> Path:
    """Where artifacts go: beside the SQLite file, or `<runs>/artifacts` for other databases. A server ignores it."""
    file = database_file(uri)
    return (file.parent if file else Path(runs).absolute()) / "artifacts"
