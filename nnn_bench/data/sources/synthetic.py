"""Content made from a seed: nothing is fetched, and it is the same on every machine.

What is drawn comes from the bits of PCG64 (O'Neill, 2014), whose stream numpy keeps from version to version, and from whole
numbers alone; no other draw of numpy's and no floating-point function decides a bit of it. The tasks, with what one gets right by
guessing, are in `nnn_bench/data/tasks/`.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from nnn_bench.config.closure import closure_hash
from nnn_bench.config.datasets import SyntheticSource
from nnn_bench.config.errors import UserError
from nnn_bench.config.files import digest
from nnn_bench.config.paths import Project
from nnn_bench.data.delivery.shelf import Delivery, Shelf


def deliver(source: SyntheticSource, name: str, project: Project) -> Delivery:
    """A text, questions and answers, or sounds. Raises `UserError` for settings that describe no such task."""
    module = f"nnn_bench.data.tasks.{source.task}"
    task = importlib.import_module(module)
    try:
        task.check(source)
    except UserError as error:
        raise error.located(f"config/datasets/{name}.yaml") from None

    def fill(folder: Path) -> tuple[list[str], dict[str, Any]]:
        for left in folder.iterdir():
            left.unlink()  # by a process that was killed; making it again costs little
        try:
            names = task.make(source, folder)
        except BaseException:
            for half in folder.iterdir():
                half.unlink()
            raise
        return names, source.model_dump(mode="json")

    # the code takes the place of a version: what another code made is not what these settings stand for
    key = digest([source.model_dump(mode="json"), closure_hash(module)])[:16]
    return Shelf(project.delivered(source.kind, key), name).filled(fill, fetches=False)
