"""Records out of JSON: a file of one record a line, or one file that holds an array of records (or a single one).

Both are read in pieces of about a megabyte, so memory holds one record at a time; a record of more than `LONGEST` characters is
refused. A record is an object or an array. What is refused says where: the line, and the column where the JSON itself is wrong.
Keys given twice and numbers that are none (NaN, Infinity) are no JSON here, although Python's reader would take them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from nnn_bench.config.errors import UserError
from nnn_bench.data.delivery.shelf import RawFile
from nnn_bench.data.readers.text import read_file

LONGEST = 16 << 20  # characters of one record
LARGEST_WHOLE = 512 << 20  # bytes of a file that is parsed at once

#: where a record stands ("line 3"), and what it is
Located = tuple[str, Any]

_SPACE = re.compile(r"[ \t\n]*")
_TAIL = 16  # characters: an error this close to the end of a piece may be a word or an escape that is cut in two


class _NotOurs(ValueError):
    """JSON that Python would read, and we do not."""


class GivenTwice(_NotOurs):
    """An object with a key twice."""

    def __init__(self, key: str):
        self.key = key
        super().__init__(f"key {key[:40]!r} is given twice in one object")


def each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of its pairs, for a reader of JSON. Raises `GivenTwice`."""
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise GivenTwice(key)
            seen.add(key)
    return found


def _no_number(word: str) -> Any:
    raise _NotOurs(f"{word} is not a number that JSON knows")


_DECODER = json.JSONDecoder(object_pairs_hook=each_key_once, parse_constant=_no_number)


def json_lines(raw: RawFile) -> Iterator[Located]:
    """One record a line; empty lines are passed over. Raises `UserError`."""
    for number, line in enumerate(_lines(raw), 1):
        if line.strip(" \t"):
            yield f"line {number}", _decoded(line, raw, f"line {number}")


def json_array(raw: RawFile) -> Iterator[Located]:
    """The records of an array, or the one record that the file is. Raises `UserError`."""
    text = _Reading(raw)
    if text.peek() == "{":
        yield text.record("record 1")
    elif text.peek() == "[":
        text.take("[")
        number = 1
        while text.peek() != "]":
            if number > 1:
                text.take(",")
            yield text.record(f"record {number}")
            number += 1
        text.take("]")
    else:
        raise text.error("a record or an array of records must begin with { or [")
    if text.peek():
        raise text.error("there is more after the end of the JSON; where each line is a record, name the file .jsonl")


def whole_json(raw: RawFile) -> Any:
    """All of a file at once, for what is one large object. Raises `UserError` for one of more than `LARGEST_WHOLE` bytes."""
    try:
        if raw.path.stat().st_size > LARGEST_WHOLE:
            raise UserError(f"is larger than {LARGEST_WHOLE >> 20} MiB; it cannot be read at once", file=raw.shown)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=raw.shown) from None
    return _decoded("".join(read_file(raw)), raw, "")


def _lines(raw: RawFile) -> Iterator[str]:
    """Lines without their ends; the last may have none."""
    waiting, number = "", 1
    for piece in read_file(raw):
        *lines, waiting = (waiting + piece).split("\n")
        for line in (*lines, waiting):
            if len(line) > LONGEST:
                raise UserError(f"line {number} is longer than {LONGEST >> 20} MiB", file=raw.shown)
            number += 1
        number -= 1
        yield from lines
    yield waiting


def _decoded(text: str, raw: RawFile, where: str) -> Any:
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        line = where or f"line {error.lineno}"
        raise UserError(f"{line}, column {error.colno}: {_said(error)}", file=raw.shown) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: {_refused(error)}" if where else _refused(error), file=raw.shown) from None


def _said(error: json.JSONDecodeError) -> str:
    cut = error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated")
    return f"malformed JSON: {error.msg[0].lower()}{error.msg[1:]}{'; the text may be cut off' if cut else ''}"


def _refused(error: Exception) -> str:
    if isinstance(error, _NotOurs):
        return str(error)
    return "is nested too deeply" if isinstance(error, RecursionError) else "holds a number of too many digits"


class _Reading:
    """A place in a JSON text that arrives in pieces, and the line and column it has in the file."""

    def __init__(self, raw: RawFile):
        self._raw, self._pieces = raw, read_file(raw)
        self._text, self._place = "", 0
        self._counted, self._line, self._column = 0, 1, 1  # a place in the text, and where that is in the file

    def peek(self) -> str:
        """The next character that is no blank, or nothing at the end."""
        while True:
            found = _SPACE.match(self._text, self._place)
            assert found is not None
            self._place = found.end()
            if self._place < len(self._text):
                return self._text[self._place]
            if not self._read(1):
                return ""

    def take(self, expected: str) -> None:
        """Step over one character that must come now."""
        found = self.peek()
        if found != expected:
            wanted = "',' or ']'" if expected == "," else repr(expected)
            raise self.error(f"malformed JSON: expecting {wanted}{'' if found else '; the text may be cut off'}")
        self._place += 1

    def record(self, name: str) -> Located:
        """The object or array that begins now."""
        if self.peek() not in ("{", "["):
            raise self.error(f"{name} is neither an object nor an array" if self.peek() else "the text is cut off")
        where = f"{name} (line {self._position(self._place)[0]})"
        while True:
            try:
                value, self._place = _DECODER.raw_decode(self._text, self._place)
                return where, value
            except json.JSONDecodeError as error:
                held = len(self._text) - self._place
                certain = error.pos < len(self._text) - _TAIL and not error.msg.startswith("Unterminated")
                if not certain and held > LONGEST:
                    raise UserError(f"{where} is longer than {LONGEST >> 20} MiB", file=self._raw.shown) from None
                if certain or not self._read(held):  # as much again each time, so that the work stays linear
                    raise self.error(_said(error), error.pos) from None
            except (ValueError, RecursionError) as error:
                raise UserError(f"{where}: {_refused(error)}", file=self._raw.shown) from None

    def error(self, message: str, place: int | None = None) -> UserError:
        line, column = self._position(self._place if place is None else place)
        return UserError(f"line {line}, column {column}: {message}", file=self._raw.shown)

    def _position(self, place: int) -> tuple[int, int]:
        """Line and column in the file, from 1, of a place that is not before the last one asked for."""
        lines = self._text.count("\n", self._counted, place)
        if lines:
            self._column = place - self._text.rindex("\n", self._counted, place)
        else:
            self._column += place - self._counted
        self._counted, self._line = place, self._line + lines
        return self._line, self._column

    def _read(self, characters: int) -> bool:
        """Forget what is done with and take in at least so many characters more; whether there were any."""
        pieces, held = [], 0
        for piece in self._pieces:
            pieces.append(piece)
            held += len(piece)
            if held >= characters:
                break
        if not pieces:
            return False
        self._position(self._place)
        self._text = "".join([self._text[self._place :], *pieces])
        self._place = self._counted = 0
        return True
