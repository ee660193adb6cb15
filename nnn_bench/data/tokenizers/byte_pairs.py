"""Byte-level byte pairs, trained on the training split. The first 256 ids are the bytes, so nothing is unknown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nnn_bench.config.datasets import BytePairTokens
from nnn_bench.config.paths import Project
from nnn_bench.data.encoding.byte_level import BYTES, Merge, byte_level, encode_texts, lengths, train_byte_pairs
from nnn_bench.data.encoding.tokenizer import BaseTokenizer


class Tokenizer(BaseTokenizer):
    """`tokens` in the order of their ids, in the letters of `byte_level.py`; `merges` of two tokens into a third, in order."""

    def __init__(self, tokens: Sequence[str], merges: Sequence[Merge]):
        self.tokens, self.merges = list(tokens), list(merges)
        self.size, self.unknown = len(self.tokens), None
        self._table = [bytes(BYTES[letter] for letter in token) for token in self.tokens]
        self.token_bytes, self.token_characters = lengths(self._table)
        self._library = byte_level(self.tokens, self.merges)

    @classmethod
    def train(cls, settings: BytePairTokens, texts: Iterable[str], project: Project) -> Self:
        return cls(*train_byte_pairs(texts, settings.vocabulary, settings.training_bytes))

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        return cls(data["tokens"], [(left, right) for left, right in data["merges"]])

    def to_data(self) -> dict[str, Any]:
        return {"kind": "byte_pairs", "tokens": self.tokens, "merges": self.merges}

    def encode_all(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        return encode_texts(self._library, texts)

    def bytes_of(self, ids: Sequence[int]) -> bytes:
        return b"".join(self._table[i] for i in ids)
