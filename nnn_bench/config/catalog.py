"""Look up what `config/` holds, by name, with the nearest known name when it is not there."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from nnn_bench.config.closure import ROOMS
from nnn_bench.config.component import Component
from nnn_bench.config.datasets import Dataset, Tokenization
from nnn_bench.config.errors import UserError, checked_name, nearest
from nnn_bench.config.paths import Project
from nnn_bench.config.schema import Study, Suite, Variant
from nnn_bench.config.validation import read_yaml, validate

Entry = TypeVar("Entry", bound=BaseModel)

#: Targets and rules of the Snakefile; a suite is a target by its own name.
_STAGES = frozenset(("all", "data", "rates", "speed", "training", "audits", "comparisons", "tracking", "report"))
_RULES = frozenset(
    (
        *("data_set", "ladder", "audit_untrained", "trials", "rate", "measure", "train", "audit_trained"),
        *("compare", "track", "track_init", "report_pages"),
    )
)
TARGETS = _STAGES | _RULES


class Catalog:
    """The variants, datasets, tokenizers, studies and suites of a project. Files are read once."""

    def __init__(self, project: Project):
        self.project = project
        self._read = cache(self._read_uncached)

    def variant(self, name: str) -> Variant:
        variant = self._read("variants", name, Variant)
        for key, part in _components(variant.model_tree, "model"):
            validate(Component, part, file=self.file("variants", name), key=key)
        return variant

    def dataset(self, name: str) -> Dataset:
        return self._read("datasets", name, Dataset)

    def tokenization(self, name: str) -> Tokenization:
        return self._read("tokenizers", name, Tokenization)

    def study(self, name: str) -> Study:
        return self._read("studies", name, Study)

    def suite(self, name: str) -> Suite:
        return self._read("suites", name, Suite)

    def names(self, folder: str) -> list[str]:
        """Names of the entries of `variants`, `datasets`, `tokenizers`, `studies` or `suites`, sorted.

        Raises `UserError` for a file whose name cannot be one. Hidden files (of editors, of macOS) are passed over.
        """
        return [
            self._entry_name(folder, path.stem) for path in sorted((self.project.config / folder).glob("[!.]*.yaml"))
        ]

    def file(self, folder: str, name: str) -> Path:
        """Path of an entry as it reads from the project root, for messages."""
        return self.project.relative(self.project.config / folder / f"{name}.yaml")

    def _entry_name(self, folder: str, name: str) -> str:
        shown = self.file(folder, name)
        if folder == "suites" and name in TARGETS:
            raise UserError(f"the pipeline has a target {name!r} of its own; rename the file", file=shown)
        return checked_name(name, what=_singular(folder), file=shown)

    def _read_uncached(self, folder: str, name: str, schema: type[Entry]) -> Entry:
        known = self.names(folder)
        if name not in known:
            raise UserError(f"there is no {_singular(folder)} {name!r}; {nearest(name, known)}")
        shown = self.file(folder, name)
        return validate(schema, read_yaml(self.project.config / folder / f"{name}.yaml", shown), file=shown)


def _singular(folder: str) -> str:
    return {"studies": "study"}.get(folder, folder.removesuffix("s"))


def _components(tree: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Dotted key and value of everything in a model tree that stands where a component must, outermost first."""
    members = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for name, value in members:
        place = f"{key}.{name}"
        if isinstance(name, str) and name.rsplit("_", 1)[-1] in ROOMS and value is not None:
            listed = isinstance(value, list)
            yield from [(f"{place}.{i}", part) for i, part in enumerate(value)] if listed else [(place, value)]
        yield from _components(value, place)
