"""A user's `vocab.json`: the longest of its strings that fits, from left to right; with merges, byte-level byte pairs.

Matching strings needs no training and hides nothing: what no string covers is one pooled id behind the user's, a character each.
Strings that contain a blank or a line end match inside a block of text alone (`blocks.py` cuts between words).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, Self

import numpy as np
import tokenizers
from numpy.typing import NDArray

from nnn_bench.config.datasets import VocabularyTokens
from nnn_bench.config.paths import Project
from nnn_bench.data.encoding.byte_level import BYTES, Merge, byte_level, encode_texts, lengths
from nnn_bench.data.encoding.tokenizer import BaseTokenizer
from nnn_bench.data.encoding.vocabulary_files import check_byte_level, read_merges, read_vocabulary

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Tokenizer(BaseTokenizer):
    """The user's ids as they are; `merges` None for the longest match, and then one id more, `unknown`."""

    def __init__(self, tokens: Sequence[str], merges: Sequence[Merge] | None):
        self.tokens, self.merges = list(tokens), None if merges is None else list(merges)
        self._way: _Way = _Longest(self.tokens) if self.merges is None else _Pairs(self.tokens, self.merges)
        self._table = self._way.table
        self.unknown = len(self.tokens) if self.merges is None else None
        self.size = len(self._table)
        self.token_bytes, self.token_characters = lengths(self._table)
        if self.unknown is not None:
            self.token_bytes[self.unknown] = 1  # by contract, whichever character it was

    @classmethod
    def train(cls, settings: VocabularyTokens, texts: Iterable[str], project: Project) -> Self:
        tokens = read_vocabulary(project.root / settings.path, settings.path)
        if settings.merges is None:
            return cls(tokens, None)
        check_byte_level(tokens, settings.path)
        return cls(tokens, read_merges(project.root / settings.merges, settings.merges, tokens))

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        merges = data["merges"]
        return cls(data["tokens"], None if merges is None else [(left, right) for left, right in merges])

    def to_data(self) -> dict[str, Any]:
        return {"kind": "vocabulary", "tokens": self.tokens, "merges": self.merges}

    def encode_all(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        return self._way.encode_all(texts)

    def bytes_of(self, ids: Sequence[int]) -> bytes:
        return b"".join(self._table[i] for i in ids)


class _Way(Protocol):
    """How strings become tokens; `table` has the bytes of each id."""

    table: list[bytes]

    def encode_all(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]: ...


class _Longest:
    def __init__(self, tokens: Sequence[str]):
        self.table = [*(token.encode() for token in tokens), _REPLACEMENT.encode()]
        self._ids = {token: number for number, token in enumerate(tokens)}
        self._unknown = len(tokens)
        lengths_of: dict[str, set[int]] = {}
        for token in tokens:
            lengths_of.setdefault(token[0], set()).add(len(token))
        #: which lengths may fit where a character stands, the longest first
        self._lengths = {first: sorted(found, reverse=True) for first, found in lengths_of.items()}

    def encode_all(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        return [np.array(self._matched(text), dtype=np.uint32) for text in texts]

    def _matched(self, text: str) -> list[int]:
        ids, lengths_of, found, place = self._ids, self._lengths, [], 0
        while place < len(text):
            for length in lengths_of.get(text[place], ()):
                number = ids.get(text[place : place + length])
                if number is not None:
                    found.append(number)
                    place += length
                    break
            else:
                found.append(self._unknown)
                place += 1
        return found


class _Pairs:
    def __init__(self, tokens: Sequence[str], merges: Sequence[Merge]):
        self.table = [bytes(BYTES[letter] for letter in token) for token in tokens]
        self._library: tokenizers.Tokenizer = byte_level(tokens, merges)

    def encode_all(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        return encode_texts(self._library, texts)
