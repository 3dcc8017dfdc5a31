"""Reads the signature of a `_target_` from its source, so that a config is checked before TensorFlow is imported.

Only public definitions inside a package are found: names that a module merely imported from elsewhere (`os`,
`subprocess`) do not resolve, so a config from a stranger cannot reach them.
"""

import ast
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kerasnn import ranges
from kerasnn.config.plugins import plugin_packages
from kerasnn.errors import ConfigError, suggestion


@dataclass(frozen=True)
class Parameter:
    """One argument: its annotation (Any where the source has none) and whether a value must be given."""

    annotation: Any
    required: bool


@dataclass(frozen=True)
class Signature:
    """Where a target is defined, and what it takes."""

    module: str
    name: str
    parameters: dict[str, Parameter]


@cache
def signature(target: str) -> Signature:
    """The signature of a dotted name such as `kerasnn.models.vgg.vgg`.

    Raises:
        ConfigError: nothing public is defined there.
    """
    module, _, name = target.rpartition(".")
    found = None if "._" in target else _find(module, name)
    if found is None:
        raise ConfigError(_not_found(target, module, name))
    module, node = found
    return Signature(module, node.name, _parameters(module, node))


def _not_found(target: str, module: str, name: str) -> str:
    path = _file(module)
    if path is None:
        return f"_target_ '{target}' does not exist: there is no module '{module}'"
    public = [item for item in _names(path) if not item.startswith("_")]
    return f"_target_ '{target}' does not exist: {suggestion(name, public)}"


def _file(module: str) -> Path | None:
    """The source file of a module, found without importing its parents."""
    root, *rest = module.split(".")
    spec = find_spec(root)
    if spec is None or not (spec.origin or spec.submodule_search_locations):
        return None
    # A package without __init__.py has no origin, and may lie in several places.
    roots = [Path(spec.origin).parent] if spec.origin else list(map(Path, spec.submodule_search_locations))
    # keras-cv appends its folder `api` to its own search path, which only an import would run.
    paths = [folder.joinpath(*rest) for root in roots for folder in (root, root / "api")]
    files = [file for path in paths for file in (path / "__init__.py", path.with_suffix(".py"))]
    return next((file for file in files if file.is_file()), None)


@cache
def _tree(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text(encoding="utf-8"), filename=path.name)
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as Python: {error}") from error


def _names(path: Path) -> list[str]:
    names = []
    for node in _tree(path).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.append(node.name)
        elif isinstance(node, ast.ImportFrom) and path.name == "__init__.py":  # A package's list of its own.
            names += [alias.asname or alias.name for alias in node.names]
    return names


def _find(module: str, name: str) -> tuple[str, ast.ClassDef | ast.FunctionDef] | None:
    """The definition of `name` in `module`, followed through `from x import name`, never out of its own package."""
    path = _file(module)
    if path is None:
        return None
    for node in _tree(path).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return module, node
        if isinstance(node, ast.ImportFrom):
            source = _source(module, path, node)
            inside = source.split(".")[0] == module.split(".")[0] and source != module
            for alias in node.names if inside else ():
                if (alias.asname or alias.name) == name:
                    return _find(source, alias.name)
    return None


def _source(module: str, path: Path, node: ast.ImportFrom) -> str:
    """The full name of the module that an import names, perhaps by dots alone."""
    if not node.level:
        return node.module
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    return ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])


def _parameters(module: str, node: ast.ClassDef | ast.FunctionDef) -> dict[str, Parameter]:
    if isinstance(node, ast.FunctionDef):
        return _arguments(module, node.args)
    constructor = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if constructor is None and any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        return _inherited(module, node) | _fields(module, node)
    own = _arguments(module, constructor.args) if constructor else {}
    own.pop("self", None)
    takes_more = constructor is None or constructor.args.kwarg
    return own | {k: v for k, v in _inherited(module, node).items() if k not in own} if takes_more else own


def _inherited(module: str, node: ast.ClassDef) -> dict[str, Parameter]:
    parameters: dict[str, Parameter] = {}
    for base in node.bases:
        found = _find(module, base.id) if isinstance(base, ast.Name) else None
        if found:
            parameters |= {k: Parameter(p.annotation, False) for k, p in _parameters(*found).items()}
    return parameters


def _arguments(module: str, arguments: ast.arguments) -> dict[str, Parameter]:
    positional = arguments.posonlyargs + arguments.args
    without_default = len(positional) - len(arguments.defaults)
    required = [i < without_default for i in range(len(positional))] + [d is None for d in arguments.kw_defaults]
    return {
        argument.arg: Parameter(_evaluate(module, argument.annotation), needed)
        for argument, needed in zip(positional + arguments.kwonlyargs, required, strict=True)
    }


def _fields(module: str, node: ast.ClassDef) -> dict[str, Parameter]:
    return {
        field.target.id: Parameter(_evaluate(module, field.annotation), field.value is None)
        for field in node.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    }


def _evaluate(module: str, annotation: ast.expr | None) -> Any:
    """The annotation as a type, or Any where it names something that only an import could tell."""
    if annotation is None or not f"{module}.".startswith(tuple(f"{p}." for p in ("kerasnn", *plugin_packages()))):
        return Any
    known = {"Sequence": Sequence, "Callable": Callable, "dict": dict, "ranges": ranges, "typing": typing}
    names = {**vars(typing), **vars(ranges), **known}
    return _type(annotation, {**_aliases(module, names), **names})


def _type(expression: ast.expr, names: dict[str, Any]) -> Any:
    try:
        return eval(ast.unparse(expression), dict(names))
    except (NameError, AttributeError, TypeError):
        return Any


def _aliases(module: str, names: dict[str, Any]) -> dict[str, Any]:
    """The type aliases of a module, such as `Resize = Literal["pad", "stretch"]`."""
    return {
        ast.unparse(node.targets[0]): _type(node.value, names)
        for node in _tree(_file(module)).body
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith(("Literal[", "Annotated["))
    }
