"""Conversations: messages of known roles, in the one form in which they are kept and hashed.

    {"group": "...", "messages": [{"content": "...", "role": "user"}, ...]}          a line of `content.jsonl`

Conversations of one group (a problem, a source) never part: all of them go to the same split.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True)
class Message:
    """What one side said. Content is plain text, never markup of ours: nothing in it becomes a special token."""

    role: Role
    content: str


@dataclass(frozen=True)
class Conversation:
    """Messages in order. `group` names what it must not be parted from; alone it is a group of its own."""

    messages: tuple[Message, ...]
    group: str

    def to_line(self) -> str:
        """One line of canonical JSON, with its newline."""
        told = [{"content": message.content, "role": message.role} for message in self.messages]
        return json.dumps({"group": self.group, "messages": told}, ensure_ascii=False, separators=(",", ":")) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Conversation:
        """Read back a line of `to_line`."""
        told = json.loads(line)
        return cls(tuple(Message(one["role"], one["content"]) for one in told["messages"]), told["group"])
