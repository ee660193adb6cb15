"""Labelled arrays as tensors a classifier learns from: normalised by what the training part alone shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from nnn_bench.config.datasets import Dataset
from nnn_bench.config.errors import UserError
from nnn_bench.config.paths import Project
from nnn_bench.data.content import make_content
from nnn_bench.data.labelled.arrays import LabelledCut, LabelledPart, cut_labelled, load_labelled
from nnn_bench.data.splits import SplitName

_AT_ONCE = 1 << 22  # values


@dataclass(frozen=True)
class Part:
    """`values` `(N, ...)` float32, `labels` `(N,)` int64."""

    values: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Examples:
    """The three parts of a data set and what they were normalised by, in units of the published values (0 to 255, say)."""

    train: Part
    validation: Part
    test: Part
    classes: int
    mean: float
    deviation: float

    def part(self, name: SplitName) -> Part:
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]


def load_cut(project: Project, name: str, dataset: Dataset) -> LabelledCut:
    """The three parts of the data set `name` as they were published, memory-mapped; fetched and read if they are not there yet.

    Raises `UserError` for a data set that cannot be had, is not labelled, or lacks a class in one of the parts.
    """
    file = f"config/datasets/{name}.yaml"
    content = make_content(name, dataset, project)
    if content.form != "labelled":
        raise UserError(f"is {content.form}, not images or sounds with labels; name another data set", file=file)
    labelled = load_labelled(project.content(name), content.counts)
    return cut_labelled(labelled, dataset.validation_share, dataset.test_share, file=file)


def load_examples(
    project: Project, name: str, dataset: Dataset, *, layout: Literal["flat", "published"] = "flat"
) -> Examples:
    """The data set `name`, each value less the mean of the training part and divided by its standard deviation.

    Both are over all values of all training examples together, the validation part not among them. `flat` gives `(N, values)`,
    `published` the sizes as they were, such as `(N, rows, columns)`. Raises `UserError` as `load_cut` does.
    """
    return normalised(load_cut(project, name, dataset), layout=layout, file=f"config/datasets/{name}.yaml")


def normalised(cut: LabelledCut, *, layout: Literal["flat", "published"], file: Path | str) -> Examples:
    """`cut` as tensors. Raises `UserError`, naming `file`, where all training values are the same."""
    mean, deviation = _moments(cut.train)
    if deviation == 0:
        raise UserError("all training values are the same: there is nothing to learn from", file=file)
    train, validation, test = (
        _tensors(part, mean, deviation, layout) for part in (cut.train, cut.validation, cut.test)
    )
    return Examples(train, validation, test, cut.classes, mean, deviation)


def _moments(part: LabelledPart) -> tuple[float, float]:
    """Mean and standard deviation of all values, from counts of whole numbers: the same on every machine."""
    values = part.values.reshape(-1)
    counts = np.zeros(np.iinfo(part.values.dtype).max + 1, dtype=np.int64)
    for first in range(0, len(values), _AT_ONCE):
        counts += np.bincount(values[first : first + _AT_ONCE], minlength=len(counts))
    level = np.arange(len(counts), dtype=np.float64)
    mean = float((counts * level).sum() / len(values))
    return mean, float(np.sqrt((counts * (level - mean) ** 2).sum() / len(values)))


def _tensors(part: LabelledPart, mean: float, deviation: float, layout: str) -> Part:
    values = torch.from_numpy(part.values.astype(np.float32)).sub_(mean).div_(deviation)
    return Part(values.flatten(1) if layout == "flat" else values, torch.from_numpy(part.labels.astype(np.int64)))
