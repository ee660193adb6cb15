"""Rows of a hub data set as the bytes of the files that our readers take."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

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
_FORMATS = ("PNG", "JPEG", "BMP", "GIF")  # some others start programs, or make room before their size can be looked at
_MOST_PIXELS = 1 << 22  # of one image
_MOST_FILE = 1 << 25  # bytes of one image as it is stored
_MOST_BYTES = 1 << 31  # of all images of a split as they are read


def labelled_arrays(rows: Iterator[dict[str, Any]], folder: Path | None) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """All images of one split `(N, H, W)`, or `(N, H, W, 3)` in colour, and their labels `(N,)`.

    An image is the bytes of its file, or the path of a file below `folder`, the repository where that is a local one.
    Raises `UserError`, naming the row, for images of different sizes or of more than 8 bits a colour, for those that are too
    large or lie elsewhere, and for labels that are no class from 0 to 255.
    """
    values = bytearray()
    shape: tuple[int, ...] | None = None
    labels: list[int] = []
    for number, row in enumerate(rows):
        try:
            pixels = _pixels(_file_of(row["image"], folder))
        except UserError as error:
            raise UserError(f"row {number}: {error.message}") from None
        shape = shape or pixels.shape
        if pixels.shape != shape:
            raise UserError(
                f"row {number}: the image is {_sizes(pixels.shape)}, the first is {_sizes(shape)}; all must be of one kind"
            )
        if len(values) + pixels.nbytes > _MOST_BYTES:
            raise UserError(
                f"row {number}: the images so far take more than {_MOST_BYTES:,} bytes; take fewer, or make them smaller"
            )
        label = row["label"]
        if type(label) is not int or not 0 <= label <= 255:
            raise UserError(f"row {number}: label {label!r} is no class from 0 to 255")
        values += pixels.tobytes()
        labels.append(label)
    if shape is None:
        raise UserError("holds no rows")
    return np.frombuffer(values, dtype=np.uint8).reshape(len(labels), *shape), np.array(labels, dtype=np.uint8)


def _file_of(image: Any, folder: Path | None) -> bytes:
    """The bytes of an image's file, from the row or from below `folder`."""
    stored, path = (image.get("bytes"), image.get("path")) if isinstance(image, dict) else (image, None)
    if isinstance(stored, str):
        stored, path = None, stored
    if isinstance(stored, bytes):
        return _bounded(stored)
    if stored is not None or not isinstance(path, str):
        raise UserError("holds no image; give the bytes of an image file")
    file = None if folder is None else _below(folder, path)
    if file is None:
        raise UserError(
            f"the image is {path[:200]!r}, which is no file of a local folder; put the images into the rows"
        )
    try:
        with file.open("rb") as opened:
            return _bounded(opened.read(_MOST_FILE + 1))
    except OSError as error:
        raise UserError(f"the image {path[:200]!r} cannot be read: {error.strerror}") from None


def _bounded(stored: bytes) -> bytes:
    if len(stored) > _MOST_FILE:
        raise UserError(f"the file of the image has more than {_MOST_FILE:,} bytes; make it smaller")
    return stored


def _below(folder: Path, path: str) -> Path | None:
    """The regular file that `path` names below `folder`, unless it is hidden or a link leads out; addresses name none."""
    try:
        parts = (folder / path).relative_to(folder).parts
        file = (folder / path).resolve()
        if not any(part.startswith(".") for part in parts) and file.is_relative_to(folder) and file.is_file():
            return file
    except (OSError, ValueError, RuntimeError):  # elsewhere, a zero byte, a circle of links
        pass
    return None


def _pixels(stored: bytes) -> NDArray[np.uint8]:
    """`(H, W)` or `(H, W, 3)`; nothing of the size of the image is made before its size is known to be small."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is too large is an error below, and other oddities change no pixel
            image = Image.open(BytesIO(stored), formats=_FORMATS)
            if image.width * image.height > _MOST_PIXELS:
                raise UserError(
                    f"the image is {image.height:,} x {image.width:,}, more than {_MOST_PIXELS:,} pixels; make it smaller"
                )
            mode = _MODES.get(image.mode)
            if mode is None:
                raise UserError(f"the image is of mode {image.mode}; convert it to L or RGB")
            return np.asarray(ImageOps.exif_transpose(image).convert(mode), dtype=np.uint8)
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise UserError(f"the image has more than {_MOST_PIXELS:,} pixels; make it smaller") from None
    except Exception:  # a damaged file can break its decoder in any way
        raise UserError(f"the image cannot be decoded; give whole files of {', '.join(_FORMATS)}") from None


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)
