"""The user's own vocabularies: `vocab.json`, `merges.txt`, and the JSON they are written in; one line for each error."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nnn_bench.config.errors import UserError
from nnn_bench.data.conversations.json_records import GivenTwice, each_key_once
from nnn_bench.data.encoding.byte_level import LETTERS, Merge, bytes_of

_LARGEST_FILE = 1 << 26  # bytes
_MOST_TOKENS = 1 << 20
_LONGEST_TOKEN = 1024  # characters
_QUOTED = 40  # characters of what is wrong that a message repeats
_NAMED = 8  # and how many of several


def read_vocabulary(path: Path, shown: str) -> list[str]:
    """The strings of a JSON mapping `{string: id}` in the order of their ids, which are 0 .. N - 1, each once."""
    data = read_json_file(path, shown)
    if not isinstance(data, dict):
        raise UserError("must hold one mapping {string: id}", file=shown)
    if not 1 <= len(data) <= _MOST_TOKENS:
        raise UserError(f"has {len(data):,} strings; a vocabulary has 1 to {_MOST_TOKENS:,}", file=shown)
    tokens: list[str | None] = [None] * len(data)
    for token, number in data.items():
        _check_token(token, shown)
        if type(number) is not int:  # True is an int to Python, and no id
            raise UserError(f"its id must be a whole number, got {shortly(number)}", file=shown, key=shortly(token))
        if not 0 <= number < len(data):
            given = {one for one in data.values() if type(one) is int}
            missing = next(free for free in range(len(data)) if free not in given)
            raise UserError(
                f"has id {str(number)[:_QUOTED]}; {len(data):,} strings have ids 0 to {len(data) - 1:,} without gaps, and "
                f"{missing} is missing",
                file=shown,
                key=shortly(token),
            )
        if tokens[number] is not None:
            raise UserError(f"has id {number}, and so has {shortly(tokens[number])}", file=shown, key=shortly(token))
        tokens[number] = token
    return [token for token in tokens if token is not None]


def read_merges(path: Path, shown: str, tokens: Iterable[str]) -> list[Merge]:
    """The merges of byte pairs in order, each of two of `tokens` into a third: lines `left right`, or a JSON list of
    `"left right"` or `["left", "right"]`."""
    text = _text_of(path, shown)
    if path.suffix.lower() == ".json":
        numbered = _merges_of_json(text, shown)
    else:
        lines = enumerate(text.split("\n"), 1)
        numbered = [
            (f"line {number}", line.rstrip("\r").split(" "))
            for number, line in lines
            if line.strip() and not (number == 1 and line.startswith("#version"))
        ]
    known = set(tokens)
    found: dict[Merge, str] = {}
    for place, parts in numbered:
        if len(parts) != 2 or not all(parts):
            raise UserError(f"{place}: a merge is two tokens with one blank between", file=shown)
        lacking = next((token for token in (*parts, "".join(parts)) if token not in known), None)
        if lacking is not None:
            raise UserError(f"{place}: {shortly(lacking)} is not in the vocabulary", file=shown)
        merge = (parts[0], parts[1])
        if merge in found:
            raise UserError(f"{place}: the same merge as {found[merge]}", file=shown)
        found[merge] = place
    return list(found)


def check_byte_level(tokens: Iterable[str], shown: str) -> None:
    """Refuse a vocabulary that is not written in the letters of bytes, or has not all of them."""
    known = set(tokens)
    foreign = next((token for token in known if bytes_of(token) is None), None)
    if foreign is not None:
        raise UserError(
            "holds what is no letter of byte-level byte pairs; leave merges out to match strings as they are",
            file=shown,
            key=shortly(foreign),
        )
    missing = [f"0x{byte:02X}" for byte, letter in enumerate(LETTERS) if letter not in known]
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise UserError(
            f"lacks the bytes {', '.join(missing[:_NAMED])}{more}; byte-level byte pairs need all 256", file=shown
        )


def read_json_file(path: Path, shown: str) -> Any:
    """JSON of at most 64 MiB without a key given twice."""
    return _parsed(_text_of(path, shown), shown)


def shortly(value: Any) -> str:
    """A value as one short piece of a message."""
    text = repr(value)
    return text if len(text) <= _QUOTED else f"{text[: _QUOTED - 3]}..."


def _check_token(token: str, shown: str) -> None:
    if not token:
        raise UserError("an empty string cannot be a token", file=shown, key='""')
    if len(token) > _LONGEST_TOKEN:
        raise UserError(f"is longer than {_LONGEST_TOKEN:,} characters", file=shown, key=shortly(token))
    if any("\ud800" <= character <= "\udfff" for character in token):
        raise UserError("holds half a surrogate pair, which no text does", file=shown, key=shortly(token))


def _merges_of_json(text: str, shown: str) -> list[tuple[str, list[str]]]:
    data = _parsed(text, shown)
    if not isinstance(data, list):
        raise UserError("must hold a list of merges", file=shown)
    numbered = []
    for number, merge in enumerate(data, 1):
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
            raise UserError(f'merge {number}: must be "left right" or ["left", "right"]', file=shown)
        numbered.append((f"merge {number}", parts))
    return numbered


def _parsed(text: str, shown: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=each_key_once)
    except GivenTwice as error:
        raise UserError("is given twice", file=shown, key=shortly(error.key)) from None
    except json.JSONDecodeError as error:
        raise UserError(f"line {error.lineno}, column {error.colno}: {error.msg}", file=shown) from None
    except RecursionError:
        raise UserError("is nested too deeply", file=shown) from None
    except ValueError:  # what is left: a number of more than 4,300 digits
        raise UserError("holds a number that is far too long", file=shown) from None


def _text_of(path: Path, shown: str) -> str:
    """The text of a file that a person gave; a byte-order mark is no part of it."""
    if not path.is_file():
        raise UserError("is not a file that exists; give the path from the project root", file=shown)
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise UserError(f"is larger than {_LARGEST_FILE >> 20} MiB: not a vocabulary", file=shown)
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"is not UTF-8 (byte {error.start}); convert it first", file=shown) from None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=shown) from None
