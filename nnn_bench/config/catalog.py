"""Look up what `config/` holds, by name, with the nearest known name when it is not there."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from nnn_bench.config.errors import UserError, checked_name, nearest
from nnn_bench.config.paths import Project
from nnn_bench.config.schema import Dataset, Study, Suite, Variant
from nnn_bench.config.validation import read_yaml, validate

Entry = TypeVar("Entry", bound=BaseModel)


class Catalog:
    """The variants, datasets, studies and suites of a project. Files are read once."""

    def __init__(self, project: Project):
        self.project = project
        self._read = cache(self._read_uncached)

    def variant(self, name: str) -> Variant:
        return self._read("variants", name, Variant)

    def dataset(self, name: str) -> Dataset:
        return self._read("datasets", name, Dataset)

    def study(self, name: str) -> Study:
        return self._read("studies", name, Study)

    def suite(self, name: str) -> Suite:
        return self._read("suites", name, Suite)

    def names(self, folder: str) -> list[str]:
        """Names of the entries of `variants`, `datasets`, `studies` or `suites`, sorted."""
        return sorted(path.stem for path in (self.project.config / folder).glob("*.yaml"))

    def file(self, folder: str, name: str) -> Path:
        """Path of an entry as it reads from the project root, for messages."""
        return self.project.relative(self.project.config / folder / f"{name}.yaml")

    def _read_uncached(self, folder: str, name: str, schema: type[Entry]) -> Entry:
        what = {"studies": "study"}.get(folder, folder.removesuffix("s"))
        known = self.names(folder)
        if name not in known:
            raise UserError(f"there is no {what} {name!r}; {nearest(name, known)}")
        checked_name(name, what=what)
        shown = self.file(folder, name)
        return validate(schema, read_yaml(self.project.config / folder / f"{name}.yaml", shown), file=shown)
