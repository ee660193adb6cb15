"""What every tokenizer can do. Each is one file of `tokenizers/` with a class `Tokenizer`.

Ids 0 .. size - 1 are ordinary tokens, all that text ever becomes. The marks of a conversation come after them and belong to the
store (`conversations/stream.py`): a tokenizer does not know them, so no text can produce one.
"""

from __future__ import annotations

import codecs
import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nnn_bench.config.closure import PACKAGE_ROOT
from nnn_bench.config.errors import UserError, nearest
from nnn_bench.config.paths import Project


class BaseTokenizer(ABC):
    """Text to ids and back.

    `token_bytes` and `token_characters` say, for each id, how many bytes of UTF-8 and how many characters of text it stands
    for; both sum over the ids of a text to its length. `unknown` is the id of what the vocabulary does not hold, if there may be
    such; it stands for one character, and counts as one byte.
    """

    size: int
    unknown: int | None
    token_bytes: list[int]
    token_characters: list[int]

    @classmethod
    @abstractmethod
    def train(cls, settings: Any, texts: Iterable[str], project: Project) -> Self:
        """From the training split, in pieces, or from the user's files. Raises `UserError` for what is no vocabulary."""

    @abstractmethod
    def encode_all(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        """Ids `(n,)` of each text by itself."""

    def encode(self, text: str) -> NDArray[np.uint32]:
        return self.encode_all([text])[0]

    @abstractmethod
    def bytes_of(self, ids: Sequence[int]) -> bytes:
        """UTF-8 of ordinary ids, which may begin and end inside a character; of `unknown`, U+FFFD."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ordinary ids; what is no whole character becomes U+FFFD."""
        return self.bytes_of(ids).decode(errors="replace")

    @abstractmethod
    def to_data(self) -> dict[str, Any]:
        """Plain data from which `from_data` makes the same tokenizer; `kind` is among it."""

    @classmethod
    @abstractmethod
    def from_data(cls, data: dict[str, Any]) -> Self: ...

    def streamed(self, ids: Iterable[int]) -> Iterator[str]:
        """The text of ids that come one by one, in pieces of whole characters (a character may be several tokens)."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        for one in ids:
            if text := decoder.decode(self.bytes_of([one])):
                yield text
        if text := decoder.decode(b"", final=True):
            yield text


def tokenizer_module(kind: str) -> str:
    """Dotted module of the tokenizer `kind`; its file name is the name the YAML uses."""
    known = [path.stem for path in (PACKAGE_ROOT / "data" / "tokenizers").glob("[a-z]*.py")]
    if kind not in known:
        raise UserError(f"there is no tokenizer {kind!r}; {nearest(kind, known)}")
    return f"nnn_bench.data.tokenizers.{kind}"


def tokenizer_class(kind: str) -> type[BaseTokenizer]:
    """The class `Tokenizer` of the file `tokenizers/KIND.py`.

    It is looked up by name, so a tokenizer's source is no part of a run's closure: a run depends on token ids, which the
    manifest hashes, not on the code that made them.
    """
    found: type[BaseTokenizer] = importlib.import_module(tokenizer_module(kind)).Tokenizer
    return found
