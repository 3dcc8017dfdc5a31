"""Runs as places to start from: found by id, name, folder or file, on disk first, then in the MLflow store.

A run folder says it all: `config.yaml` has the network, `checkpoints/best.keras` its weights, `result.json` how its
inputs were made. What only the store has is fetched into such a folder under `runs/downloads`. MLflow is never imported
here: a process of its own is asked, and only for what no folder has.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from os import environ
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from kerasnn.errors import DataError, suggestion
from kerasnn.tracking.store import RUNS, database_file, resolve_uri

RESULT, CONFIG, BEST, TOKENIZER = "result.json", "config.yaml", "checkpoints/best.keras", "tokenizer.json"
DOWNLOADS = "downloads"
REGISTRY, MODEL = "models:/", "model"
LEAST_PREFIX = 7  # As many characters of an id as `kerasnn compare` shows.
FILES = (".keras", ".h5", ".hdf5")
LIST = "python -m kerasnn compare lists them"

READ_RUNS = """
import json, sys
from kerasnn.tracking.mlflow import read_runs
rows = [{key: row[key] for key in ("run_id", "name", "status")} for row in read_runs(sys.argv[1])]
print(json.dumps([row for row in rows if row["status"] == "FINISHED"]))
"""

FETCH = """
from pathlib import Path
import yaml
from mlflow.artifacts import download_artifacts
artifact, place = sys.argv[1:]
download_artifacts(artifact_uri=artifact, dst_path=place)
package = next(Path(place).glob("**/MLmodel")).parent  # Right there, or below the model's name.
run_id = yaml.safe_load((package / "MLmodel").read_text())["run_id"]
for name in ("result.json", "config.yaml"):
    download_artifacts(artifact_uri=f"runs:/{run_id}/{name}", dst_path=place)
print(package)
"""


@dataclass(frozen=True)
class Start:
    """A trained network that a new training can start from.

    Args:
        label: what messages call it.
        model: the `.keras` file.
        choice: what its run chose by `model=`; None where the file is all there is.
        network: the values of its run's section `model`.
        facts: how its inputs were made and what its answers stand for, as `result.json` has them.
        tokenizer: what made tokens of its texts, as `Tokenizer.to_json` gives it; None for pictures.
        hashes: of its splits, as `result.json` has them.
        data: the values of its run's section `data`.
    """

    label: str
    model: Path
    choice: str | None = None
    network: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    tokenizer: str | None = None
    hashes: dict[str, str] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)


def find(named: str, uri: str | None = None) -> Start:
    """What a name stands for.

    Args:
        named: the id of a run (its first seven characters do), its name, its folder, a `.keras` file, or
            `models:/NAME/VERSION` in MLflow's registry.
        uri: the tracking store; None is the default one.

    Raises:
        DataError: nothing is called so, several runs are, or the run kept no model.

    Example:
        >>> find("3f2a91c").choice
        'resnet20'
    """
    if named.startswith(REGISTRY):
        return _read(_fetch(named, resolve_uri(uri)))
    path = Path(named).expanduser()
    if path.is_dir() and (path / RESULT).is_file():
        return _read(path)
    if named.endswith(FILES):
        return _read_file(path, named)
    local = list(_local())
    found = _pick(named, local)
    if found:
        return _read(Path(found["folder"]))
    stored = _stored(resolve_uri(uri))
    found = _pick(named, stored)
    if not found:
        known = {row["name"] for row in (*local, *stored)} | {row["run_id"] for row in local if row["run_id"]}
        tail = suggestion(named, known).split("known: ")[0]
        if path.is_dir():
            raise DataError(f"{named} is a folder, but no run's, which has a {RESULT}: {tail}{LIST}")
        if path.is_file():
            raise DataError(f"{named} is a file, but none of weights, which are {', '.join(FILES)}: {tail}{LIST}")
        raise DataError(f"{named} is no run, file or folder: {tail}{LIST}")
    return _read(_fetch(f"runs:/{found['run_id']}/{MODEL}", resolve_uri(uri)))


def _local() -> Iterator[dict[str, Any]]:
    """Every run on disk: id, name, folder."""
    for path in sorted(Path(RUNS).glob(f"**/{RESULT}")):
        result = _json(path)
        if isinstance(result.get("name"), str):
            yield {"run_id": result.get("run_id"), "name": result["name"], "folder": str(path.parent)}


def _pick(named: str, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The one row that is meant: by id, by the beginning of one, or by name; None where there is none."""
    ids = [row for row in rows if row["run_id"] and row["run_id"].startswith(named) and len(named) >= LEAST_PREFIX]
    called = [row for row in rows if row["name"] == named]
    kept = [row for row in called if "folder" not in row or (Path(row["folder"]) / BEST).is_file()]
    found = ids or kept or called
    ways = sorted({row["run_id"] or row["folder"] for row in found})
    if len(ways) > 1:
        raise DataError(
            f"{named} fits {len(ways)} runs: give the id or the folder of one, such as {', '.join(ways[:5])}; {LIST}"
        )
    return found[0] if found else None


