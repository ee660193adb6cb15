"""A `tokenizer.json` of the library `tokenizers`, as far as it gives every text back.

Bits per byte need the bytes of every token, so a token here stands for bytes of its own, and those of the ids of a text, joined,
are the text: checked for everything that is encoded. A tokenizer that lowers, composes or drops anything fails at the first text
where it shows, in one line.

What such a file does beyond that is taken off before it is used:

- All its added tokens. They are looked for in the raw text, ahead of the model, and marks of conversations are among them,
  whether the file calls them special or not. Those that merges do not need leave the vocabulary too, so no text becomes one. A
  special one that merges make or use is refused: text would become it.
- What is put around or before a text (templates, a blank at its beginning), truncation, padding, and dropout, which draws lots.

The ids that are left are numbered anew, in their order.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import tokenizers
from numpy.typing import NDArray

from nnn_bench.config.datasets import TokenizerFile
from nnn_bench.config.errors import UserError
from nnn_bench.config.paths import Project
from nnn_bench.data.encoding.byte_level import encode_texts, lengths, pieces
from nnn_bench.data.encoding.tokenizer import BaseTokenizer
from nnn_bench.data.encoding.tokenizer_definition import bytes_by_id, neutral
from nnn_bench.data.encoding.vocabulary_files import read_json_file

_CHECKED = 1 << 20  # bytes of the training split, before anything is made
_BLOCK = 1 << 16


class Tokenizer(BaseTokenizer):
    """`definition` is the file as it is used, plain data; `path` what to call it in messages."""

    def __init__(self, definition: dict[str, Any], path: str):
        self._definition, self._path = definition, path
        with _library_errors(path):
            self._library = tokenizers.Tokenizer.from_str(json.dumps(definition))
        by_id = bytes_by_id(definition)
        ordinary = sorted(number for number, found in by_id.items() if found)
        if not ordinary:
            raise UserError("has no tokens that a text could become", file=path, key="model.vocab")
        self._table = [by_id[number] for number in ordinary]
        self.size, self.unknown = len(ordinary), None
        self.token_bytes, self.token_characters = lengths(self._table)
        # a text that became any other id would not be given back: it has no bytes, and a number behind ours
        self._table.append(b"")
        self._ours = np.full(max(by_id) + 1, self.size, dtype=np.uint32)
        self._ours[ordinary] = np.arange(self.size)

    @classmethod
    def train(cls, settings: TokenizerFile, texts: Iterable[str], project: Project) -> Self:
        made = cls(neutral(read_json_file(project.root / settings.path, settings.path), settings.path), settings.path)
        left = _CHECKED
        for text in texts:
            for piece in pieces(text, _BLOCK):
                if left > 0:
                    made.encode(piece)
                    left -= len(piece.encode())
            if left <= 0:
                break
        return made

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        return cls(data["definition"], data["path"])

    def to_data(self) -> dict[str, Any]:
        return {"kind": "tokenizer_file", "path": self._path, "definition": self._definition}

    def encode_all(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        with _library_errors(self._path):
            found = [self._ours[ids] for ids in encode_texts(self._library, texts)]
        for text, ids in zip(texts, found, strict=True):
            joined = b"".join(map(self._table.__getitem__, ids.tolist()))
            if joined != text.encode():
                raise self._lossy(text, joined.decode(errors="replace"))
        return found

    def bytes_of(self, ids: Sequence[int]) -> bytes:
        return b"".join(self._table[i] for i in ids)

    def _lossy(self, text: str, back: str) -> UserError:
        place = next((i for i, (a, b) in enumerate(zip(text, back, strict=False)) if a != b), min(len(text), len(back)))
        near = slice(max(0, place - 8), place + 12)
        return UserError(  # in ASCII: what differs may look the same
            f"does not give a text back: {text[near]!a} comes back as {back[near]!a}; bits per byte need a tokenizer that "
            "does, such as byte-level BPE",
            file=self._path,
        )


@contextmanager
def _library_errors(shown: str) -> Iterator[None]:
    try:
        yield
    except BaseException as error:  # the library raises plain `Exception`, and for a panic not even one
        if type(error) is not Exception and type(error).__name__ != "PanicException":
            raise
        raise UserError(f"the library `tokenizers` says: {error}", file=shown) from None
