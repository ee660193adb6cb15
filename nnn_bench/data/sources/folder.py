"""Local files below a folder of the user's."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from nnn_bench.config.datasets import FolderSource
from nnn_bench.config.errors import UserError
from nnn_bench.config.paths import Project
from nnn_bench.data.delivery.shelf import Delivery, RawFile
from nnn_bench.data.sources.file import local_file

_AT_ONCE = 1 << 20  # bytes


def deliver(source: FolderSource, name: str, project: Project) -> Delivery:
    """The files where they lie, in the order of their paths below the folder.

    Raises `UserError` where there is no such folder or file, for what is no plain file below it, and for other content than was
    pinned.
    """
    folder = project.root / source.path
    if not folder.is_dir():
        raise UserError("is not a folder that exists; give the path from the project root", file=source.path)
    files = tuple(
        local_file(folder / path, f"{source.path.rstrip('/')}/{path}") for path in _matches(source, folder, name)
    )
    if source.sha256 and (found := _joined_sha256(files)) != source.sha256:
        raise UserError(
            f"files {source.files!r} joined have hash {found[:16]}..., the configuration expects {source.sha256[:16]}...",
            file=source.path,
        )
    return Delivery(files, {"kind": "folder", "path": source.path, "files": source.files})


def _matches(source: FolderSource, folder: Path, name: str) -> list[str]:
    """Paths of the plain files that match, as they read from the folder, sorted."""
    glob = PurePosixPath(source.files)
    if glob.is_absolute() or ".." in glob.parts:
        raise UserError(
            f"{source.files!r} leaves the folder; give a pattern of names below it, such as '*.txt' or '**/*.txt'",
            file=f"config/datasets/{name}.yaml",
            key="files",
        )
    inside, matches = folder.resolve(), []
    try:
        for path in folder.glob(source.files):
            if path.is_dir():
                continue
            shown = path.relative_to(folder).as_posix()
            # a named pipe would block for ever, a link may lead anywhere
            if not path.is_file() or not path.resolve().is_relative_to(inside):
                raise UserError(
                    f"matches {source.files!r} but is not a plain file below that folder; move it or narrow the pattern",
                    file=f"{source.path.rstrip('/')}/{shown}",
                )
            matches.append(shown)
    except ValueError as error:
        raise UserError(
            f"{source.files!r} is not a pattern: {error}", file=f"config/datasets/{name}.yaml", key="files"
        ) from None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=source.path) from None
    if not matches:
        raise UserError(f"holds no file that matches {source.files!r}", file=source.path)
    return sorted(matches)


def _joined_sha256(files: Sequence[RawFile]) -> str:
    state = hashlib.sha256()
    for raw in files:
        with raw.path.open("rb") as file:
            while block := file.read(_AT_ONCE):
                state.update(block)
    return state.hexdigest()
