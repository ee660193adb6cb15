"""The content of a data set: what its reader makes of what its source delivered, checked and kept in the cache.

    .cache/content/NAME/content.txt | content.jsonl | {train,test}.{values,labels}.npy      and content.json, written last

Text and conversations are written as they are read, so memory does not grow with them. The hash of the content is the identity of
the data set: of the UTF-8 text, of the lines of conversations (`Conversation.to_line`), of the arrays (`Labelled.sha256`).
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nnn_bench.config.closure import PACKAGE_ROOT, closure_hash
from nnn_bench.config.datasets import Dataset
from nnn_bench.config.errors import UserError, nearest
from nnn_bench.config.files import digest, disk_error, read_json, write_json
from nnn_bench.config.paths import Project
from nnn_bench.config.validation import Settings, validate
from nnn_bench.data.conversations.conversation import Conversation
from nnn_bench.data.delivery.fetch import fetch
from nnn_bench.data.delivery.shelf import Delivery, Unavailable
from nnn_bench.data.labelled.arrays import Labelled, load_labelled

Form = Literal["text", "conversations", "labelled"]
FILES: dict[Form, str] = {"text": "content.txt", "conversations": "content.jsonl"}

_RECORD = "content.json"


class Content(Settings):
    """What was read: its form, its hash, its size, and where it came from.

    `counts` says how much there is, in the units of the form: characters; or conversations and groups; or examples. `asked` is
    the hash of the settings that named its sources and reader, `files` are those of what was delivered; `fingerprint` is the hash
    of all it was made from and by.
    """

    dataset: str
    form: Form
    sha256: str
    bytes: int
    counts: dict[str, int]
    origin: dict[str, Any]
    asked: str
    files: list[str]
    fingerprint: str


def make_content(name: str, dataset: Dataset, project: Project) -> Content:
    """The content of `dataset`; made if absent, damaged, or made from something else.

    Raises `UserError` for content that cannot be had or used; what was there before stays.
    """
    folder = project.content(name)
    with locked(folder):
        module = reader_module(dataset.reader_name, file=f"config/datasets/{name}.yaml")
        there = read_content(folder)
        try:
            delivery = fetch(name, dataset, project)
        except Unavailable:
            # what is here needs no source to be the content that was meant
            if there is not None and there.asked == _asked(dataset) and dataset.sha256 in (None, there.sha256):
                return there
            raise
        files = [file.sha256 for file in delivery.files]
        fingerprint = digest([files, _asked(dataset), closure_hash("nnn_bench.data.content", module)])
        if there is None or there.fingerprint != fingerprint:
            there = _made(name, dataset, folder, delivery, fingerprint)
        _check_pins(name, dataset, there)
        return there


def read_content(folder: Path) -> Content | None:
    """The record in `folder`, if there is one and what it speaks of is there."""
    data = read_json(folder / _RECORD)
    if not isinstance(data, dict):
        return None
    try:
        content = validate(Content, data, file=folder / _RECORD)
    except UserError:
        return None
    if content.form == "labelled":
        try:
            load_labelled(folder, content.counts)
        except UserError:
            return None
        return content
    path = folder / FILES[content.form]
    return content if path.is_file() and path.stat().st_size == content.bytes else None


def reader_module(name: str, *, file: str | None = None) -> str:
    """Dotted module of the reader `name`; its file name is the name that `file`, the YAML, uses."""
    known = [path.stem for path in (PACKAGE_ROOT / "data" / "readers").glob("[a-z]*.py")]
    if name not in known:
        raise UserError(f"there is no reader {name!r}; {nearest(name, known)}", file=file, key="reader")
    return f"nnn_bench.data.readers.{name}"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time makes what is in `folder`; the others wait, and then find it made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise disk_error(folder, error) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _made(name: str, dataset: Dataset, folder: Path, delivery: Delivery, fingerprint: str) -> Content:
    """Read the delivery into a folder beside, and move it into place when it is whole."""
    reader: Any = importlib.import_module(reader_module(dataset.reader_name))
    making = folder / ".making"
    shutil.rmtree(making, ignore_errors=True)
    try:
        making.mkdir()
        if reader.FORM == "labelled":
            sha256, size, counts = _write_labelled(reader.read(delivery.files), making)
        elif reader.FORM == "conversations":
            sha256, size, counts = _write_conversations(reader.read(delivery.files), making)
        else:
            sha256, size, counts = _write_text(reader.read(delivery.files), making)
        content = Content(
            dataset=name,
            form=reader.FORM,
            sha256=sha256,
            bytes=size,
            counts=counts,
            origin=delivery.origin,
            asked=_asked(dataset),
            files=[file.sha256 for file in delivery.files],
            fingerprint=fingerprint,
        )
        _check_pins(name, dataset, content)  # before anything that was there is touched
        write_json(making / _RECORD, content.model_dump(mode="json"))  # from here on nothing is written, only moved
        (folder / _RECORD).unlink(missing_ok=True)
        for path in (*folder.glob("content.*"), *folder.glob("*.npy")):
            path.unlink()  # what was of another form must not stay
        for path in sorted(making.iterdir(), key=lambda path: path.name == _RECORD):  # the record last
            path.replace(folder / path.name)
    except OSError as error:
        raise disk_error(folder, error) from error
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return content


def _asked(dataset: Dataset) -> str:
    return digest([[way.model_dump(mode="json") for way in dataset.ways], dataset.reader_name])


def _check_pins(name: str, dataset: Dataset, content: Content) -> None:
    file = f"config/datasets/{name}.yaml"
    if dataset.sha256 and content.sha256 != dataset.sha256:
        raise UserError(
            f"what was read has hash {content.sha256}; pin that one if the change is meant", file=file, key="sha256"
        )
    if dataset.bytes and content.bytes != dataset.bytes:
        raise UserError(f"what was read has {content.bytes:,} bytes, not {dataset.bytes:,}", file=file, key="bytes")


def _write_text(pieces: Iterable[str], folder: Path) -> tuple[str, int, dict[str, int]]:
    state, size, characters = hashlib.sha256(), 0, 0
    with (folder / FILES["text"]).open("wb") as file:
        for piece in pieces:
            encoded = piece.encode()
            state.update(encoded)
            size, characters = size + file.write(encoded), characters + len(piece)
    return state.hexdigest(), size, {"characters": characters}


def _write_conversations(conversations: Iterable[Conversation], folder: Path) -> tuple[str, int, dict[str, int]]:
    """Each different conversation once: a repeated one would be weighted twice, or stand in two splits."""
    state, size = hashlib.sha256(), 0
    told: set[bytes] = set()
    groups: set[bytes] = set()
    characters = 0
    with (folder / FILES["conversations"]).open("wb") as file:
        for conversation in conversations:
            said = repr([(one.role, one.content) for one in conversation.messages]).encode()
            if (seen := hashlib.sha256(said).digest()) in told:
                continue
            told.add(seen)
            groups.add(hashlib.sha256(conversation.group.encode()).digest())
            line = conversation.to_line().encode()
            state.update(line)
            size, characters = size + file.write(line), characters + sum(len(m.content) for m in conversation.messages)
    return state.hexdigest(), size, {"conversations": len(told), "groups": len(groups), "characters": characters}


def _write_labelled(read: Labelled, folder: Path) -> tuple[str, int, dict[str, int]]:
    counts, size = {}, 0
    for name, part in (("train", read.train), ("test", read.test)):
        if part is not None:
            np.save(folder / f"{name}.values.npy", part.values, allow_pickle=False)
            np.save(folder / f"{name}.labels.npy", part.labels, allow_pickle=False)
            counts[name] = len(part.labels)
            size += part.values.nbytes + part.labels.nbytes
    return read.sha256, size, counts
