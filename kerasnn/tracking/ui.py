"""`kerasnn ui`: MLflow's own pages over the recorded runs, on this machine only."""

import os
import socket
import sys
from argparse import ArgumentParser
from typing import NoReturn

from kerasnn.errors import ConfigError, refuse_in_one_line
from kerasnn.tracking.store import artifact_root, require_runs, resolve_uri

HOST = "127.0.0.1"
PORT = 5000


def main(arguments: list[str]) -> NoReturn:
    """Starts the UI and stays with it until Ctrl-C.

    Raises:
        ConfigError: an unknown option, a port that is taken, or the store is a server that has its own pages.
        DataError: there are no runs yet.
    """
    parser = ArgumentParser(prog="kerasnn ui", description=__doc__)
    refuse_in_one_line(parser)
    add_arguments(parser)
    asked = parser.parse_args(arguments)
    uri = resolve_uri(asked.uri)
    if uri.startswith("http"):
        raise ConfigError(f"{uri} is a server with pages of its own: open it in a browser")
    require_runs(uri)
    _check_port(asked.host, asked.port)
    print(f"MLflow shows {uri} at http://{asked.host}:{asked.port} (Ctrl-C ends it)", flush=True)
    serve_ui(uri, str(artifact_root(uri)), asked.host, asked.port)


def add_arguments(parser: ArgumentParser) -> None:
    """The options of `kerasnn ui`."""
    parser.add_argument("--uri", help="tracking store (default: MLFLOW_TRACKING_URI, else SQLite at runs/mlflow.db)")
    parser.add_argument("--port", type=int, default=PORT, help=f"default {PORT}")
    parser.add_argument("--host", default=HOST, help=f"default {HOST}: reachable from this machine only")


def _check_port(host: str, port: int) -> None:
    if not 0 < port < 65536:
        raise ConfigError(f"--port {port} is no port: 1 <= port <= 65535")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"{host}:{port} cannot be used ({error.strerror}): choose another with --port {port % 65535 + 1}"
            ) from error


def serve_ui(uri: str, artifacts: str, host: str = HOST, port: int = PORT) -> NoReturn:
    """Becomes MLflow's server: this process is replaced, so Ctrl-C and its end are the server's own.

    Args:
        uri: a resolved tracking URI of a database.
        artifacts: the root for artifacts of experiments made in the UI.
        host: the address to listen at.
        port: the port to listen at.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # The server reads its store from its options alone.
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--workers", "1"]
    command += ["--default-artifact-root", artifacts, "--host", host, "--port", str(port)]
    sys.stdout.flush()
    os.execv(sys.executable, command)
