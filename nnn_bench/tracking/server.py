"""The MLflow UI on the project's own store, for this machine only."""

from __future__ import annotations

import sys

from nnn_bench.config.errors import UserError
from nnn_bench.config.paths import Project
from nnn_bench.tracking.store import exclusive, open_store, owns_store, tracking_uri, unusable, without_passwords


def ui_command(project: Project, port: int) -> list[str]:
    """The command that serves the UI on loopback.

    Opens the store first, since MLflow tells of one it cannot use with a traceback. Raises `UserError` then, and when
    the store is a server, which has its own UI.
    """
    uri = tracking_uri(project)
    if uri.startswith(("http:", "https:")):
        raise UserError(f"MLFLOW_TRACKING_URI is a server; open {without_passwords(uri)} in a browser")
    if not 1 <= port <= 65535:
        raise UserError(f"port {port} is not a port; use 1 to 65535")
    try:
        with exclusive(project):
            open_store(project, [])
    except Exception as error:
        mend = "`nnn-bench track rebuild` makes it anew" if owns_store(project) else "mend MLFLOW_TRACKING_URI"
        raise unusable(project, error, mend) from None
    store = ["--backend-store-uri", uri]
    return [sys.executable, "-m", "mlflow", "server", *store, "--host", "127.0.0.1", "--port", str(port)]


def ui_address(port: int) -> str:
    """Where to open that UI: at the list of studies, in its view of training runs."""
    return f"http://127.0.0.1:{port}/#/experiments?workflowType=machine_learning"
