"""Chats between two people, from `dataset.json` of the Python package chitchat-dataset (BYU Chit-Chat Challenge, 2018).

    {ID: {"messages": [[{"text": ..., "sender": ..., ...}, ...], ...], ...}, ...}

What one speaker said before the other spoke is one turn: its messages joined by a blank. Whoever speaks first is the user, the
other the assistant. Left out are turns without text (the two around such a one stay two), and chats of fewer than four turns, or
with a mail address or a link (`http`) in them. Chats come in the order of their ids, which have nothing to do with what is said,
and each is a group of its own.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

from nnn_bench.config.errors import UserError
from nnn_bench.data.conversations.conversation import Conversation
from nnn_bench.data.conversations.json_records import whole_json
from nnn_bench.data.delivery.shelf import RawFile
from nnn_bench.data.readers.messages import conversation

FORM = "conversations"

FEWEST_TURNS = 4

_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+\.\w+|https?://")


def read(files: Sequence[RawFile]) -> Iterator[Conversation]:
    """The chats that are worth reading. Raises `UserError` for a file of another shape."""
    for raw in files:
        chats = whole_json(raw)
        try:
            for name, chat in sorted(chats.items()):
                turns = _turns(chat["messages"])
                if len(turns) >= FEWEST_TURNS and not any(_ADDRESS.search(text) for _, text in turns):
                    yield conversation({"messages": _messages(turns), "group": name})
        except UserError as error:
            raise error.located(raw.shown) from None
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"is not of the shape of chitchat's dataset.json: {error}", file=raw.shown) from None


def _turns(blocks: Any) -> list[tuple[str, str]]:
    """Who speaks, and what, without turns that are empty."""
    said = itertools.chain.from_iterable(blocks)
    turns = [
        (sender, " ".join(message["text"] for message in messages).strip())
        for sender, messages in itertools.groupby(said, key=lambda message: message["sender"])
    ]
    return [turn for turn in turns if turn[1]]


def _messages(turns: list[tuple[str, str]]) -> list[dict[str, str]]:
    first = turns[0][0]
    return [{"role": "user" if sender == first else "assistant", "content": text} for sender, text in turns]
