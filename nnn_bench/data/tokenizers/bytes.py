"""One token per byte of UTF-8: id = byte."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nnn_bench.config.paths import Project
from nnn_bench.data.encoding.byte_level import lengths
from nnn_bench.data.encoding.tokenizer import BaseTokenizer


class Tokenizer(BaseTokenizer):
    """256 ids, nothing learnt, nothing unknown."""

    def __init__(self) -> None:
        self.size, self.unknown = 256, None
        self.token_bytes, self.token_characters = lengths([bytes([byte]) for byte in range(256)])

    @classmethod
    def train(cls, settings: Any, texts: Iterable[str], project: Project) -> Self:
        return cls()

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        return cls()

    def to_data(self) -> dict[str, Any]:
        return {"kind": "bytes"}

    def encode_all(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        return [np.frombuffer(text.encode(), dtype=np.uint8).astype(np.uint32) for text in texts]

    def bytes_of(self, ids: Sequence[int]) -> bytes:
        return bytes(ids)
