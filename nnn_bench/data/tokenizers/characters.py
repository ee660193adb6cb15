"""One token per character. The vocabulary is what the training split holds; id 0 stands for everything else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nnn_bench.config.paths import Project
from nnn_bench.data.encoding.tokenizer import BaseTokenizer

UNKNOWN = 0
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Tokenizer(BaseTokenizer):
    """Characters in the order of their code points, numbered from 1.

    Whatever the training split does not hold is one pooled class, so predicting it does not pay for which character it is. How
    many of them each split holds is in the manifest, as `unknown`.
    """

    def __init__(self, characters: str):
        self.characters = characters
        self.size, self.unknown = len(characters) + 1, UNKNOWN
        self.token_bytes = [1, *(len(character.encode()) for character in characters)]
        self.token_characters = [1] * self.size
        self._ids = np.zeros(0x110000, dtype=np.uint32)
        self._ids[[ord(character) for character in characters]] = np.arange(1, self.size)

    @classmethod
    def train(cls, settings: Any, texts: Iterable[str], project: Project) -> Self:
        found: set[str] = set()
        for text in texts:
            found.update(text)
        return cls("".join(sorted(found)))

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        return cls(data["characters"])

    def to_data(self) -> dict[str, Any]:
        return {"kind": "characters", "characters": self.characters}

    def encode_all(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        points = np.frombuffer("".join(texts).encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32)
        return np.split(self._ids[points], np.cumsum([len(text) for text in texts])[:-1])

    def bytes_of(self, ids: Sequence[int]) -> bytes:
        return "".join(_REPLACEMENT if i == UNKNOWN else self.characters[i - 1] for i in ids).encode()
