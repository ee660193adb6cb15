"""Rows of a hub data set as the bytes of the files that our readers take."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nnn_bench.config.errors import UserError


class Rows(Protocol):
    """Turns rows into the bytes of one file. `owed` is all that it remembers between two rows, for a fetch that is resumed."""

    file: str
    owed: bool

    def written(self, row: dict[str, Any], *, first: bool) -> bytes: ...


@dataclass
class TextRows:
    """Rows of text as one text, which always ends with a line end.

    - A row that is one line with its line end is a line of a running text: the next row goes on below it.
    - Any other row is a document: an empty line stands before and behind it, whatever line ends it has itself.
    - A row that is empty, or null, is an empty line. Two empty lines never follow one another between rows.
    """

    owed: bool = False  # an empty line, before whatever comes next
    file: str = "content.txt"

    def written(self, row: dict[str, Any], *, first: bool) -> bytes:
        text = row["text"] or ""
        if not isinstance(text, str):
            raise UserError(f"column 'text' holds {type(text).__name__}, not text")
        if not text.strip():
            self.owed = not first
            return b""
        line = text.endswith("\n") and "\n" not in text[:-1]
        above = "\n" if self.owed or not (line or first) else ""
        self.owed = not line
        return (above + (text if line else text.strip("\n") + "\n")).encode()


@dataclass
class ConversationRows:
    """Rows as lines of JSON: `{"messages": [{"role", "content"}, ...]}`, or `{"query", "target"}`.

    What a message holds besides is left out; what is wrong with one is the reader's to say.
    """

    owed: bool = False
    file: str = "content.jsonl"

    def written(self, row: dict[str, Any], *, first: bool) -> bytes:
        if "messages" in row:
            messages = row["messages"]
            if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
                raise UserError("column 'messages' holds no list of messages with role and content")
            row = {"messages": [{key: one[key] for key in ("role", "content") if key in one} for one in messages]}
        try:
            return (json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
        except (TypeError, UnicodeEncodeError) as error:
            raise UserError(f"columns {', '.join(row)} hold more than text: {error}") from None


#: how an image is stored -> as what it is read
_MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB"}


def labelled_arrays(rows: Iterator[dict[str, Any]]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """All images of one split `(N, H, W)`, or `(N, H, W, 3)` in colour, and their labels `(N,)`.

    Raises `UserError`, naming the row, for images of different sizes or of more than 8 bits a colour, and for labels that are no
    class from 0 to 255.
    """
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for number, row in enumerate(rows):
        image, label = row["image"], row["label"]
        mode = _MODES.get(getattr(image, "mode", ""))
        if mode is None:
            raise UserError(
                f"row {number}: the image is of mode {getattr(image, 'mode', None)}; convert it to L or RGB"
            )
        pixels = np.asarray(image.convert(mode), dtype=np.uint8)
        if images and pixels.shape != images[0].shape:
            raise UserError(
                f"row {number}: the image is {_sizes(pixels)}, the first is {_sizes(images[0])}; all must be of one size and kind"
            )
        if type(label) is not int or not 0 <= label <= 255:
            raise UserError(f"row {number}: label {label!r} is no class from 0 to 255")
        images.append(pixels)
        labels.append(label)
    if not images:
        raise UserError("holds no rows")
    return np.stack(images), np.array(labels, dtype=np.uint8)


def _sizes(pixels: NDArray[np.uint8]) -> str:
    return " x ".join(str(size) for size in pixels.shape)
