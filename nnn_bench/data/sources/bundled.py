"""Files inside an installed Python package, found by path: its code is never run."""

from __future__ import annotations

from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from nnn_bench.config.datasets import BundledSource
from nnn_bench.config.errors import UserError
from nnn_bench.config.files import sha256_of_file
from nnn_bench.config.paths import Project
from nnn_bench.data.delivery.shelf import Delivery, RawFile, Unavailable


def deliver(source: BundledSource, name: str, _: Project) -> Delivery:
    """The files where they lie. Raises `Unavailable` where the package is not installed, `UserError` for another content."""
    roots = _folders(source.package)
    if not roots:
        raise Unavailable(f"{name} needs the Python package {source.package}, which is not installed; install it")
    files = []
    for path, expected in source.files.items():
        key, config = f"files.{path}", f"config/datasets/{name}.yaml"
        inside = PurePosixPath(path)
        if inside.is_absolute() or ".." in inside.parts:
            raise UserError("leads out of the package; give a path inside it", file=config, key=key)
        found = next((root / inside for root in roots if (root / inside).is_file()), None)
        if found is None:
            raise UserError(f"the installed package {source.package} holds no such file", file=config, key=key)
        raw = RawFile(found, f"data set {name}: {path}", _hash(found, config))
        if raw.sha256 != expected:
            raise UserError(
                f"the installed package {source.package} has {raw.sha256[:16]}..., expected {expected[:16]}...; "
                "another version of it, or the hash is of another file",
                file=config,
                key=key,
            )
        files.append(raw)
    return Delivery(tuple(files), source.model_dump(mode="json"))


def _folders(package: str) -> list[Path]:
    """Where the files of `package` lie; finding a package that is not inside another runs none of its code."""
    try:
        spec: ModuleSpec | None = find_spec(package)
    except ValueError:  # a module of this process that was never found in a file
        spec = None
    return [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []


def _hash(path: Path, config: str) -> str:
    try:
        return sha256_of_file(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", file=config) from None
