"""Conversations from one file format into another: `.json` (an array, a record a line), `.jsonl`, `.parquet` (column `messages`).

Whatever shape the records had, they are written as `messages`, and with a `group` where they named one. Reading back what was
written gives the same conversations, to the character and in the same order. A file appears whole or not at all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow
import pyarrow.parquet

from nnn_bench.config.errors import UserError, nearest
from nnn_bench.config.files import disk_error, sha256_of_file
from nnn_bench.data.conversations.conversation import Conversation
from nnn_bench.data.conversations.json_records import LONGEST
from nnn_bench.data.delivery.shelf import RawFile
from nnn_bench.data.readers.messages import question_group, read

_MESSAGE = pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())])
_SCHEMA = pyarrow.schema([("messages", pyarrow.list_(_MESSAGE)), ("group", pyarrow.string())])
_ROW_GROUP = (10_000, 16 << 20)  # conversations, characters


@dataclass
class Converted:
    """How much was written."""

    conversations: int = 0
    messages: int = 0


def convert(source: Path, target: Path, *, force: bool = False) -> Converted:
    """Write the conversations of `source` to `target`, in the formats that their endings name.

    Raises `UserError` for an ending that is none of ours, a target that is there (without `force`), and what cannot be read.
    """
    writer = {".json": _write_json, ".jsonl": _write_json_lines, ".parquet": _write_parquet}.get(target.suffix.lower())
    if writer is None:
        ending = target.suffix or "no ending"
        raise UserError(f"has {ending}; conversations are written to .json, .jsonl or .parquet", file=str(target))
    if os.path.lexists(target) and not (force and target.is_file()):
        raise UserError("is there already; give another name, or --force to replace the file", file=str(target))
    done = Converted()
    conversations = _counted(read([_local(source)]), done)
    with _replacing(target) as file:
        writer(conversations, file)
    return done


def _local(path: Path) -> RawFile:
    """A file of the user's. Raises `UserError` for one that is absent or unreadable, with the name that was meant."""
    try:
        if not path.is_file():
            near = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
            raise UserError(f"is not a file that exists; {nearest(path.name, near)}", file=str(path))
        return RawFile(path, str(path), sha256_of_file(path))
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=str(path)) from None


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file beside `path` that takes its place at the end, or is gone."""
    waiting = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with waiting.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        waiting.replace(path)
    except OSError as error:
        raise disk_error(path, error) from error
    finally:
        with suppress(OSError):
            waiting.unlink(missing_ok=True)


def _counted(conversations: Iterable[Conversation], done: Converted) -> Iterator[Conversation]:
    for conversation in conversations:
        done.conversations += 1
        done.messages += len(conversation.messages)
        yield conversation


def _record(conversation: Conversation) -> dict[str, Any]:
    """The group is left out where it is the one that a reader gives to a conversation without."""
    messages = [{"role": message.role, "content": message.content} for message in conversation.messages]
    if conversation.group == question_group(conversation.messages):
        return {"messages": messages}
    return {"group": conversation.group, "messages": messages}


def _line(conversation: Conversation) -> bytes:
    line = json.dumps(_record(conversation), ensure_ascii=False)
    if len(line) > LONGEST:
        raise UserError(f"a conversation would be a record of more than {LONGEST >> 20} MiB; write it to .parquet")
    return line.encode()


def _write_json_lines(conversations: Iterable[Conversation], file: BinaryIO) -> None:
    for conversation in conversations:
        file.write(_line(conversation) + b"\n")


def _write_json(conversations: Iterable[Conversation], file: BinaryIO) -> None:
    before = b"[\n"
    for conversation in conversations:
        file.write(before + _line(conversation))
        before = b",\n"
    file.write(b"\n]\n")


def _write_parquet(conversations: Iterable[Conversation], file: BinaryIO) -> None:
    rows: list[dict[str, Any]] = []
    characters = 0
    with pyarrow.parquet.ParquetWriter(file, _SCHEMA, compression="zstd", write_page_checksum=True) as writer:
        for conversation in conversations:
            rows.append(_record(conversation))
            characters += sum(len(message.content) for message in conversation.messages)
            if len(rows) >= _ROW_GROUP[0] or characters >= _ROW_GROUP[1]:
                writer.write_table(pyarrow.Table.from_pylist(rows, _SCHEMA))
                rows, characters = [], 0
        if rows:
            writer.write_table(pyarrow.Table.from_pylist(rows, _SCHEMA))
