"""Byte-level byte pairs through the library `tokenizers`, and what every tokenizer of the library's has in common here.

A byte-level vocabulary writes each of the 256 bytes as one printable letter (GPT-2's table: a byte that is a visible character of
Latin-1 stands for itself, the others follow from U+0100 on), so its tokens are strings and yet any text can be written in them. A
token may end inside a character: it stands for its bytes, and for the characters that begin in it.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import decoders, models, pre_tokenizers, trainers

from nnn_bench.data.blocks import cut_place

_VISIBLE = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
_HIDDEN = [byte for byte in range(256) if byte not in _VISIBLE]

#: the letter of each byte, and the byte of each letter
LETTERS = [chr(byte if byte in _VISIBLE else 0x100 + _HIDDEN.index(byte)) for byte in range(256)]
BYTES = {letter: byte for byte, letter in enumerate(LETTERS)}

_TRAINED_AT_ONCE = 1 << 14  # bytes: the library holds some hundred pieces, each at a hundred times its size
_ENCODED_AT_ONCE = 1 << 17  # bytes of one text
_TOGETHER = 1 << 21  # characters of the texts that are encoded side by side

Merge = tuple[str, str]


def bytes_of(token: str) -> bytes | None:
    """The bytes of a token written in `LETTERS`; None for one that holds anything else."""
    found = [BYTES.get(letter, -1) for letter in token]
    return None if -1 in found else bytes(found)


def lengths(table: Sequence[bytes]) -> tuple[list[int], list[int]]:
    """Bytes of each token, and the characters that begin in it."""
    return [len(one) for one in table], [sum(byte & 0xC0 != 0x80 for byte in one) for one in table]


def byte_level(tokens: Sequence[str], merges: Sequence[Merge]) -> tokenizers.Tokenizer:
    """The library's tokenizer of a byte-level vocabulary: no special tokens, nothing put before a text."""
    model = models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=list(merges))
    return _dressed(model)


def train_byte_pairs(
    texts: Iterable[str], vocabulary: int, most_bytes: int | None = None
) -> tuple[list[str], list[Merge]]:
    """Tokens in the order of their ids, and merges in theirs, of the first `most_bytes` of `texts`.

    The 256 bytes come first; what follows is at most `vocabulary` in all, fewer where the text has no more pairs to join. The
    same text gives the same tokens, on any number of threads: equal counts are told apart by ids.
    """
    made = _dressed(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        show_progress=False,
        special_tokens=[],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    made.train_from_iterator(_first(texts, most_bytes), trainer=trainer)
    model = json.loads(made.to_str())["model"]
    return sorted(model["vocab"], key=model["vocab"].__getitem__), [(left, right) for left, right in model["merges"]]


def encode_texts(library: tokenizers.Tokenizer, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
    """Ids of each text. Long texts are cut between words, and not too many are held at once: a token costs some hundred bytes
    until it is a number in an array."""
    found: list[list[NDArray[np.uint32]]] = [[] for _ in texts]
    waiting: list[tuple[int, str]] = []
    held = 0
    for number, text in enumerate(texts):
        for piece in pieces(text, _ENCODED_AT_ONCE):
            waiting.append((number, piece))
            held += len(piece)
            if held >= _TOGETHER:
                _encode(library, waiting, found)
                waiting, held = [], 0
    _encode(library, waiting, found)
    return [parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.uint32), *parts]) for parts in found]


def pieces(text: str, size: int) -> Iterator[str]:
    """`text` in pieces of at most `size` bytes, cut between words where there are such."""
    raw = text.encode()
    if len(raw) <= size:
        yield text
        return
    begin = 0
    while len(raw) - begin > size:
        end = begin + cut_place(raw[begin : begin + size])
        yield raw[begin:end].decode()
        begin = end
    yield raw[begin:].decode()


def _dressed(model: models.BPE) -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


def _first(texts: Iterable[str], most_bytes: int | None) -> Iterator[str]:
    """Small pieces of the first `most_bytes` of `texts`, all of them for None; a character is whole or not there."""
    left = most_bytes
    for text in texts:
        for piece in pieces(text, _TRAINED_AT_ONCE):
            if left is not None:
                raw = piece.encode()
                if len(raw) >= left:
                    yield raw[:left].decode(errors="ignore")
                    return
                left -= len(raw)
            yield piece


def _encode(
    library: tokenizers.Tokenizer, waiting: Sequence[tuple[int, str]], found: list[list[NDArray[np.uint32]]]
) -> None:
    encoded = library.encode_batch_fast([piece for _, piece in waiting], add_special_tokens=False)
    for (number, _), one in zip(waiting, encoded, strict=True):
        # three times as fast as to make an array of the list at once
        found[number].append(np.frombuffer(array("I", one.ids), dtype=np.uint32))
