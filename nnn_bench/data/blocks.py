"""Parts of a text file as blocks of about a megabyte, cut where no tokenizer of ours joins what the cut parts.

Byte-pair encoding first cuts a text into words, and never merges across. A word begins at a single blank between two others that
are not blank, and after a single line end between two such; blocks end there. So the tokens of the blocks are those of the whole.
Only where a block holds no such place is it cut between two characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BLOCK = 1 << 20  # bytes

_LOOKED_AT = 1 << 14  # characters at the end of a block
_CUT = re.compile(r"(?<=\S)(?= \S)|(?<=\S\n)(?=\S)")
_CONTINUES = (0b1100_0000, 0b1000_0000)  # mask and value of a byte of UTF-8 that begins no character


@dataclass(frozen=True)
class Block:
    """A piece of text, and the byte of the file behind it."""

    text: str
    after: int


def text_blocks(path: Path, begin: int, end: int, size: int = BLOCK) -> Iterator[Block]:
    """The bytes `begin` to `end` of a UTF-8 file, both between characters, in blocks of at most `size` >= 8 bytes."""
    with path.open("rb") as file:
        while begin < end:
            file.seek(begin)
            raw = file.read(min(size, end - begin))
            if begin + len(raw) < end:
                raw = raw[: cut_place(raw)]
            begin += len(raw)
            yield Block(raw.decode(), begin)


def cut_place(raw: bytes) -> int:
    """Where to cut `raw`, bytes of UTF-8 that begin with a character and go on after their end: how many to keep."""
    whole = len(raw)
    while whole and raw[whole - 1] & _CONTINUES[0] == _CONTINUES[1]:
        whole -= 1
    whole -= 1  # the first byte of the last character, which may be cut off; what is before it is whole
    tail = raw[max(0, whole - _LOOKED_AT) : whole]
    while tail and tail[0] & _CONTINUES[0] == _CONTINUES[1]:
        tail = tail[1:]
    text = tail.decode()
    cuts = [match.start() for match in _CUT.finditer(text)]
    return whole - (len(text[cuts[-1] :].encode()) if cuts else 0)


def byte_places(path: Path, characters: list[int]) -> list[int]:
    """Bytes of a UTF-8 file at which its characters of the given numbers, in rising order, begin."""
    found: list[int] = []
    seen = place = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            begins = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) & _CONTINUES[0] != _CONTINUES[1])
            while len(found) < len(characters) and characters[len(found)] < seen + len(begins):
                found.append(place + int(begins[characters[len(found)] - seen]))
            seen, place = seen + len(begins), place + len(block)
    return found + [place] * (len(characters) - len(found))
