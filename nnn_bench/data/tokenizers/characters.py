"""One token per character. The vocabulary is what the training split holds; id 0 stands for everything else."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

UNKNOWN = 0
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Tokenizer:
    """Characters in the order of their code points, numbered from 1."""

    def __init__(self, characters: str):
        self.characters = characters
        self._ids = np.zeros(0x110000, dtype=np.uint32)
        self._ids[[ord(character) for character in characters]] = np.arange(1, len(characters) + 1)

    @classmethod
    def train(cls, text: str) -> Tokenizer:
        return cls("".join(sorted(set(text))))

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Tokenizer:
        return cls(data["characters"])

    def to_data(self) -> dict[str, Any]:
        return {"kind": "characters", "characters": self.characters}

    @property
    def size(self) -> int:
        return len(self.characters) + 1

    @property
    def token_bytes(self) -> list[int]:
        """UTF-8 bytes each id stands for; an unknown character counts as one byte.

        Whatever the training split does not hold is one pooled class, so predicting it does not pay for which character
        it is. How many of them each split holds is in the manifest, as `unknown`.
        """
        return [1, *(len(character.encode()) for character in self.characters)]

    def encode(self, text: str) -> NDArray[np.uint32]:
        points = np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32)
        return self._ids[points]

    def decode(self, ids: list[int]) -> str:
        return "".join(_REPLACEMENT if i == UNKNOWN else self.characters[i - 1] for i in ids)