def _read(folder: Path) -> Start:
    if not (folder / BEST).is_file():
        raise DataError(f"{folder} has no {BEST}: the run ended before its first epoch did; {LIST}")
    result = _json(folder / RESULT)
    choice = result.get("choices", {}).get("model")
    config = _yaml(folder / CONFIG)
    facts = result.get("facts") or {}
    label = f"run {result.get('name', folder.name)}" + (f" ({result['run_id'][:7]})" if result.get("run_id") else "")
    words = folder / TOKENIZER
    tokenizer = words.read_text(encoding="utf-8") if words.is_file() else None
    network, data, hashes = config.get("model") or {}, config.get("data") or {}, result.get("hashes") or {}
    return Start(label, folder / BEST, choice, network, facts, tokenizer, hashes, data)


def _read_file(path: Path, named: str) -> Start:
    """A file; what lies in a run folder has the run's facts beside it."""
    if not path.is_file() and not path.is_absolute() and "KERASNN_DATA" in environ:
        path = Path(environ["KERASNN_DATA"]) / path
    if not path.is_file():
        raise DataError(f"{named}: there is no such file")
    folder = path.absolute().parents[1]
    if path.suffix == ".keras" and (folder / RESULT).is_file() and (folder / CONFIG).is_file():
        known = _read(folder)
        return replace(known, label=f"{named} of {known.label}", model=path)
    return Start(named, path)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # A run that is just being written, or another program's file.
        return {}
    return value if isinstance(value, dict) else {}


def _yaml(path: Path) -> dict[str, Any]:
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return value if isinstance(value, dict) else {}


@cache
def _stored(uri: str) -> list[dict[str, Any]]:
    """The finished runs of the store, by a process of its own; none where there is no store."""
    file = database_file(uri)
    if file and not file.exists():
        return []
    return json.loads(_ask(["-c", _program(READ_RUNS), uri], uri))


@cache
def _fetch(artifact: str, uri: str) -> Path:
    """A model in the store, and of the run that made it what else there is, laid out as a run folder."""
    own = artifact.removeprefix("runs:/").removeprefix(REGISTRY).removesuffix(f"/{MODEL}")
    folder = Path(RUNS) / DOWNLOADS / own.replace("/", "-").replace("@", "-")
    with TemporaryDirectory() as place:
        package = Path(_ask(["-c", _program(FETCH), artifact, place], uri).splitlines()[-1])
        described, model = _yaml(package / "MLmodel"), package / "data" / "model.keras"
        if not model.is_file():
            raise DataError(f"{artifact} is no model of kerasnn's: it has no file data/model.keras; {LIST}")
        result = _json(Path(place) / RESULT) | {"run_id": described.get("run_id")}
        result["facts"] = result.get("facts") or described.get("metadata") or {}
        (folder / BEST).parent.mkdir(parents=True, exist_ok=True)
        copyfile(model, folder / BEST)
        if (Path(place) / CONFIG).is_file():
            copyfile(Path(place) / CONFIG, folder / CONFIG)
        tokenizer = (described.get("metadata") or {}).get("tokenizer")
        if tokenizer:
            (folder / TOKENIZER).write_text(tokenizer, encoding="utf-8")
    (folder / RESULT).write_text(json.dumps({"name": own, **result}), encoding="utf-8")
    return folder


def _program(body: str) -> str:
    """A program that sees the same packages as this process, however this process came by them."""
    return f"import sys; sys.path[:] = {sys.path!r}\n{body}"


def _ask(arguments: list[str], uri: str) -> str:
    """What a fresh Python prints; MLflow lives and dies in there."""
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
    settings = {**environ, **quiet, "MLFLOW_TRACKING_URI": uri}
    done = subprocess.run([sys.executable, *arguments], env=settings, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        what = arguments[2] if len(arguments) > 3 else "its runs"
        raise DataError(f"{uri} does not give out {what}: {reason[:300]}")
    return done.stdout
