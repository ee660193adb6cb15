"""Write the report of a suite: all of it, or none of it.

Everything is built in a folder beside the old report, which is then swapped in.
"""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

from nnn_bench.config.catalog import Catalog
from nnn_bench.config.paths import Project
from nnn_bench.report.collect import collect


def write_report(project: Project, catalog: Catalog, suite: str) -> Path:
    """Write `reports/<suite>` from the comparisons of the suite; returns its `index.html`.

    Raises `UserError` when a comparison or a run is missing; the report that was there then stays.
    """
    view = collect(project, catalog, suite)
    # Imported after the inputs are known to be there: drawing libraries take seconds to load.
    from nnn_bench.report.csv_tables import csv_tables
    from nnn_bench.report.figures import draw_all
    from nnn_bench.report.page import html_page, markdown_page

    tables = csv_tables(view)
    drawings = {study.name: draw_all(view, study) for study in view.studies}
    files = {f"tables/{name}": text for name, text in tables.items()}
    files |= {f"figures/{drawing.name}.svg": drawing.svg for drawn in drawings.values() for drawing in drawn}
    files["index.html"] = html_page(view, drawings, sorted(tables))
    files["report.md"] = markdown_page(view, drawings)
    _swap_in(project.reports / suite, files)
    return project.reports / suite / "index.html"


def _swap_in(folder: Path, files: dict[str, str]) -> None:
    """Make `folder` hold exactly `files` (path inside it -> text). Two writers wait for each other."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh, old = (folder.with_name(f".{folder.name}.{word}") for word in ("new", "old"))
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in (fresh, old):  # of a process that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        for name, text in files.items():
            path = fresh / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
        if folder.exists():
            folder.rename(old)
        try:
            fresh.rename(folder)
        except OSError:
            old.rename(folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
