"""Labelled arrays: images or sounds with a class each, as they were published, and how they are cut into three parts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nnn_bench.config.errors import UserError


@dataclass(frozen=True)
class LabelledPart:
    """`values` `(N, ...)` uint8 or uint16, `labels` `(N,)` uint8."""

    values: NDArray[np.unsignedinteger]
    labels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.labels)

    def slice(self, first: int, behind: int) -> LabelledPart:
        """Examples `first` to `behind - 1`, not copied."""
        return LabelledPart(self.values[first:behind], self.labels[first:behind])


@dataclass(frozen=True)
class Labelled:
    """The parts a data set was published in: `train`, and `test` where there is one."""

    train: LabelledPart
    test: LabelledPart | None

    @property
    def sha256(self) -> str:
        """Hash of values and labels, train before test, row-major and little-endian, each behind its part, type and sizes."""
        state = hashlib.sha256()
        for name, part in (("train", self.train), ("test", self.test)):
            for array in (part.values, part.labels) if part is not None else ():
                state.update(f"{name} {array.dtype.name} {'x'.join(map(str, array.shape))}\n".encode())
                state.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).data)
        return state.hexdigest()


@dataclass(frozen=True)
class LabelledCut:
    """Labelled arrays for training, choosing and judging."""

    train: LabelledPart
    validation: LabelledPart
    test: LabelledPart
    classes: int


def load_labelled(folder: Path, counts: Mapping[str, int]) -> Labelled:
    """The arrays of a content folder, memory-mapped; `counts` says how many examples each part has.

    Raises `UserError` for a damaged one.
    """
    test = _load_part(folder, "test", counts["test"]) if "test" in counts else None
    return Labelled(_load_part(folder, "train", counts["train"]), test)


def cut_labelled(labelled: Labelled, validation_share: float, test_share: float, *, file: str) -> LabelledCut:
    """Contiguous parts, in the order of publication: the published test part stays as it is.

    Where none was published, the last `test_share` of the examples is the test part; the last `validation_share` of the training
    examples goes to validation. Never drawn at random: scikit-learn's digits lie writer after writer, so a contiguous cut has at
    most one writer on both sides of it, a random one all of them.
    Raises `UserError`, naming `file`, unless each class, 0 to the highest, is in every part.
    """
    train, test = labelled.train, labelled.test
    count = len(train)
    if test is None:
        behind = count - int(count * test_share)
        train, test = train.slice(0, behind), train.slice(behind, count)
    behind = len(train) - int(len(train) * validation_share)
    train, validation = train.slice(0, behind), train.slice(behind, len(train))
    classes = 1 + max(int(part.labels.max(initial=0)) for part in (train, validation, test))
    for name, part in (("training", train), ("validation", validation), ("test", test)):
        absent = np.flatnonzero(np.bincount(part.labels, minlength=classes) == 0)
        if len(absent):
            raise UserError(
                f"the {name} part ({len(part):,} of {count + len(labelled.test or ()):,} examples, taken in their order) has "
                f"none of class {absent[0]}; number classes from 0 without gaps, do not sort by class, or give more examples",
                file=file,
            )
    return LabelledCut(train, validation, test, classes)


def _load_part(folder: Path, name: str, count: int) -> LabelledPart:
    arrays = []
    for kind in ("values", "labels"):
        path = folder / f"{name}.{kind}.npy"
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            array = None
        if array is None or array.shape[:1] != (count,):
            raise UserError("is damaged; delete its folder and start again", file=path)
        arrays.append(array)
    return LabelledPart(*arrays)
