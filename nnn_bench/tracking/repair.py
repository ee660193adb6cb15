"""Make the project's own tracking database usable again, whatever became of it.

It holds nothing that the results do not hold, so a damaged one is kept aside and a fresh one takes its place. A store
of the user's, at `MLFLOW_TRACKING_URI`, is never touched.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

from nnn_bench.config.paths import Project
from nnn_bench.tracking.store import LOCKED_SECONDS, artifact_folder, database_file, open_store, owns_store, warn

#: SQLite's words for a database that is whole but cannot be used now.
_NOT_DAMAGE = ("locked", "readonly", "disk is full", "disk I/O error", "unable to open")


def open_repaired(project: Project, studies: list[str]) -> None:
    """Open the store; the project's own database is replaced by a fresh one when its content stands in the way."""
    if owns_store(project):
        _set_aside_if_damaged(project)
    try:
        open_store(project, studies)
    except Exception as error:
        if not owns_store(project) or isinstance(error, OSError) or any(word in str(error) for word in _NOT_DAMAGE):
            raise
        _set_aside(project)
        open_store(project, studies)


def _set_aside_if_damaged(project: Project) -> None:
    """Move the project's own database away when SQLite finds it broken, and clear copies nothing refers to any more."""
    database = database_file(project)
    if not database.exists():
        shutil.rmtree(artifact_folder(project), ignore_errors=True)
        return
    try:
        with closing(sqlite3.connect(database, timeout=LOCKED_SECONDS)) as connection:
            damaged = connection.execute("PRAGMA integrity_check").fetchone() != ("ok",)
    except sqlite3.OperationalError:  # locked or unreadable: not ours to judge, the next step tells
        return
    except sqlite3.DatabaseError:
        damaged = True
    if damaged:
        _set_aside(project)


def _set_aside(project: Project) -> None:
    """Rename the project's own database, journal included, so that a fresh one can take its place."""
    database = database_file(project)
    for suffix in ("", "-journal", "-wal", "-shm"):
        part = database.with_name(database.name + suffix)
        if part.exists():
            part.replace(part.with_name(f"{part.name}.damaged"))
    shutil.rmtree(artifact_folder(project), ignore_errors=True)
    warn(f"{project.relative(database)} was damaged; it is kept as {database.name}.damaged and made anew")
