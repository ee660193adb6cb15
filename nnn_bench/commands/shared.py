"""What the verbs have in common: their arguments, the project they work in, and how a table is printed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnn_bench.config.catalog import Catalog
from nnn_bench.config.errors import UserError, nearest
from nnn_bench.config.paths import Project

if TYPE_CHECKING:
    from nnn_bench.config.expansion import RunSpec

SuiteName = Annotated[
    str, typer.Argument(metavar="SUITE", help="how big: a file of config/suites (smoke, laptop, ...)")
]
StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="which question: a file of config/studies")]
VariantName = Annotated[str, typer.Argument(metavar="VARIANT", help="which network: a file of config/variants")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON for programs")]


def open_project() -> tuple[Project, Catalog]:
    project = Project.find()
    return project, Catalog(project)


@contextmanager
def settings_of(catalog: Catalog, suite: str) -> Iterator[None]:
    """Let errors about the scale of a run name the file of the suite that set it."""
    try:
        yield
    except UserError as error:
        if error.key and (error.key == "device" or error.key.startswith("language.")):
            raise error.located(catalog.file("suites", suite)) from None
        raise


def spec_of(catalog: Catalog, suite: str, study: str, variant: str) -> RunSpec:
    from nnn_bench.config.expansion import study_specs

    specs = study_specs(catalog, suite, study)
    if variant not in specs:
        raise UserError(f"study {study!r} has no variant {variant!r}; {nearest(variant, specs)}")
    return specs[variant]


def run_folder(project: Project, run: str) -> Path:
    """The folder of a run that was given by its key or by its folder; `UserError` with the nearest key where there is none."""
    for folder in (Path(run).resolve(), project.run(run)):
        if os.path.isfile(folder / "config.json"):  # noqa: PTH113  the method of Path fails on a name that is too long to be one
            return folder
    runs = project.results / "runs"
    known = [str(path.parent.relative_to(runs)) for path in runs.glob("*/*/s*/config.json")]
    raise UserError(f"there is no run {run!r}; {nearest(run, known)}")


def print_table(rows: list[list[str]]) -> None:
    """Columns aligned by spaces: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  " + "  ".join(cells).rstrip())
