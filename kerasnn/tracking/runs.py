"""Runs as places to start from: found by id, name, folder or file, on disk first, then in the MLflow store.

A run folder says it all: `config.yaml` has the network, `checkpoints/best.keras` its weights, `result.json` how its
inputs were made. What only the store has is fetched into such a folder under `runs/downloads`. MLflow is never imported
here: a process of its own is asked, and only for what no folder has.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from kerasnn.errors import DataError
from kerasnn.tracking.folders import CONFIG, DOWNLOADS, RESULT, RunFolder, read_result, run_folders
from kerasnn.tracking.naming import meant, nearest
from kerasnn.tracking.store import RUNS, database_file, resolve_uri

BEST, TOKENIZER = "checkpoints/best.keras", "tokenizer.json"
REGISTRY, MODEL = "models:/", "model"
FILES = (".keras", ".h5", ".hdf5")
LIST = "python -m kerasnn compare lists them"

READ_RUNS = """
import json, sys
from kerasnn.tracking.mlflow import read_runs
rows = [row for row in read_runs(sys.argv[1]) if row["status"] == "FINISHED"]
print(json.dumps([{key: row[key] for key in ("run_id", "name")} for row in rows]))
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
class Stored:
    """A run that the store has."""

    run_id: str
    name: str


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
        return _read_file(named)
    local = _local()
    if found := _one(named, meant(named, local, _kept)):
        return _read(found.path)
    stored = _stored(resolve_uri(uri))
    if found := _one(named, meant(named, stored, _kept)):
        return _read(_fetch(f"runs:/{found.run_id}/{MODEL}", resolve_uri(uri)))
    tail = nearest(named, [*local, *stored])
    if path.is_dir():
        raise DataError(f"{named} is a folder, but no run's, which has a {RESULT}: {tail}{LIST}")
    if path.is_file():
        raise DataError(f"{named} is a file, but none of weights, which are {', '.join(FILES)}: {tail}{LIST}")
    raise DataError(f"{named} is no run, file or folder: {tail}{LIST}")


def located(named: str) -> Path:
    """A path as it is given, or below `$KERASNN_DATA` where that one exists, as data sets are found."""
    path = Path(named).expanduser()
    beside = Path(os.environ.get("KERASNN_DATA", "")) / path
    return beside if not path.exists() and beside.exists() else path


def require_file(named: str) -> Path:
    """A file as it is given, or in `$KERASNN_DATA`.

    Raises:
        DataError: it is in neither.
    """
    path = located(named)
    if not path.is_file():
        raise DataError(f"{named}: there is no such file, here or in $KERASNN_DATA")
    return path


def _local() -> list[RunFolder]:
    """Every run on disk, and after them those that were fetched from the store."""
    return [*run_folders(RUNS), *run_folders(Path(RUNS) / DOWNLOADS)]


def _kept(run: "RunFolder | Stored") -> bool:
    return isinstance(run, Stored) or (run.path / BEST).is_file()


def _one(named: str, found: Sequence["RunFolder | Stored"]) -> Any:
    """The one that is meant; None where there is none."""
    ways = sorted({run.run_id or os.path.relpath(run.path) for run in found})
    if len(ways) > 1:
        raise DataError(
            f"{named} fits {len(ways)} runs: give the id or the folder of one, such as {', '.join(ways[:5])}; {LIST}"
        )
    return found[0] if found else None


def _read(folder: Path) -> Start:
    if not (folder / BEST).is_file():
        place = os.path.relpath(folder)
        raise DataError(f"{place} has no {BEST}: the run ended before its first epoch did; {LIST}")
    result = read_result(folder)
    choice = result.get("choices", {}).get("model")
    config = _yaml(folder / CONFIG)
    facts = result.get("facts") or {}
    label = f"run {result.get('name', folder.name)}" + (f" ({result['run_id'][:7]})" if result.get("run_id") else "")
    words = folder / TOKENIZER
    tokenizer = words.read_text(encoding="utf-8") if words.is_file() else None
    network, data, hashes = config.get("model") or {}, config.get("data") or {}, result.get("hashes") or {}
    return Start(label, folder / BEST, choice, network, facts, tokenizer, hashes, data)


def _read_file(named: str) -> Start:
    """A file; what lies in a run folder has the run's facts beside it."""
    path = require_file(named)
    folder = path.absolute().parents[1]
    if path.suffix == ".keras" and (folder / RESULT).is_file() and (folder / CONFIG).is_file():
        known = _read(folder)
        return replace(known, label=f"{named} of {known.label}", model=path)
    return Start(named, path)


def _yaml(path: Path) -> dict[str, Any]:
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return value if isinstance(value, dict) else {}


@cache
def _stored(uri: str) -> list[Stored]:
    """The finished runs of the store, by a process of its own; none where there is no store."""
    file = database_file(uri)
    if file and not file.exists():
        return []
    return [Stored(**row) for row in json.loads(_ask(["-c", _program(READ_RUNS), uri], uri))]


@cache
def _fetch(artifact: str, uri: str) -> Path:
    """A model in the store, and of the run that made it what else there is, laid out as a run folder."""
    own = artifact.removeprefix("runs:/").removeprefix(REGISTRY).removesuffix(f"/{MODEL}")
    folder = Path(RUNS).absolute() / DOWNLOADS / own.replace("/", "-").replace("@", "-")
    with TemporaryDirectory() as place:
        package = Path(_ask(["-c", _program(FETCH), artifact, place], uri).splitlines()[-1])
        described, model = _yaml(package / "MLmodel"), package / "data" / "model.keras"
        if not model.is_file():
            raise DataError(f"{artifact} is no model of kerasnn's: it has no file data/model.keras; {LIST}")
        result = read_result(Path(place)) | {"run_id": described.get("run_id")}
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
    settings = {**os.environ, **quiet, "MLFLOW_TRACKING_URI": uri}
    done = subprocess.run([sys.executable, *arguments], env=settings, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        what = arguments[2] if len(arguments) > 3 else "its runs"
        raise DataError(f"{uri} does not give out {what}: {reason[:300]}")
    return done.stdout
