"""A repository of the Hugging Face hub, or a local folder in its format, opened as streams of rows.

All that the library `datasets` is asked for is here. No code of a repository is ever run, files it names outside itself are
refused, and only formats that are plain data are read: some others unpickle. Pictures and sounds are not decoded here: the
library would open any file and any address that a row names.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnn_bench.config.datasets import HubSource
from nnn_bench.config.errors import UserError, nearest
from nnn_bench.config.files import sha256_of_file
from nnn_bench.config.paths import Project
from nnn_bench.data.delivery.hub_errors import configuration_absent, told
from nnn_bench.data.delivery.shelf import Unavailable

if TYPE_CHECKING:
    import datasets

_FORMATS = ("parquet", "json", "csv", "text", "arrow", "imagefolder")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*\Z", re.ASCII)
_HIDDEN_CARD = ".huggingface.yaml"  # says which files make which split, as README.md does
_ROWS_AT_ONCE = 1000  # else a whole row group, of any size
_TIMEOUT = 30.0  # seconds for the first answer


@dataclass(frozen=True)
class Repository:
    """Where a hub source points. `folder` is set for a local one. `config` is what to call its configuration file."""

    source: HubSource
    project: Project
    config: str
    folder: Path | None

    @classmethod
    def of(cls, source: HubSource, name: str, project: Project) -> Repository:
        """Raises `UserError` for a folder that is absent, or a name the hub cannot have."""
        config = f"config/datasets/{name}.yaml"
        path = source.repository
        if path.startswith((".", "/")):
            folder = (project.root / path).resolve()
            if not folder.is_dir():
                raise UserError(f"{path} is not a folder that exists", file=config, key="repository")
            return cls(source, project, config, folder)
        if not _NAME.match(path):
            raise UserError(
                f"{path!r} is no repository; give OWNER/NAME, or a local folder that begins with ./ or /",
                file=config,
                key="repository",
            )
        return cls(source, project, config, None)

    @cached_property
    def revision(self) -> str:
        """The commit that a branch or tag names now; of a folder, a hash over the names and contents of its files."""
        if self.folder is not None:
            return _hash_of_folder(self.folder, self.source.repository)
        library_of(self.project)
        import huggingface_hub

        try:
            found = (
                huggingface_hub.HfApi()
                .dataset_info(self.source.repository, revision=self.source.revision, timeout=_TIMEOUT)
                .sha
            )
        except Exception as error:
            raise self._told(error) from None
        if not found:
            raise Unavailable(f"the hub names no commit of {self.source.repository}; try again later")
        return found

    def splits(self, revision: str) -> list[datasets.IterableDataset]:
        """The splits that are asked for, in that order, as streams of the asked columns.

        Raises `UserError` for a configuration, split or column that is not there, `Unavailable` where the hub does not answer.
        """
        builder = self._builder(revision)
        found = self._streams(builder)
        if absent := [split for split in self.source.splits if split not in found]:
            raise UserError(
                f"there is no split {absent[0]!r}; {nearest(absent[0], found)}", file=self.config, key="splits"
            )
        wanted = list(self.source.columns.values())
        for split in self.source.splits:
            self._check_columns(found[split])
        if builder.name == "parquet":  # the one format that can leave the other columns where they are
            builder.config.columns = wanted
            builder.config.batch_size = _ROWS_AT_ONCE
            found = self._streams(builder)
        return [_undecoded(found[split].select_columns(wanted)) for split in self.source.splits]

    def rows(self, split: datasets.IterableDataset) -> Generator[dict[str, Any], None, None]:
        """The rows of one split with our names for their columns, from where the stream stands."""
        with closing(iter(split)) as stream:
            while True:
                try:
                    row = next(stream)
                except StopIteration:
                    return
                except Exception as error:
                    raise self._told(error) from None
                yield {ours: row[theirs] for ours, theirs in self.source.columns.items()}

    def _streams(self, builder: Any) -> Any:
        try:
            return builder.as_streaming_dataset()
        except Exception as error:
            raise self._told(error) from None

    def _told(self, error: Exception) -> UserError:
        return told(error, self.source, self.config, local=self.folder is not None)

    def _builder(self, revision: str) -> Any:
        library = library_of(self.project)
        if self.folder is None:
            # the prefix keeps the library from a local folder, or a module of its own, that has this name
            path, at = f"hf://datasets/{self.source.repository}", revision
            inside = f"{path}@{revision}/"
        else:
            path, at = self.folder.as_posix(), None
            inside = f"{path}/"
        cache = str(_cache(self.project))
        try:
            builder = library.load_dataset_builder(
                path,
                self.source.configuration,
                revision=at,
                cache_dir=cache,
                download_config=library.DownloadConfig(cache_dir=cache),
            )
        except ValueError as error:
            raise configuration_absent(error, self.source, self.config) or self._told(error) from None
        except Exception as error:
            raise self._told(error) from None
        if builder.name not in _FORMATS:
            raise UserError(
                f"{self.source.repository} is of the format {builder.name}; only {', '.join(_FORMATS)} are read",
                file=self.config,
                key="repository",
            )
        for files in (builder.config.data_files or {}).values():
            for file in files:
                if not _is_own(str(file), inside):
                    raise UserError(
                        f"{self.source.repository} names a file that is hidden, or not its own: {file}",
                        file=self.config,
                        key="repository",
                    )
        return builder

    def _check_columns(self, split: datasets.IterableDataset) -> None:
        known = split.column_names
        if known is None:  # formats without a schema tell their columns with the first row
            try:
                known = [column for row in split.take(1) for column in row]
            except Exception as error:
                raise self._told(error) from None
        for ours, theirs in self.source.columns.items():
            if theirs not in known:
                raise UserError(
                    f"{self.source.repository} has no column {theirs!r}; {nearest(theirs, known)}",
                    file=self.config,
                    key=f"columns.{ours}",
                )


def _is_own(file: str, inside: str) -> bool:
    """Whether it lies below `inside`; hidden files do not count, since no hash of a folder is over them, and nor does `..`."""
    return file.startswith(inside) and not any(part.startswith(".") for part in file[len(inside) :].split("/"))


def _undecoded(split: datasets.IterableDataset) -> datasets.IterableDataset:
    """The same rows, with a picture or a sound as `{"bytes", "path"}`; a split without a schema has no others."""
    return split if split.features is None else split.decode(False)


def _cache(project: Project) -> Path:
    return project.cache / "hub"


def library_of(project: Project) -> Any:
    """The library `datasets`, imported on first use: it is large, and reads where its cache lies when it is imported."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_CACHE", str(_cache(project)))
    import datasets
    import huggingface_hub

    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL)  # it logs what it then raises
    huggingface_hub.logging.set_verbosity(logging.CRITICAL)
    return datasets


def _hash_of_folder(folder: Path, shown: str) -> str:
    """SHA-256 over the paths and contents of the files that can be read: all but hidden ones. Links out of it are refused."""
    state = hashlib.sha256()
    try:
        for path in sorted(folder.rglob("*")):
            relative = path.relative_to(folder)
            hidden = any(part.startswith(".") for part in relative.parts) and relative.as_posix() != _HIDDEN_CARD
            if hidden or (path.is_dir() and not path.is_symlink()):
                continue
            if not path.is_file() or not path.resolve().is_relative_to(folder):
                raise UserError("is not a plain file below the folder of the data set", file=f"{shown}/{relative}")
            state.update(f"{relative.as_posix()}\0{sha256_of_file(path)}\n".encode(errors="surrogateescape"))
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=shown) from None
    return state.hexdigest()
