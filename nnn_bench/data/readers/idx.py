"""Images or sounds with their classes in IDX files: values, labels; or those of the training part, then of the test part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnn_bench.config.errors import UserError
from nnn_bench.data.delivery.shelf import RawFile
from nnn_bench.data.labelled.arrays import Labelled, LabelledPart
from nnn_bench.data.labelled.idx import read_idx

FORM = "labelled"


def read(files: Sequence[RawFile]) -> Labelled:
    """The arrays of two files, or of four with a test part, in the order in which they were delivered.

    Values are `(N, ...)` `uint8` or `uint16`, labels `(N,)` `uint8`. Raises `UserError` where they do not fit together.
    """
    if len(files) not in (2, 4):
        raise UserError(
            f"is one of {len(files)} IDX files; give two, values and labels, or four, with those of the test part behind",
            file=files[0].shown,
        )
    train = _part(files[0], files[1])
    test = _part(files[2], files[3]) if len(files) == 4 else None
    if test is not None and (test.values.shape[1:], test.values.dtype) != (train.values.shape[1:], train.values.dtype):
        raise UserError(
            f"has examples of {_described(test)}, but {files[0].shown} has examples of {_described(train)}",
            file=files[2].shown,
        )
    if test is not None and len(test) > len(train):
        raise UserError(
            f"has {len(test):,} examples of the test part, but there are {len(train):,} to train on; files go in the order of "
            "their names: training values, training labels, test values, test labels",
            file=files[2].shown,
        )
    return Labelled(train, test)


def _part(values_file: RawFile, labels_file: RawFile) -> LabelledPart:
    labels = read_idx(labels_file.path, labels_file.shown)
    if labels.ndim != 1 or labels.dtype != np.uint8:
        raise UserError(
            "is not a list of labels, one unsigned byte each; the order is values, then labels", file=labels_file.shown
        )
    values = read_idx(values_file.path, values_file.shown)
    if values.ndim < 2:
        raise UserError(
            "is a plain list, not examples of several values; the order is values, then labels", file=values_file.shown
        )
    if len(values) != len(labels):
        raise UserError(
            f"has {len(labels):,} labels, but {values_file.shown} has {len(values):,} examples", file=labels_file.shown
        )
    return LabelledPart(values, labels.astype(np.uint8, copy=False))


def _described(part: LabelledPart) -> str:
    return f"{' x '.join(str(size) for size in part.values.shape[1:])} {part.values.dtype.name}"
