"""Who may import what, read from the sources with `ast`: the rooms of the package, and one direction between them."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLUGINS = "hydra_plugins/"
# By name -> path: those of the package from there, Hydra's plug-ins from the root.
PATHS = {path.relative_to(ROOT / "kerasnn").as_posix(): path for path in (ROOT / "kerasnn").rglob("*.py")}
PATHS |= {path.relative_to(ROOT).as_posix(): path for path in (ROOT / PLUGINS).rglob("*.py")}
FILES = sorted(PATHS)

# Import -> where it is allowed; a folder ends in a slash.
ALLOWED = {
    "hydra": ("cli.py", "config/", PLUGINS),
    "omegaconf": ("cli.py", "config/", PLUGINS),
    "mlflow": ("tracking/mlflow.py",),
    "tensorflow": (
        "data/",
        "augment/",
        "training/devices.py",
        "training/distribute.py",
        "training/lean_import.py",
        "analysis/cost.py",
    ),
    "keras_cv": ("augment/", "layers/"),
}
# Packages that are imported inside functions only: they are slow to load, or not always needed.
LATE = ("mlflow", "keras_cv", "keras_hub", "matplotlib", "scipy", "tensorflow_datasets", "tokenizers")
# What loads for --help, --cfg job and a typo; Hydra imports its plug-ins whenever it starts.
LIGHT = ("__init__.py", "__main__.py", "cli.py", "errors.py", "ranges.py", "config/", PLUGINS)
HEAVY = {"tensorflow", "keras", "mlflow", "numpy", "pandas", "matplotlib", "sklearn"}
# Pure rooms: no clock, disk, network or environment.
PURE = ("models/", "layers/", "augment/", "training/losses.py", "training/optimizers.py", "training/schedules.py")
IMPURE = {
    "os",
    "time",
    "datetime",
    "pathlib",
    "random",
    "socket",
    "urllib",
    "requests",
    "tempfile",
    "shutil",
    "subprocess",
}
# Room -> rooms of kerasnn that it must not know.
BLIND = {
    "data/": ("models", "layers", "training", "tracking", "analysis", "config", "augment"),
    "models/": ("training", "tracking", "analysis", "config", "data", "augment"),
    "layers/": ("models", "training", "tracking", "analysis", "config", "data", "augment"),
    "tracking/": ("models", "training", "data", "augment", "config"),
    "analysis/": ("training", "config"),
    PLUGINS: ("models", "layers", "data", "augment"),
}


def imports(file: str) -> list[tuple[str, bool]]:
    """Every imported module of a file, and whether it is imported at the top (not inside a function)."""
    tree = ast.parse(PATHS[file].read_text(encoding="utf-8"))
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) not in inside) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [(name, id(node) not in inside) for name in (node.module, *names)]
    return found


def within(file: str, places) -> bool:
    return any(file == place or (place.endswith("/") and file.startswith(place)) for place in places)


@pytest.mark.parametrize("file", FILES)
def test_file_imports_only_what_its_room_may(file):
    for name, at_top in imports(file):
        root = name.split(".")[0]
        if root in ALLOWED:
            assert within(file, ALLOWED[root]), f"{file} imports {name}"
        if root in LATE:
            assert not at_top, f"{file} imports {name} at the top"
        if within(file, PURE):
            assert root not in IMPURE, f"{file} is pure, and imports {name}"
        if within(file, LIGHT) and at_top:
            assert root not in HEAVY, f"{file} must stay light, and imports {name}"
        for room, unseen in BLIND.items():
            if file.startswith(room):
                assert name.split(".")[:1] != ["kerasnn"] or name.split(".")[1:2] not in [[r] for r in unseen], (
                    f"{file} imports {name}"
                )


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("models/")])
def test_model_family_never_imports_another(file):
    if file in ("models/catalogue.py", "models/__init__.py"):
        return
    known = {f"kerasnn.models.{room}" for room in ("heads", "inputs", "rounding")}
    others = {name for name, _ in imports(file) if name.startswith("kerasnn.models.")}
    assert {".".join(name.split(".")[:3]) for name in others} <= known


def test_distribution_strategies_are_named_where_devices_are_opened_and_shared():
    users = [file for file in FILES if "tf.distribute" in PATHS[file].read_text(encoding="utf-8")]
    assert users == ["training/devices.py", "training/distribute.py"]


def test_files_of_hydras_plug_ins_are_among_those_that_are_read():
    assert f"{PLUGINS}kerasnn_launcher/launcher.py" in FILES
    assert within(f"{PLUGINS}kerasnn_launcher/launcher.py", LIGHT)


@pytest.mark.parametrize("file", FILES)
def test_file_is_short_enough_to_read(file):
    assert len(PATHS[file].read_text(encoding="utf-8").splitlines()) <= 350


@pytest.mark.parametrize("file", FILES)
def test_file_has_no_drawer_name(file):
    assert Path(file).stem not in {"utils", "util", "common", "base", "helpers", "manager", "misc"}
