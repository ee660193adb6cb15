"""Columns of a data set of the Hugging Face hub, streamed: of all it holds, only those are kept, and nothing is stored twice.

The commit is resolved before the first row is read and goes into the origin, so what a branch named at the first fetch is what
stays. A local folder in the hub's format takes the same way; its revision is a hash over its files, and a part of the name of its
shelf, so that a folder that changes is read anew.

A fetch that is cut off goes on where it last stood (`_Place`), in the commit it began with; files of the repository that were
read to their end are not asked for again. Images are few and small: they are begun anew.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from rich.console import Console
from rich.status import Status

from nnn_bench.config.datasets import HubSource
from nnn_bench.config.errors import UserError
from nnn_bench.config.files import read_json, write_json
from nnn_bench.config.paths import Project
from nnn_bench.config.validation import Settings, validate
from nnn_bench.data.delivery.hub_repository import Repository, library_of
from nnn_bench.data.delivery.hub_rows import ConversationRows, Rows, TextRows, labelled_arrays
from nnn_bench.data.delivery.shelf import Delivery, Shelf, Unavailable
from nnn_bench.data.labelled.idx import write_idx

_EVERY = 32 << 20  # bytes between two notes of where the fetch stands
_PLACE = ".place.json"


class _Place(Settings):
    """How far a fetch has come: `bytes` of the file, after `rows` rows, are what the splits held up to `stream` of `split`."""

    revision: str
    library: str
    split: int = 0
    rows: int = 0
    bytes: int = 0
    owed: bool = False
    stream: dict[str, Any] | None = None


def deliver(source: HubSource, name: str, project: Project) -> Delivery:
    """Text as `content.txt`, conversations as `content.jsonl`, images as IDX files: values, labels, and those of a second split.

    Splits of text and conversations are joined in their order. With `most_bytes` the row that reaches that many is the last.
    Raises `UserError` for what the repository does not have, `Unavailable` where the hub does not answer.
    """
    repository = Repository.of(source, name, project)
    if repository.folder is not None:
        revision = repository.revision
        if source.revision not in (None, revision):
            raise UserError(
                f"{source.repository} has hash {revision}, not the one given; pin that if the change is meant",
                file=repository.config,
                key="revision",
            )
        source = source.model_copy(update={"revision": revision})

    def fill(folder: Path) -> tuple[list[str], dict[str, Any]]:
        try:
            files, revision, rows = (_write_images if "image" in source.columns else _write_rows)(repository, folder)
        except Unavailable:
            raise  # what is there is of use to the next try
        except OSError:
            if not (folder / _PLACE).exists():
                shutil.rmtree(folder, ignore_errors=True)
            raise
        except UserError as error:
            shutil.rmtree(folder)
            raise error.located(repository.config) from None
        (folder / _PLACE).unlink(missing_ok=True)
        return files, source.model_dump(mode="json") | {"revision": revision, "rows": rows}

    return Shelf.of(source, name, project).filled(fill, fetches=repository.folder is None)


def _write_rows(repository: Repository, folder: Path) -> tuple[list[str], str, int]:
    """Returns the names of the files, the revision and the number of rows."""
    rows: Rows = TextRows() if "text" in repository.source.columns else ConversationRows()
    path = folder / rows.file
    place = _place(repository, folder, path)
    rows.owed = place.owed
    try:
        with path.open("r+b" if place.bytes else "wb") as file, _shown() as status:
            file.truncate(place.bytes)
            file.seek(place.bytes)
            for now in _places(repository, rows, place, file):
                file.flush()
                os.fsync(file.fileno())
                write_json(folder / _PLACE, now.model_dump(mode="json"))
                status.update(f"{repository.source.repository}: {now.bytes / 1e6:,.0f} MB, {now.rows:,} rows")
                place = now
    except OSError:  # a full disk, say
        if path.exists():
            os.truncate(path, place.bytes)
        raise
    if not place.rows:
        raise UserError(
            f"{repository.source.repository} holds no rows in the splits {', '.join(repository.source.splits)}"
        )
    return [rows.file], place.revision, place.rows


def _places(repository: Repository, rows: Rows, place: _Place, file: BinaryIO) -> Iterator[_Place]:
    """Write on from `place`; yields where it stands now and then, and at the end."""
    most = repository.source.most_bytes
    if most is not None and place.bytes >= most:  # it was cut off when all was there
        yield place
        return
    splits = repository.splits(place.revision)
    size, count, noted = place.bytes, place.rows, place.bytes
    for number in range(place.split, len(splits)):
        split = splits[number]
        if place.stream is not None and number == place.split:
            split.load_state_dict(place.stream)
        with closing(repository.rows(split)) as read:
            for row in read:
                try:
                    size += file.write(rows.written(row, first=size == 0))
                except UserError as error:
                    raise UserError(f"row {count}: {error.message}") from None
                count += 1
                full = most is not None and size >= most
                if full or size - noted >= _EVERY:
                    noted = size
                    now = {
                        "split": number,
                        "rows": count,
                        "bytes": size,
                        "owed": rows.owed,
                        "stream": split.state_dict(),
                    }
                    yield place.model_copy(update=now)
                if full:
                    return
    yield place.model_copy(
        update={"split": len(splits), "rows": count, "bytes": size, "owed": rows.owed, "stream": None}
    )


def _place(repository: Repository, folder: Path, path: Path) -> _Place:
    """Where a fetch that was cut off stood, or the beginning, in the commit that the branch names now."""
    library = library_of(repository.project).__version__
    noted = read_json(folder / _PLACE)
    if isinstance(noted, dict) and path.is_file():
        try:
            place = validate(_Place, noted, file=folder / _PLACE)
        except UserError:
            place = None
        # another version of the library may count otherwise
        if place is not None and place.library == library and place.bytes <= path.stat().st_size:
            return place
    return _Place(revision=repository.revision, library=library)


def _write_images(repository: Repository, folder: Path) -> tuple[list[str], str, int]:
    """Returns the names of the files, the revision and the number of images."""
    if len(repository.source.splits) > 2:
        raise UserError("may name two splits of images, train and test", file=repository.config, key="splits")
    revision = repository.revision
    files: list[str] = []
    count = 0
    with _shown() as status:
        for part, split in zip(("train", "test"), repository.splits(revision), strict=False):
            status.update(f"{repository.source.repository}: images of {part}")
            try:
                values, labels = labelled_arrays(repository.rows(split), repository.folder)
            except UserError as error:
                raise type(error)(f"{part}: {error.message}", file=error.file, key=error.key) from None
            arrays: dict[str, np.ndarray[Any, np.dtype[np.uint8]]] = {"values": values, "labels": labels}
            for kind, array in arrays.items():
                files.append(f"{len(files)}-{part}-{kind}.idx")
                write_idx(folder / files[-1], array)
            count += len(labels)
    return files, revision, count


def _shown() -> Status:
    """A line on a terminal that says how far it is; nothing elsewhere."""
    console = Console(stderr=True)
    console.quiet = not console.is_terminal
    return Status("asking the hub", console=console)
