"""Conversations out of a user's files: `.json`, `.jsonl` or `.parquet`, by the ending of the file.

A record, which is an element of a JSON array, a line, or a row, has one of three shapes; `content` is always text:

    {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}
    [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]
    {"query": "...", "target": "..."}          or a list of messages for either; those of the target are the assistant's

A `group` beside them (or `problem`), text or a whole number, names what must not be parted when data is split. Without one, all
conversations with the same first question are one group. Other keys are not read. Roles are taken as they are, none is guessed;
several messages of one role in a row stay several, since joining them would put in line ends that nobody wrote.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any

from nnn_bench.config.errors import UserError, nearest
from nnn_bench.data.conversations.conversation import ROLES, Conversation, Message, Role
from nnn_bench.data.conversations.json_records import LONGEST, Located, json_array, json_lines
from nnn_bench.data.conversations.parquet_records import parquet_rows
from nnn_bench.data.delivery.shelf import RawFile

FORM = "conversations"

_GROUPS = ("group", "problem")


def read(files: Sequence[RawFile]) -> Iterator[Conversation]:
    """The conversations of `files`, in order. Raises `UserError` that names the line, record or row."""
    for raw in files:
        grouped: bool | None = None
        for where, record in _records(raw):
            try:
                told, named = conversation(record), _group_of(record) is not None
                if grouped not in (None, named):
                    # one question might stand in a named and in an unnamed group, and so in two splits
                    raise UserError(f"names {'a' if named else 'no'} group, unlike those before; all must, or none")
            except UserError as error:
                raise UserError(f"{where}: {error}", file=raw.shown) from None
            grouped = named
            yield told
        if grouped is None:
            raise UserError("holds no conversation", file=raw.shown)


def conversation(record: Any) -> Conversation:
    """What a record says. Raises `UserError` for anything that is no conversation between a user and an assistant."""
    messages = tuple(_messages_of(record))
    roles = [message.role for message in messages]
    for role in ("user", "assistant"):
        if role not in roles:
            raise UserError(f"no message is the {role}'s; a conversation needs a user and an assistant")
    if "system" in roles[1:]:
        raise UserError(f"message {roles.index('system', 1) + 1} is the system's; only the first may be")
    if sum(len(message.content) for message in messages) > LONGEST:
        raise UserError(f"the conversation is longer than {LONGEST >> 20} MiB")
    return Conversation(messages, _group_of(record) or question_group(messages))


def question_group(messages: Sequence[Message]) -> str:
    """The group of a conversation that names none: a hash of its first question, whatever its case and its blanks."""
    question = next(message.content for message in messages if message.role == "user")
    return hashlib.sha256(" ".join(question.casefold().split()).encode()).hexdigest()[:16]


def _records(raw: RawFile) -> Iterator[Located]:
    match PurePath(raw.path).suffix.lower():
        case ".json":
            return _one_or_many(json_array(raw), raw)
        case ".jsonl":
            return json_lines(raw)
        case ".parquet":
            return parquet_rows(raw, [("messages",), ("query", "target")], _GROUPS)
    raise UserError("conversations are read from files that end in .json, .jsonl or .parquet", file=raw.shown)


def _one_or_many(records: Iterator[Located], raw: RawFile) -> Iterator[Located]:
    """The records of an array; where the first is a message, the array is one conversation."""
    first = next(records, None)
    if first is None:
        return
    if isinstance(first[1], dict) and "role" in first[1] and not {"messages", "query"} & set(first[1]):
        if raw.path.stat().st_size > LONGEST:
            raise UserError(f"is one conversation of more than {LONGEST >> 20} MiB", file=raw.shown)
        yield "the conversation", [first[1], *(record for _, record in records)]
        return
    yield first
    yield from records


def _messages_of(record: Any) -> Iterator[Message]:
    if isinstance(record, list):
        yield from _listed(record, "message")
    elif not isinstance(record, dict):
        raise UserError(f"is {_kind(record)}; a record is an object or a list of messages")
    elif "messages" in record:
        if not isinstance(record["messages"], list):
            raise UserError(f"messages is {_kind(record['messages'])}, not a list of messages")
        yield from _listed(record["messages"], "message")
    elif "query" in record and "target" in record:
        yield from _said(record["query"], "user", "query")
        for message in _said(record["target"], "assistant", "target"):
            if message.role != "assistant":
                raise UserError(f"target has a message of the {message.role}'s; all of it is the assistant's")
            yield message
    else:
        keys = ", ".join(repr(key)[:40] for key in list(record)[:20])
        raise UserError(f"has neither messages nor query and target; its keys: {keys or 'none'}")


def _said(told: Any, role: Role, name: str) -> Iterator[Message]:
    """A query or target: text alone, or a list of messages that say their roles."""
    if isinstance(told, list):
        yield from _listed(told, f"{name} message")
    else:
        yield Message(role, _text(told, name))


def _listed(messages: list[Any], name: str) -> Iterator[Message]:
    if not messages:
        raise UserError(f"there is no {name}")
    for number, message in enumerate(messages, 1):
        what = f"{name} {number}"
        if not isinstance(message, dict):
            raise UserError(f"{what} is {_kind(message)}, not an object with role and content")
        for key in ("role", "content"):
            if message.get(key) is None:
                raise UserError(f"{what} has no {key}")
        role = message["role"]
        if not isinstance(role, str):
            raise UserError(f"{what}: role is {_kind(role)}, not text")
        if role not in ROLES:
            raise UserError(f"{what} has the unknown role {role[:40]!r}; {nearest(role[:40], ROLES)}")
        yield Message(role, _text(message["content"], f"the content of {what}"))


def _text(told: Any, what: str) -> str:
    if not isinstance(told, str):
        raise UserError(f"{what} is {_kind(told)}, not text; give its text alone")
    if not told.strip():
        raise UserError(f"{what} is empty")
    _check_characters(told, what)
    return told


def _check_characters(text: str, what: str) -> None:
    if "\0" in text:
        raise UserError(f"{what} holds a NUL character; it is not a text")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{what} holds half of a surrogate pair (character {error.start + 1})") from None


def _group_of(record: Any) -> str | None:
    """The group that the record names, if it names one."""
    for key in _GROUPS:
        group = record.get(key) if isinstance(record, dict) else None
        if group is None:
            continue
        if isinstance(group, bool) or not isinstance(group, str | int):
            raise UserError(f"{key} is {_kind(group)}; it must be text or a whole number")
        _check_characters(str(group), key)
        if not str(group).strip():
            raise UserError(f"{key} is empty; leave it out, or name what must not be parted")
        return str(group)
    return None


def _kind(value: Any) -> str:
    """What a value is, in words."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case dict():
            return "an object"
    return f"of type {type(value).__name__}"
