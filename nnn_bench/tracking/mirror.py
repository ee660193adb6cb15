"""Show a study in MLflow: make the tracker say what the results say, and nothing else.

Each run is found again by the tag `nnn.run_key` within its suite and study. A run that already shows the same content
is left alone; one that was cut short is completed with the same timestamps, which MLflow takes as the same points; one
whose fingerprint or files changed is published anew before the old one is deleted. A tracker that cannot be reached
costs one line on stderr, never a result.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from nnn_bench.config.catalog import Catalog
from nnn_bench.config.errors import UserError
from nnn_bench.config.paths import Project
from nnn_bench.statistics.comparison import read_comparison
from nnn_bench.tracking.measurements import variant_measurements
from nnn_bench.tracking.publication import Publication, run_publication, variant_publication
from nnn_bench.tracking.repair import open_repaired
from nnn_bench.tracking.store import attempt, exclusive, first_line, open_store, unusable, warn

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking.client import MlflowClient

METRICS_PER_BATCH = 1000
PARAMETERS_PER_BATCH = 100
RUNS_PER_PAGE = 1000

_PARENT = "mlflow.parentRunId"
Item = TypeVar("Item")


def publish(project: Project, suite: str, study: str) -> bool:
    """`publish_study` of the comparison that was written for a study."""
    return publish_study(project, read_comparison(project, suite, study))


def publish_study(project: Project, comparison: dict[str, Any]) -> bool:
    """Mirror one comparison and its runs; False, after one warning line, when the tracker cannot be reached.

    Raises `UserError` when the files of a run are missing or damaged: that is not the tracker's fault.
    """
    publications = _publications(project, comparison)

    def publish() -> None:
        with exclusive(project):
            client, experiments = open_store(project, [comparison["study"]])
            _synchronise(client, experiments[comparison["study"]], comparison, publications)

    return attempt(project, publish)


def rebuild(project: Project, catalog: Catalog) -> bool:
    """Make the tracker show every comparison under `results/comparisons` again, computing nothing.

    The project's own database is made anew when it is deleted or damaged. A comparison whose runs are gone is skipped
    with a warning, and the answer is False. Raises `UserError` when the store cannot be reached.
    """
    try:
        with exclusive(project):
            open_repaired(project, catalog.names("studies"))
    except Exception as error:
        raise unusable(project, error) from None
    shown = []
    for path in sorted((project.results / "comparisons").glob("*/*.json")):
        try:
            shown.append(publish(project, path.parent.name, path.stem))
        except (UserError, KeyError) as error:
            warn(f"{project.relative(path)} is not shown: {first_line(error)}")
            shown.append(False)
    return all(shown)


def _publications(project: Project, comparison: dict[str, Any]) -> list[Publication]:
    """Each variant, then its runs."""
    suite, study = comparison["suite"], comparison["study"]
    baseline = next(row for row in comparison["variants"] if row["variant"] == comparison["baseline"])
    found = []
    for row in comparison["variants"]:
        parent = f"{suite}/{study}/{row['variant']}"
        children = [run_publication(project, suite, study, key, parent, row["audit"]) for key in row["runs"]]
        measurements = variant_measurements(project, suite, row["runs"][0], baseline["runs"][0])
        found += [variant_publication(comparison, row, children, measurements), *children]
    return found


def _synchronise(
    client: MlflowClient, experiment: str, comparison: dict[str, Any], publications: list[Publication]
) -> None:
    """Leave exactly one active run per publication in the tracker's part of this suite and study."""
    shown: dict[str, list[Run]] = {}
    for run in _active_runs(client, experiment, comparison):
        shown.setdefault(run.data.tags.get("nnn.run_key", ""), []).append(run)
    run_ids: dict[str, str] = {}
    for publication in publications:
        parent = run_ids[publication.parent] if publication.parent else None
        run_ids[publication.key] = _ensure(client, experiment, publication, parent, shown.get(publication.key, []))
    kept = set(run_ids.values())
    for runs in shown.values():
        for run in runs:
            if run.info.run_id not in kept:
                client.delete_run(run.info.run_id)


def _ensure(
    client: MlflowClient, experiment: str, publication: Publication, parent: str | None, shown: list[Run]
) -> str:
    """The id of the run that shows `publication`: one that is there already, completed if need be, or a new one."""
    same = [run for run in shown if run.data.tags.get("nnn.content") == publication.content]
    same.sort(key=lambda run: "nnn.published" not in run.data.tags)
    if same:
        run_id, tags = same[0].info.run_id, same[0].data.tags
        if parent and tags.get(_PARENT) != parent:
            client.set_tag(run_id, _PARENT, parent)
        if "nnn.published" in tags:
            return run_id
    else:
        tags = publication.tags | {"nnn.run_key": publication.key, "nnn.kind": publication.kind}
        tags |= {"nnn.content": publication.content} | ({_PARENT: parent} if parent else {})
        created = client.create_run(experiment, start_time=publication.started, tags=tags, run_name=publication.name)
        run_id = created.info.run_id
    _fill(client, run_id, publication)
    return run_id


def _fill(client: MlflowClient, run_id: str, publication: Publication) -> None:
    """Curves, parameters and texts; the mark that the run is complete comes last."""
    from mlflow.entities import Metric, Param

    for points in _batches(publication.points, METRICS_PER_BATCH):
        client.log_batch(run_id, metrics=[Metric(p.key, p.value, p.timestamp, p.step) for p in points])
    for parameters in _batches(list(publication.parameters.items()), PARAMETERS_PER_BATCH):
        client.log_batch(run_id, params=[Param(key, value) for key, value in parameters])
    for name, text in publication.texts.items():
        client.log_text(run_id, text, name)
    client.set_terminated(run_id, "FINISHED" if publication.finished else "FAILED", end_time=publication.ended)
    client.set_tag(run_id, "nnn.published", "yes")


def _active_runs(client: MlflowClient, experiment: str, comparison: dict[str, Any]) -> Iterator[Run]:
    place = f"tags.`nnn.suite` = '{comparison['suite']}' and tags.`nnn.study` = '{comparison['study']}'"
    page = None
    while True:
        runs = client.search_runs([experiment], place, max_results=RUNS_PER_PAGE, page_token=page)
        yield from runs
        page = runs.token
        if not page:
            return


def _batches(items: list[Item], size: int) -> Iterator[list[Item]]:
    waiting = iter(items)
    while batch := list(islice(waiting, size)):
        yield batch
