"""What a source delivers, and the shelf in the cache where it is kept.

A source is one file of `sources/` with `deliver(source, name, project) -> Delivery`, and raises

- `Unavailable` where nothing is wrong with the configuration but the content cannot be had here and now (no network, no client,
  not installed): the next source of the data set is tried then;
- `UserError` for anything that the user must mend.

What comes from elsewhere lies on a `Shelf`, a folder of the cache named by the source's own settings, so nothing is downloaded
twice and two data sets of one source share it. It is there whole or not at all; a file on it that no longer has its hash is
fetched again. `NNN_BENCH_OFFLINE=1` forbids fetching, not the cache.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from nnn_bench.config.datasets import Source
from nnn_bench.config.errors import UserError
from nnn_bench.config.files import digest, disk_error, read_json, sha256_of_file, write_json
from nnn_bench.config.paths import Project
from nnn_bench.config.validation import Settings, validate

OFFLINE = "NNN_BENCH_OFFLINE"

_RECORD = "delivery.json"


class Unavailable(UserError):
    """The content cannot be had here and now; another source may have it."""


@dataclass(frozen=True)
class RawFile:
    """A delivered file; `shown` is what to call it in messages."""

    path: Path
    shown: str
    sha256: str


@dataclass(frozen=True)
class Delivery:
    """Files in the order in which they are read, and the facts of where they came from (plain data, for receipts)."""

    files: tuple[RawFile, ...]
    origin: dict[str, Any]


class _Record(Settings):
    """What lies on a shelf: names of files in their order, each with its hash, and where they came from."""

    files: list[tuple[str, str]] = Field(min_length=1)
    origin: dict[str, Any]


@dataclass(frozen=True)
class Shelf:
    """The folder of one source. `name` is the data set that asks, for messages."""

    folder: Path
    name: str

    @classmethod
    def of(cls, source: Source, name: str, project: Project) -> Shelf:
        asked = [source.model_dump(mode="json"), list(getattr(source, "files", []))]  # files are read in their order
        return cls(project.delivered(source.kind, digest(asked)[:16]), name)

    def delivery(self) -> Delivery | None:
        """What lies there, if it is whole."""
        path = self.folder / _RECORD
        try:
            record = validate(_Record, read_json(path), file=path)
        except UserError:
            return None
        files = tuple(
            RawFile(self.folder / file, f"data set {self.name}: {file}", sha256) for file, sha256 in record.files
        )
        whole = all(file.path.is_file() and sha256_of_file(file.path) == file.sha256 for file in files)
        return Delivery(files, record.origin) if whole else None

    def filled(self, fill: Callable[[Path], tuple[list[str], dict[str, Any]]], *, fetches: bool = True) -> Delivery:
        """What lies there; where it is absent or damaged, `fill` makes it in a folder it is given, one process at a time.

        `fill` returns the names of the files it wrote there, in order, and the origin. The folder survives a process that is
        killed, and holds what that one had finished, for `fill` to reuse; an error removes what has no use.
        Raises `Unavailable` where `NNN_BENCH_OFFLINE` is set and `fill` fetches.
        """
        with self._locked():
            there = self.delivery()
            if there is not None:
                return there
            if fetches:
                refuse_offline(self.name)
            filling = self.folder.with_name(f".{self.folder.name}.filling")
            try:
                filling.mkdir(parents=True, exist_ok=True)
                files, origin = fill(filling)
                record = _Record(files=[(file, sha256_of_file(filling / file)) for file in files], origin=origin)
                write_json(filling / _RECORD, record.model_dump(mode="json"))
                if self.folder.exists():
                    shutil.rmtree(self.folder)
                filling.replace(self.folder)
            except OSError as error:
                raise disk_error(self.folder, error) from error
            made = self.delivery()
            assert made is not None
            return made

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            lock = self.folder.with_name(f".{self.folder.name}.lock").open("w")
        except OSError as error:
            raise disk_error(self.folder, error) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def is_offline() -> bool:
    return os.environ.get(OFFLINE, "0") not in ("", "0")


def refuse_offline(name: str) -> None:
    """Raise `Unavailable` where fetching is forbidden."""
    if is_offline():
        raise Unavailable(f"{OFFLINE} is set and {name} is not in the cache; unset it, or fetch it once with a network")
