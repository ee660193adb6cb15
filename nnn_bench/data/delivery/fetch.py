"""Get the files of a data set from the first of its sources that has them."""

from __future__ import annotations

import importlib
from typing import Any

from nnn_bench.config.datasets import Dataset, Source
from nnn_bench.config.errors import UserError
from nnn_bench.config.paths import Project
from nnn_bench.data.delivery.shelf import Delivery, Unavailable


def fetch(name: str, dataset: Dataset, project: Project) -> Delivery:
    """The files of `dataset`, each checked against its hash where one is pinned.

    Raises `UserError`; where no source is available (`Unavailable`), with the reason of each.
    """
    reasons: list[str] = []
    for number, source in enumerate(dataset.ways):
        try:
            return source_module(source).deliver(source, name, project)
        except UserError as error:
            # a source does not know where it stands
            place = "source" if dataset.source else f"sources.{number}"
            told = error.below(place, file=f"config/datasets/{name}.yaml")
            if len(dataset.ways) == 1 or not isinstance(told, Unavailable):
                raise told from None
            reasons.append(f"{source.kind}: {told}")
    raise Unavailable(f"{name} could be had from none of its sources: {'; '.join(reasons)}")


def source_module(source: Source) -> Any:
    """The file of `sources/` that serves `source`, imported when it is needed: some bring large libraries with them.

    What it delivers is hashed, so its code is no part of what a token store is made by.
    """
    return importlib.import_module(f"nnn_bench.data.sources.{source.kind}")
