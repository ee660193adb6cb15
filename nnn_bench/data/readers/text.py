"""Plain text, in any amount: UTF-8 without byte-order mark, with `\\n` line ends.

Files of one delivery follow one another; a newline is added between two where the first does not end with one, so that no two
words are glued together. A single file stays as it is.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence

from nnn_bench.config.errors import UserError
from nnn_bench.data.delivery.shelf import RawFile

FORM = "text"

_AT_ONCE = 1 << 20  # bytes


def read(files: Sequence[RawFile]) -> Iterator[str]:
    """The text of `files`, one after another, in pieces. Raises `UserError` for anything that is not text."""
    last = "\n"
    for raw in files:
        if last != "\n":
            yield "\n"
        for piece in read_file(raw):
            yield piece
            last = piece[-1]


def read_file(raw: RawFile) -> Iterator[str]:
    """The text of one file, in pieces of at most a megabyte and a character, none of them empty."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    place, empty, waiting = 0, True, ""
    try:
        with raw.path.open("rb") as file:
            if file.read(3) != codecs.BOM_UTF8:
                file.seek(0)
            while True:
                begun = file.tell() - len(decoder.getstate()[0])
                block = file.read(_AT_ONCE)
                try:
                    text = waiting + decoder.decode(block, final=not block)
                except UnicodeDecodeError as error:
                    raise UserError(
                        f"is not UTF-8 (byte {begun + error.start}); convert it first", file=raw.shown
                    ) from None
                if "\0" in text:
                    place += text.index("\0")
                    raise UserError(f"holds a NUL character (place {place}); it is not a text", file=raw.shown)
                # a carriage return at the end of a piece may be the first half of a line end
                waiting = "\r" if text.endswith("\r") and block else ""
                text = text[: len(text) - len(waiting)]
                place += len(text)
                empty = empty and not text.strip()
                if text:
                    yield text.replace("\r\n", "\n").replace("\r", "\n")
                if not block:
                    break
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=raw.shown) from None
    if empty:
        raise UserError("is empty", file=raw.shown)


def whole_text(files: Sequence[RawFile]) -> str:
    """All of it at once, for readers that must look at a text as a whole."""
    return "".join(read(files))
