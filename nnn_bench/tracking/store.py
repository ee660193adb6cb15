"""Where the MLflow store lies, and how it comes to be.

By default it is one SQLite file at an absolute path below `results/`, because MLflow's own default depends on the
current folder. Two processes that meet an empty database both try to migrate it and leave it broken for good, so a
fresh one is made aside and moved in whole, and whoever opens the store holds a file lock. MLflow is imported only here
and only when called.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nnn_bench.config.catalog import Catalog
from nnn_bench.config.errors import UserError
from nnn_bench.config.paths import Project
from nnn_bench.config.terminal import WARNING_PREFIX

if TYPE_CHECKING:
    from mlflow.tracking.client import MlflowClient

EXPERIMENT_PREFIX = "nnn_bench"
LOCK_SECONDS = 600.0
LOCKED_SECONDS = 20.0  # how long a database locked by another program is waited for

#: Read by MLflow when it is imported; what the user has set stands. A dead server is given up after seconds instead of
#: minutes, and a connection is opened for each use, so that a database deleted meanwhile is not written to unseen.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",
}

#: Opens the experiment in the UI as training runs, with parameters and curves.
_TRAINING_EXPERIMENT = {"mlflow.experimentKind": "custom_model_development"}


def tracking_uri(project: Project) -> str:
    """`MLFLOW_TRACKING_URI`, else the project's own SQLite file."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{database_file(project)}"


def database_file(project: Project) -> Path:
    return project.results.absolute() / "mlflow.db"


def artifact_folder(project: Project) -> Path:
    """Small copies for the UI; MLflow stores this path as an absolute one."""
    return project.results.absolute() / "mlartifacts"


def owns_store(project: Project) -> bool:
    """Whether the store is the project's own file, which may be made anew, and not a server or file of the user's."""
    return tracking_uri(project) == f"sqlite:///{database_file(project)}"


def marker_is_current(project: Project, marker: dict[str, Any]) -> bool:
    """Whether what `marker` (`published`, `uri`) says was shown can still be seen: today's store is the same, and there.

    Loads no MLflow and asks no server. Passwords do not count, so a marker may be written without them.
    """
    here = without_passwords(tracking_uri(project))
    if marker.get("published") is not True or without_passwords(str(marker.get("uri"))) != here:
        return False
    return not owns_store(project) or database_file(project).is_file()


def experiment_name(study: str) -> str:
    return f"{EXPERIMENT_PREFIX}/{study}"


@contextmanager
def exclusive(project: Project, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the project's tracking lock; `TimeoutError` when another process keeps it longer than `seconds`."""
    project.results.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + seconds
    with (project.results / ".mlflow.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"another process has held the tracking lock for {seconds:.0f} s") from None
                time.sleep(0.05)
        yield


def initialise(project: Project, catalog: Catalog) -> bool:
    """Migrate the store and create one experiment per study; False, after one warning, if it cannot be reached."""

    def prepare() -> None:
        with exclusive(project):
            client, experiments = open_store(project, catalog.names("studies"))
            for study, experiment in experiments.items():
                client.set_experiment_tag(experiment, "mlflow.note.content", catalog.study(study).question)

    return attempt(project, prepare)


def open_store(project: Project, studies: Iterable[str]) -> tuple[MlflowClient, dict[str, str]]:
    """A client on a migrated store, and the experiment id of each study. Hold `exclusive` while calling.

    Raises whatever MLflow or the database raises when the store cannot be reached.
    """
    quiet()
    uri = tracking_uri(project)
    if re.match(r"(sqlite|postgresql|mysql|mssql)(\+\w+)?:", uri):
        migrate(uri, database_file(project) if owns_store(project) else None)
    from mlflow.tracking.client import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    return client, {study: _experiment(client, project, study) for study in studies}


def attempt(project: Project, action: Callable[[], None]) -> bool:
    """Run `action`; whatever goes wrong with the tracker becomes one line, for results do not depend on it."""
    try:
        action()
    except UserError:
        raise
    except Exception as error:
        warn(
            f"MLflow shows nothing new, {tracking_uri(project)} cannot be used ({first_line(error)}); "
            "results are safe, `nnn-bench track rebuild` shows them later"
        )
        return False
    return True


def unusable(project: Project, error: Exception, mend: str = "") -> UserError:
    """One line that says why the store cannot be used, and how to mend it."""
    told = f"the tracking store {tracking_uri(project)} cannot be used: {first_line(error)}"
    return UserError(without_passwords(f"{told}; {mend}" if mend else told))


def first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}"[:160] if lines else type(error).__name__


def quiet() -> None:
    """Keep MLflow and its migrations silent; call before importing it."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)


def warn(message: str) -> None:
    """One line on stderr, without the passwords that addresses may hold."""
    print(f"{WARNING_PREFIX}{without_passwords(' '.join(message.split()))}", file=sys.stderr)


def without_passwords(text: str) -> str:
    """`text` with the `user:password@` of every address in it left out."""
    return re.sub(r"//[^/@\s]*@", "//", text)


def migrate(uri: str, own: Path | None) -> None:
    """Bring the schema to the newest revision; `own` is the file of a store that may be created."""
    import sqlalchemy
    from mlflow.db import upgrade as upgrade_command

    upgrade = cast(Callable[[str], None], upgrade_command.callback)
    if own is not None and not own.exists():
        fresh = own.with_name(f"{own.name}.new")
        for leftover in own.parent.glob(f"{fresh.name}*"):  # of a process killed while it migrated
            leftover.unlink()
        upgrade(f"sqlite:///{fresh}")
        fresh.replace(own)
        return
    # MLflow retries a store it cannot reach for close to an hour; one plain connection says so at once.
    patience = {"timeout": LOCKED_SECONDS} if uri.startswith("sqlite") else {}
    engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.pool.NullPool, connect_args=patience)
    with engine.connect() as connection:
        sqlalchemy.inspect(connection).get_table_names()
    upgrade(uri)


def _experiment(client: MlflowClient, project: Project, study: str) -> str:
    """Id of the study's experiment, created or brought back as needed."""
    name = experiment_name(study)
    found = client.get_experiment_by_name(name)
    if found is None:
        # A server knows best where its artifacts go; a database has to be told, or they land in the current folder.
        local = not tracking_uri(project).startswith(("http:", "https:"))
        location = (artifact_folder(project) / study).as_uri() if local else None
        return str(client.create_experiment(name, artifact_location=location, tags=_TRAINING_EXPERIMENT))
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)
