"""How content is cut into training, validation and test parts, so that nothing of one is seen in another.

Text is cut into contiguous parts with a gap between. Conversations go by groups (a problem, a first question): whole groups, in
the order of the hash of their names, to the test part until it holds its share of the bytes, then to validation, the rest to
training. Inside a part conversations lie in the order of their own hashes: a run that reads the beginning of it meets all groups.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
    names, keys, lengths = array("Q"), array("Q"), array("q")  # and no more for each conversation
    with path.open("rb") as lines:
        for line in lines:
            names.append(_short_hash(Conversation.from_line(line.decode()).group.encode()))
            keys.append(_short_hash(line))
            lengths.append(len(line))
    sizes = np.frombuffer(lengths, dtype=np.int64)
    begins = np.cumsum(sizes) - sizes
    groups, members = np.unique(np.frombuffer(names, dtype=np.uint64), return_inverse=True)
    part = _parts_of_groups(np.bincount(members, weights=sizes).astype(np.float64), dataset)[members]
    order = np.argsort(np.frombuffer(keys, dtype=np.uint64), kind="stable")
    found = {name: order[part[order] == number] for number, name in enumerate(SPLITS)}
    if not all(map(len, found.values())):
        raise UserError(
            f"has {len(groups)} groups of conversations: too few for three splits that share none; give more", file=file
        )
    return ConversationIndex(
        path, {name: np.stack([begins[rows], sizes[rows]], axis=1) for name, rows in found.items()}
    )


def _parts_of_groups(sizes: NDArray[np.float64], dataset: Dataset) -> NDArray[np.int64]:
    """Number in `SPLITS` of each group, given their bytes in the order of their hashes."""
    filled = np.concatenate([[0.0], np.cumsum(sizes)[:-1]])  # bytes of the groups before each
    test = filled < dataset.test_share * sizes.sum()
    rest = filled - filled[~test].min(initial=np.inf)
    validation = ~test & (rest < dataset.validation_share * sizes.sum())
    return np.where(test, SPLITS.index("test"), np.where(validation, SPLITS.index("validation"), SPLITS.index("train")))


def _short_hash(content: bytes) -> int:
    """64 bits of a hash: enough to tell a hundred million apart but once in four thousand data sets."""
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big")
