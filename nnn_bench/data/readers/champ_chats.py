"""Chats of four language models about 270 competition problems, from `v0.json` of the Python package champ-dataset.

    {"problems": {ID: {"conversations": {"MODEL|PROMPT": {"messages": [{"role": ..., "text": ..., "error": ...}, ...]}}}}}

`System`, `User` and `Model.NAME` become system, user and assistant. Left out are chats with worked examples put into the model's
mouth (prompt `5-Shot`), chats with a call that failed, and chats that open with a question and an answer that were there before.
A group is a problem: about 36 chats each are about the same one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from nnn_bench.config.errors import UserError
from nnn_bench.data.conversations.conversation import Conversation, Message
from nnn_bench.data.conversations.json_records import whole_json
from nnn_bench.data.delivery.shelf import RawFile
from nnn_bench.data.readers.messages import conversation

FORM = "conversations"

_WITH_EXAMPLES = "5-Shot"
_ROLES = {"System": "system", "User": "user", "Model": "assistant"}


def read(files: Sequence[RawFile]) -> Iterator[Conversation]:
    """The chats, problem by problem, in the order of the file. Raises `UserError` for a file of another shape."""
    for raw in files:
        problems = problems_of(raw)
        try:
            yield from _chats(problems)
        except UserError as error:
            raise error.located(raw.shown) from None
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"is not of the shape of CHAMP's v0.json: {error}", file=raw.shown) from None


def problems_of(raw: RawFile) -> dict[str, Any]:
    """The problems by their ids, with all that belongs to each."""
    found = whole_json(raw)
    problems = found.get("problems") if isinstance(found, dict) else None
    if not isinstance(problems, dict):
        raise UserError("is not of the shape of CHAMP's v0.json: it has no problems", file=raw.shown)
    return problems


def _chats(problems: dict[str, Any]) -> Iterator[Conversation]:
    openings: set[tuple[str, str]] = set()
    for identifier, problem in problems.items():
        for setting, chat in problem["conversations"].items():
            told = chat["messages"]
            if setting.endswith(_WITH_EXAMPLES) or any(message["error"] for message in told):
                continue
            messages = [{"role": _ROLES[one["role"].split(".")[0]], "content": one["text"]} for one in told]
            found = conversation({"messages": messages, "group": identifier})
            opening = _opening(found.messages)
            if opening not in openings:
                openings.add(opening)
                yield found


def _opening(messages: Sequence[Message]) -> tuple[str, str]:
    """The first question and the first answer."""
    first = {message.role: message.content for message in reversed(messages)}
    return first["user"], first["assistant"]
