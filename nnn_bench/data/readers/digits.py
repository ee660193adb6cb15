"""The digits that come with scikit-learn: a row of 64 values, 0 to 16, and a label, 0 to 9, for each image; compressed by gzip.

They are the test part of a larger collection, by 13 of its 43 writers, so no test part of their own was published. Forms of about
130 digits, each by one hand, lie one after another.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence

import numpy as np

from nnn_bench.config.errors import UserError
from nnn_bench.data.delivery.shelf import RawFile
from nnn_bench.data.labelled.arrays import Labelled, LabelledPart

FORM = "labelled"

_SIDE = 8
_HIGHEST_VALUE, _HIGHEST_LABEL = 16, 9
_MOST_BYTES = 1 << 24  # of text: sixty times what there is


def read(files: Sequence[RawFile]) -> Labelled:
    """Values `(N, 8, 8)` and labels `(N,)`, both `uint8`. Raises `UserError`, with the line, for anything else."""
    raw = files[0]
    if len(files) > 1:
        raise UserError(f"is one of {len(files)} files; digits are one file", file=raw.shown)
    lines = _text(raw).splitlines()
    if not lines:
        raise UserError("is empty", file=raw.shown)
    rows = np.array([_row(line, f"{raw.shown}: line {number}") for number, line in enumerate(lines, 1)], dtype=np.uint8)
    return Labelled(LabelledPart(rows[:, :-1].reshape(-1, _SIDE, _SIDE), rows[:, -1].copy()), None)


def _text(raw: RawFile) -> str:
    try:
        with gzip.open(raw.path, "rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except EOFError:
        raise UserError("ends before its gzip data does; fetch or copy it again", file=raw.shown) from None
    except (gzip.BadGzipFile, zlib.error):
        raise UserError("is not a gzip file, or a damaged one; fetch or copy it again", file=raw.shown) from None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=raw.shown) from None
    if len(content) > _MOST_BYTES:
        raise UserError(f"holds more than {_MOST_BYTES:,} bytes of text; it is not the file of digits", file=raw.shown)
    try:
        return content.decode("ascii")
    except UnicodeDecodeError as error:
        raise UserError(
            f"is not plain text (byte {error.start}); it is not the file of digits", file=raw.shown
        ) from None


def _row(line: str, shown: str) -> list[int]:
    fields = line.split(",")
    if len(fields) != _SIDE * _SIDE + 1 or not all(field.isdigit() and len(field) < 3 for field in fields):
        raise UserError(f"is not {_SIDE * _SIDE + 1} numbers with commas between", file=shown)
    numbers = [int(field) for field in fields]
    if max(numbers[:-1]) > _HIGHEST_VALUE or numbers[-1] > _HIGHEST_LABEL:
        raise UserError(
            f"has values to {max(numbers[:-1])} and label {numbers[-1]}; the highest are {_HIGHEST_VALUE} and {_HIGHEST_LABEL}",
            file=shown,
        )
    return numbers
