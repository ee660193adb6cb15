"""How content is cut into training, validation and test parts, so that nothing of one is seen in another.

Text is cut into contiguous parts with a gap between. Conversations go by groups (a problem, a first question): whole groups, in
the order of the hash of their names, to the test part until it holds its share of the bytes, then to validation, the rest to
training. A run that sees less than all of it reads the beginning of the training part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnn_bench.config.datasets import Dataset
from nnn_bench.config.errors import UserError
from nnn_bench.data.blocks import byte_places
from nnn_bench.data.conversations.conversation import Conversation
from nnn_bench.data.names import SPLITS, SplitName

_LEAST_CHARACTERS = 2  # of a split: one input and its target


def text_ranges(path: Path, characters: int, dataset: Dataset, *, file: str) -> dict[SplitName, tuple[int, int]]:
    """First byte and byte behind the last of each part of a text of so many characters, `gap` left out between parts."""
    gap = dataset.gap
    validation, test = int(characters * dataset.validation_share), int(characters * dataset.test_share)
    train = characters - validation - test - 2 * gap
    if min(train, validation, test) < _LEAST_CHARACTERS:
        raise UserError(
            f"has {characters:,} characters: too few for three splits with gaps of {gap:,}; give more text or lower gap",
            file=file,
        )
    second = train + gap
    third = second + validation + gap
    places = byte_places(path, [0, train, second, second + validation, third, characters])
    return {name: (places[2 * i], places[2 * i + 1]) for i, name in enumerate(SPLITS)}


@dataclass(frozen=True)
class ConversationIndex:
    """Where the conversations of each part lie in a file of one a line: first bytes and lengths, `(n, 2)`."""

    path: Path
    places: dict[SplitName, np.ndarray]

    def read(self, split: SplitName, first: int = 0) -> Iterator[Conversation]:
        """The conversations of a part, from number `first` on."""
        with self.path.open("rb") as file:
            for begin, length in self.places[split][first:]:
                file.seek(begin)
                yield Conversation.from_line(file.read(length).decode())


def conversation_index(path: Path, dataset: Dataset, *, file: str) -> ConversationIndex:
    """Give the conversations of a file to the three parts, whole groups together."""
    groups: dict[bytes, list[tuple[int, int]]] = {}
    begin = 0
    with path.open("rb") as lines:
        for line in lines:
            key = hashlib.sha256(Conversation.from_line(line.decode()).group.encode()).digest()
            groups.setdefault(key, []).append((begin, len(line)))
            begin += len(line)
    wanted = {"test": dataset.test_share * begin, "validation": dataset.validation_share * begin}
    places: dict[SplitName, list[tuple[int, int]]] = {name: [] for name in SPLITS}
    filling: list[SplitName] = ["test", "validation", "train"]
    size = 0
    for key in sorted(groups):
        places[filling[0]] += groups[key]
        size += sum(length for _, length in groups[key])
        if filling[0] != "train" and size >= wanted[filling[0]]:
            del filling[0]
            size = 0
    if not all(places.values()):
        raise UserError(
            f"has {len(groups)} groups of conversations: too few for three splits that share none; give more", file=file
        )
    return ConversationIndex(path, {name: np.array(found, dtype=np.int64) for name, found in places.items()})
