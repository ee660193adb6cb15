"""A conversation as a stream of tokens.

    <|user|> content <|end|> <|assistant|> content <|end|> ...

The marks are ids behind those of the tokenizer, so that no text becomes one. What an assistant says, and the mark that ends
it, are the targets of a study whose objective is `answers`; the mask of the stream says which tokens those are. Marks stand for
no bytes and no characters: they are learnt where they are targets, and never scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnn_bench.data.conversations.conversation import ROLES, Conversation
from nnn_bench.data.encoding.tokenizer import BaseTokenizer

MARKS = (*ROLES, "end")


def mark_ids(size: int) -> dict[str, int]:
    """Ids of the marks behind a tokenizer of `size` ids."""
    return {mark: size + i for i, mark in enumerate(MARKS)}


def encode_conversations(
    conversations: Sequence[Conversation], tokenizer: BaseTokenizer
) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """Ids `(n,)` of the conversations one after another, and which of them are targets, 0 or 1."""
    messages = [message for conversation in conversations for message in conversation.messages]
    marks = mark_ids(tokenizer.size)
    ids: list[NDArray[np.uint32]] = []
    targets: list[NDArray[np.uint8]] = []
    for message, content in zip(messages, tokenizer.encode_all([one.content for one in messages]), strict=True):
        ids += [np.array([marks[message.role]], dtype=np.uint32), content, np.array([marks["end"]], dtype=np.uint32)]
        mask = np.full(len(content) + 2, message.role == "assistant", dtype=np.uint8)
        mask[0] = 0
        targets.append(mask)
    return np.concatenate(ids), np.concatenate(targets)


@dataclass(frozen=True)
class Answers:
    """Questions that an answer follows at once, in a stream: where both begin and how long they are, `(n, 4)` int64 of
    question start, question length, answer start, answer length. Marks are not counted in."""

    spans: NDArray[np.int64]


def answers_in(tokens: NDArray[np.unsignedinteger], size: int) -> Answers:
    """Each assistant's message of a stream that follows a user's. `size` is that of the tokenizer."""
    marks = mark_ids(size)
    places = np.flatnonzero(tokens >= size)
    found = np.asarray(tokens[places], dtype=np.int64)
    # a whole message is a role's mark and the next end; whatever the stream cuts off at its end has none
    wanted = [marks["user"], marks["end"], marks["assistant"], marks["end"]]
    first = np.flatnonzero(
        np.logical_and.reduce([found[i : len(found) - 3 + i] == mark for i, mark in enumerate(wanted)])
    )
    user, user_end, assistant, assistant_end = (places[first + i] for i in range(4))
    spans = np.stack([user + 1, user_end - user - 1, assistant + 1, assistant_end - assistant - 1], axis=1)
    return Answers(spans[(spans[:, 1] > 0) & (spans[:, 3] > 0)])
