"""The three parts of a content as pieces that are encoded one after another, so that memory does not grow with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nnn_bench.config.datasets import Dataset
from nnn_bench.config.errors import UserError
from nnn_bench.config.paths import Project
from nnn_bench.data.blocks import text_blocks
from nnn_bench.data.content import FILES, Content
from nnn_bench.data.conversations.conversation import Conversation
from nnn_bench.data.conversations.stream import encode_conversations
from nnn_bench.data.encoding.tokenizer import BaseTokenizer
from nnn_bench.data.names import SplitName
from nnn_bench.data.splits import conversation_index, text_ranges

BLOCK = 1 << 17  # bytes of text that are encoded as one
BLOCKS_AT_ONCE = 16  # and so many side by side
_CONVERSATIONS_AT_ONCE = 256


@dataclass(frozen=True)
class Encoded:
    """What became of a piece: ids, which of them are targets, and the characters and bytes they stand for."""

    ids: NDArray[np.uint32]
    targets: NDArray[np.uint8] | None
    characters: int
    size: int
    unknown: int


@dataclass(frozen=True)
class TextPiece:
    """Text that is encoded at once, and where the next piece begins."""

    texts: list[str]
    after: int

    def encoded(self, tokenizer: BaseTokenizer) -> Encoded:
        return _encoded(np.concatenate(tokenizer.encode_all(self.texts)), None, self.texts, tokenizer)


@dataclass(frozen=True)
class ConversationPiece:
    """Conversations that are encoded at once, and where the next piece begins."""

    conversations: list[Conversation]
    after: int

    def encoded(self, tokenizer: BaseTokenizer) -> Encoded:
        contents = [message.content for one in self.conversations for message in one.messages]
        return _encoded(*encode_conversations(self.conversations, tokenizer), contents, tokenizer)


class TextParts:
    """The three parts of a text, places in bytes of its file."""

    def __init__(self, path: Path, ranges: dict[SplitName, tuple[int, int]]):
        self.path, self.ranges = path, ranges

    def texts(self, split: SplitName) -> Iterator[str]:
        return (block.text for block in text_blocks(self.path, *self.ranges[split]))

    def pieces(self, split: SplitName, place: int | None) -> Iterator[TextPiece]:
        begin, end = self.ranges[split]
        blocks = text_blocks(self.path, begin if place is None else place, end, BLOCK)
        while several := list(islice(blocks, BLOCKS_AT_ONCE)):
            yield TextPiece([block.text for block in several], several[-1].after)


class ConversationParts:
    """The three parts of a file of conversations, places in numbers of conversations."""

    def __init__(self, path: Path, dataset: Dataset, *, file: str):
        self.index = conversation_index(path, dataset, file=file)

    def texts(self, split: SplitName) -> Iterator[str]:
        return (message.content for one in self.index.read(split) for message in one.messages)

    def pieces(self, split: SplitName, place: int | None) -> Iterator[ConversationPiece]:
        after = place or 0
        conversations = self.index.read(split, after)
        while several := list(islice(conversations, _CONVERSATIONS_AT_ONCE)):
            after += len(several)
            yield ConversationPiece(several, after)


Parts = TextParts | ConversationParts


def parts_of(name: str, dataset: Dataset, content: Content, project: Project) -> Parts:
    """The three parts of a content. Raises `UserError` for one that has no tokens, or too little for three parts."""
    if content.form == "labelled":
        raise UserError(
            f"data set {name} holds labelled arrays; tokens are made of text or conversations",
            file=f"config/datasets/{name}.yaml",
            key="reader",
        )
    path = project.content(name) / FILES[content.form]
    shown = str(content.origin.get("path") or f"data set {name}")
    if content.form == "conversations":
        return ConversationParts(path, dataset, file=shown)
    return TextParts(path, text_ranges(path, content.counts["characters"], dataset, file=shown))


def _encoded(
    ids: NDArray[np.uint32], targets: NDArray[np.uint8] | None, texts: list[str], tokenizer: BaseTokenizer
) -> Encoded:
    unknown = 0 if tokenizer.unknown is None else int((ids == tokenizer.unknown).sum())
    return Encoded(ids, targets, sum(map(len, texts)), sum(len(text.encode()) for text in texts), unknown)
