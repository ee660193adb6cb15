"""The verbs of the MLflow mirror."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nnn_bench.commands.shared import StudyName, SuiteName, open_project


def track_init() -> None:
    """Create or upgrade the tracking database and its experiments."""
    from nnn_bench.tracking.store import initialise

    initialise(*open_project())


def track_publish(
    suite: SuiteName,
    study: StudyName,
    output: Annotated[Path | None, typer.Option(help="write to this file whether and where it was published")] = None,
) -> None:
    """Mirror the runs of a study to MLflow. Doing it twice changes nothing; a dead tracker is a warning."""
    from nnn_bench.config.files import write_json
    from nnn_bench.tracking.mirror import publish
    from nnn_bench.tracking.store import tracking_uri, without_passwords

    project, _ = open_project()
    published = publish(project, suite, study)
    if output:
        write_json(output, {"published": published, "uri": without_passwords(tracking_uri(project))})


def track_rebuild() -> None:
    """Make the MLflow database anew from the records."""
    from nnn_bench.tracking.mirror import rebuild

    project, catalog = open_project()
    if not rebuild(project, catalog):
        raise typer.Exit(1)


def ui(port: Annotated[int, typer.Option(min=1, max=65535, help="on 127.0.0.1")] = 5000) -> None:
    """Browse the runs in the MLflow UI (this machine only)."""
    import os

    from nnn_bench.tracking.server import ui_address, ui_command

    project, _ = open_project()
    command = ui_command(project, port)
    print(f"{ui_address(port)}  (stop with Ctrl-C)", flush=True)
    os.execv(command[0], command)
