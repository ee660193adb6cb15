"""A local file of the user's."""

from __future__ import annotations

from pathlib import Path

from nnn_bench.config.datasets import FileSource
from nnn_bench.config.errors import UserError
from nnn_bench.config.files import sha256_of_file
from nnn_bench.config.paths import Project
from nnn_bench.data.delivery.shelf import Delivery, RawFile


def deliver(source: FileSource, name: str, project: Project) -> Delivery:
    """The file itself, where it lies. Raises `UserError` for one that is absent, unreadable, or another than was pinned."""
    raw = local_file(project.root / source.path, source.path)
    if source.sha256 and raw.sha256 != source.sha256:
        raise UserError(
            f"has hash {raw.sha256[:16]}..., the configuration expects {source.sha256[:16]}...", file=source.path
        )
    return Delivery((raw,), {"kind": "file", "path": source.path})


def local_file(path: Path, shown: str) -> RawFile:
    """A file of the user's as it lies there, with its hash."""
    if not path.is_file():
        raise UserError("is not a file that exists; give the path from the project root", file=shown)
    try:
        return RawFile(path, shown, sha256_of_file(path))
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=shown) from None
