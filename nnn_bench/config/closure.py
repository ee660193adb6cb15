"""Which source a run depends on, and its hash.

The closure of a variant holds the modules its configuration names (YAML `kind` = file name), the training program, and all
modules of this package they import, directly or not. It is hashed as syntax trees without comments and docstrings, so a
reworded comment redoes nothing and a changed operator redoes just the runs that execute it. `models/build.py` looks
components up by name at run time; that look-up is followed here through the configuration instead.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from nnn_bench.config.errors import UserError, nearest

PACKAGE = "nnn_bench"
PACKAGE_ROOT = Path(__file__).resolve().parents[1]
TRAINING_ROOT = f"{PACKAGE}.training.trainer"
TREES_ROOT = f"{PACKAGE}.training.trees"
JOB_ROOT = f"{PACKAGE}.training.job"

#: The last word of a configuration key says in which folder of `models/` its component lies.
ROOMS = {
    "topology": "topologies",
    "mixer": "mixers",
    "projection": "projections",
    "window": "windows",
    "trees": "trees",
}


def component_module(role: str, kind: str) -> str:
    """Dotted module of the component `kind` in the place `role` (`channel_mixer` -> `models/mixers`).

    Raises `UserError` with the nearest known name when there is no such file.
    """
    room = ROOMS[role.rsplit("_", 1)[-1]]
    folder, name = ("published", kind.removeprefix("published/")) if "/" in kind else (room, kind)
    known = _components(PACKAGE_ROOT / "models" / folder)
    if name not in known:
        raise UserError(f"there is no {role} {kind!r}; {nearest(name, known)}", key=f"{role}.kind")
    return f"{PACKAGE}.models.{folder}.{name}"


@cache
def _components(folder: Path) -> list[str]:
    """Names of the component files in a folder; a process looks once, for a network asks dozens of times."""
    return [path.stem for path in folder.glob("[a-z]*.py")]


def component_modules(model: Any) -> Iterator[str]:
    """Modules of every component named in the plain-data tree `model`.

    Options that hold a component have no default, so what a configuration does not name is not built.
    """
    if isinstance(model, list):
        for entry in model:
            yield from component_modules(entry)
    elif isinstance(model, dict):
        for key, value in model.items():
            if key.rsplit("_", 1)[-1] in ROOMS:
                for entry in value if isinstance(value, list) else [value]:
                    kind = entry.get("kind") if isinstance(entry, dict) else entry
                    if isinstance(kind, str):
                        yield component_module(key, kind)
            yield from component_modules(value)


def closure(roots: Iterable[str]) -> dict[str, str]:
    """Module name -> hash of its syntax tree, for `roots` and all they import from this package."""
    waiting = list(roots)
    found: dict[str, str] = {}
    while waiting:
        name = waiting.pop()
        for part in _with_parents(name):
            if part not in found:
                found[part], imports = _parsed(part)
                waiting.extend(imports)
    return dict(sorted(found.items()))


def closure_hash(*roots: str) -> str:
    """One hash for the closure of `roots`."""
    lines = "".join(f"{module} {tree}\n" for module, tree in closure(roots).items())
    return hashlib.sha256(lines.encode()).hexdigest()


def source_hash(model: dict[str, Any]) -> str:
    """Hash of all that training a `model` tree executes."""
    return closure_hash(TREES_ROOT if is_trees(model) else TRAINING_ROOT, *component_modules(model))


def is_trees(model: dict[str, Any]) -> bool:
    """Whether a model tree is no network but boosted trees, which have a trainer of their own and no budget."""
    return "trees" in model


def run_hash(model: dict[str, Any]) -> str:
    """Hash of all that planning and training a `model` tree executes: when it changes, the job must look again."""
    return closure_hash(JOB_ROOT, *component_modules(model))


def _with_parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _path(module: str) -> Path | None:
    stem = PACKAGE_ROOT.joinpath(*module.split(".")[1:])
    return next((p for p in (stem.with_suffix(".py"), stem / "__init__.py") if p.is_file()), None)


@cache
def _parsed(module: str) -> tuple[str, tuple[str, ...]]:
    """Hash of the module's code, and the modules of this package that it imports."""
    path = _path(module)
    if path is None:
        raise FileNotFoundError(f"source of {module}")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [alias.name for alias in node.names if alias.name.split(".")[0] == PACKAGE]
        elif isinstance(node, ast.ImportFrom) and node.level:
            raise ImportError(f"{module}: write imports of this package in full, so that its source can be followed")
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE:
            imports.append(node.module)
            imports += [name for alias in node.names if _path(name := f"{node.module}.{alias.name}")]
        _drop_docstring(node)
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), tuple(imports)


def _drop_docstring(node: ast.AST) -> None:
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return
    first = node.body[0] if node.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        node.body = node.body[1:]
