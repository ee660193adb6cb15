"""The MLflow mirror on a real SQLite store: nothing doubled, nothing lost, never in the way."""

import json
import math
import multiprocessing
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from nnn_bench.config.catalog import Catalog
from nnn_bench.config.errors import UserError
from nnn_bench.config.expansion import study_specs
from nnn_bench.config.files import write_json
from nnn_bench.config.paths import Project
from nnn_bench.statistics.comparison import read_comparison, write_comparison
from nnn_bench.statistics.records import comparison_file
from nnn_bench.tracking import repair, store
from nnn_bench.tracking.mirror import publish, publish_study, rebuild
from nnn_bench.tracking.server import ui_command
from nnn_bench.tracking.store import (
    artifact_folder,
    database_file,
    exclusive,
    experiment_name,
    initialise,
    marker_is_current,
    migrate,
    open_store,
    quiet,
    tracking_uri,
)
from tests.synthetic_runs import Synthetic, make_audits, make_project, make_run, plain


@pytest.fixture(autouse=True)
def _own_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def _shown(project: Project) -> list:
    """Every active run of the language study."""
    client, experiments = open_store(project, ["language"])
    return list(client.search_runs(list(experiments.values()), max_results=1000))


def _children(project: Project) -> dict:
    runs = [run for run in _shown(project) if run.data.tags["nnn.kind"] == "run"]
    keyed = {run.data.tags["nnn.run_key"]: run for run in runs}
    assert len(keyed) == len(runs), "a run is shown twice"
    return keyed


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database without experiments; migrating takes longer than all the rest of a test."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    quiet()
    migrate(f"sqlite:///{path}", path)
    return path


@pytest.fixture
def quick_migration(empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a database is made anew, take the migrated one: for tests of what happens around it."""
    real = store.migrate

    def copy_or_migrate(uri: str, own: Path | None) -> None:
        if own is not None and not own.exists():
            shutil.copy(empty_database, own)
        real(uri, own)

    monkeypatch.setattr(store, "migrate", copy_or_migrate)


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> tuple[Project, dict]:
    """A published study that no test changes."""
    project, _, comparison = _published(tmp_path_factory.mktemp("laptop"), empty_database, plain())
    return project, comparison


def _published(root: Path, database: Path, wanted: Synthetic | None = None) -> tuple[Project, Catalog, dict]:
    wanted = wanted or plain(suite="smoke")
    project, catalog = make_project(root, wanted)
    shutil.copy(database, database_file(project))
    comparison = read_comparison(project, wanted.suite, "language")
    assert publish_study(project, comparison)
    return project, catalog, comparison


def test_a_study_is_shown_as_it_was_recorded(laptop: tuple[Project, dict]) -> None:
    project, comparison = laptop
    children = _children(project)
    assert sorted(children) == sorted(key for row in comparison["variants"] for key in row["runs"])
    for row in comparison["variants"]:
        for key, value in zip(row["runs"], row["values"], strict=True):
            run = children[key]
            folder = project.results / "runs" / key
            result = json.loads((folder / "result.json").read_text())
            assert run.data.metrics["test/bits_per_byte"] == value
            assert run.data.metrics["time/seconds"] == pytest.approx(result["seconds"])
            assert run.data.params["scale.context"] == str(result["receipt"]["context"])
            assert run.data.params["knobs.topology.width"] == "64"
            assert run.data.tags["nnn.fingerprint"] == result["fingerprint"]
            assert run.data.tags["nnn.dataset"] == result["receipt"]["dataset"]["sha256"]
            assert (run.info.start_time, run.info.end_time) == (
                round(result["started"] * 1000),
                round(result["ended"] * 1000),
            )
            assert run.info.status == "FINISHED"


def test_a_parent_says_what_the_seeds_say_together(laptop: tuple[Project, dict]) -> None:
    project, comparison = laptop
    runs = _shown(project)
    parents = {run.data.tags["nnn.variant"]: run for run in runs if run.data.tags["nnn.kind"] == "variant"}
    for row in comparison["variants"]:
        parent = parents[row["variant"]]
        assert parent.data.metrics["test/bits_per_byte"] == row["mean"]
        assert parent.data.metrics["comparison/interval_low"] == row["interval"][0]
        children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
        assert sorted(run.data.tags["nnn.run_key"] for run in children) == sorted(row["runs"])
    matmul_free = comparison["variants"][1]["difference"]
    assert parents["matmul_free"].data.metrics["comparison/difference"] == matmul_free["mean"]
    assert "comparison/difference" not in parents["gpt2"].data.metrics


def test_curves_selection_and_texts_are_there(laptop: tuple[Project, dict]) -> None:
    project, comparison = laptop
    client, _ = open_store(project, ["language"])
    key = comparison["variants"][2]["runs"][0]
    run = _children(project)[key]
    rows = [json.loads(line) for line in (project.results / "runs" / key / "record.jsonl").read_text().splitlines()]
    expected = [(r["step"], r["bits_per_byte"], round(r["time"] * 1000)) for r in rows if r["kind"] == "validation"]
    history = client.get_metric_history(run.info.run_id, "validation/bits_per_byte")
    assert sorted((point.step, point.value, point.timestamp) for point in history) == expected
    entropy = client.get_metric_history(run.info.run_id, "selection/blocks.0.mixer/aggregate_entropy")
    assert len(entropy) == 10
    artifacts = artifact_folder(project) / "language" / run.info.run_id / "artifacts"
    assert json.loads((artifacts / "config.json").read_text())["run_key"] == key
    assert "soft, what light" in (artifacts / "samples.txt").read_text()


def test_publishing_again_changes_nothing(laptop: tuple[Project, dict]) -> None:
    project, comparison = laptop
    with closing(sqlite3.connect(database_file(project))) as connection:
        before = list(connection.iterdump())
        assert publish_study(project, comparison)
        assert list(connection.iterdump()) == before


def test_a_publication_cut_short_is_completed_without_doubles(tmp_path: Path, empty_database: Path) -> None:
    """Take the mark of completeness off, as a kill would, and publish again: same runs, same points."""
    project, _, comparison = _published(tmp_path, empty_database)
    client, _ = open_store(project, ["language"])
    before = {run.info.run_id for run in _shown(project)}
    key = comparison["variants"][0]["runs"][0]
    run_id = _children(project)[key].info.run_id
    points = client.get_metric_history(run_id, "train/loss")
    client.delete_tag(run_id, "nnn.published")
    assert publish_study(project, comparison)
    assert {run.info.run_id for run in _shown(project)} == before
    assert len(client.get_metric_history(run_id, "train/loss")) == len(points)
    assert client.get_run(run_id).data.tags["nnn.published"] == "yes"


def test_a_changed_fingerprint_makes_a_new_run_and_deletes_the_old(tmp_path: Path, empty_database: Path) -> None:
    project, catalog, comparison = _published(tmp_path, empty_database)
    before = _children(project)
    key = comparison["variants"][0]["runs"][1]
    make_run(project, study_specs(catalog, "smoke", "language")["gpt2"], 1, fingerprint="f" * 64)
    assert publish_study(project, comparison)
    after = _children(project)
    assert after.keys() == before.keys()
    assert after[key].info.run_id != before[key].info.run_id
    assert after[key].data.tags["nnn.fingerprint"] == "f" * 64
    unchanged = before.keys() - {key}
    assert all(after[other].info.run_id == before[other].info.run_id for other in unchanged)


def test_a_variant_that_left_the_study_leaves_the_tracker(tmp_path: Path, empty_database: Path) -> None:
    project, _, comparison = _published(tmp_path, empty_database)
    assert publish_study(project, comparison | {"variants": comparison["variants"][:2]})
    assert {run.data.tags["nnn.variant"] for run in _shown(project)} == {"gpt2", "matmul_free"}


def test_a_diverged_run_is_shown_as_failed(tmp_path: Path, empty_database: Path) -> None:
    project, _, comparison = _published(
        tmp_path, empty_database, plain(suite="smoke", diverged=frozenset({("matmul_free", 1)}))
    )
    run = _children(project)[comparison["variants"][1]["runs"][1]]
    assert (run.info.status, run.data.tags["nnn.status"]) == ("FAILED", "diverged")
    assert "test/bits_per_byte" not in run.data.metrics
    assert math.isfinite(run.data.metrics["train/loss"])  # the last one there is


def test_a_quarantined_variant_and_its_runs_say_so(tmp_path: Path, empty_database: Path) -> None:
    wanted = plain(suite="smoke", quarantined={"matmul_free": ["future_tokens"]}, growing=frozenset({"gpt2"}))
    project, catalog, _ = _published(tmp_path, empty_database, wanted)
    told = {run.info.run_id: (run.data.tags["nnn.variant"], run.data.tags["nnn.audit"]) for run in _shown(project)}
    assert sorted(told.values()) == sorted(
        [("gpt2", "passed"), ("matmul_free", "failed: future_tokens"), ("selection_transformer", "passed")] * 3
    )
    for run in _shown(project):
        held = run.data.tags["nnn.variant"] == "matmul_free"
        assert run.data.tags["nnn.quarantined"] == str(held).lower()
        if run.data.tags["nnn.kind"] == "variant":
            ranked = run.data.tags["nnn.variant"] == "selection_transformer"
            assert ("comparison/difference" in run.data.metrics) == ranked
        else:
            assert ("growth/stage" in run.data.metrics) == (run.data.tags["nnn.variant"] == "gpt2")
    make_audits(project, study_specs(catalog, "smoke", "language")["matmul_free"])
    write_comparison(project, catalog, "smoke", "language")
    assert publish(project, "smoke", "language")
    runs = _shown(project)
    assert {run.data.tags["nnn.audit"] for run in runs} == {"passed"}
    assert len(runs) == 9
    kept = {run.info.run_id for run in runs} & told.keys()
    assert {told[run_id][0] for run_id in kept} == {"gpt2", "selection_transformer"}


@pytest.mark.usefixtures("quick_migration")
def test_a_deleted_database_is_rebuilt_with_the_same_runs(tmp_path: Path, empty_database: Path) -> None:
    project, catalog, _ = _published(tmp_path, empty_database)
    before = {(run.data.tags["nnn.run_key"], run.data.tags["nnn.content"]) for run in _shown(project)}
    database_file(project).unlink()
    for _ in range(2):
        assert rebuild(project, catalog)
        after = [(run.data.tags["nnn.run_key"], run.data.tags["nnn.content"]) for run in _shown(project)]
        assert sorted(after) == sorted(before)
    assert len(list((artifact_folder(project) / "language").iterdir())) == 6


@pytest.mark.usefixtures("quick_migration")
@pytest.mark.parametrize("damage", ["garbage", "half migrated", "empty"])
def test_a_damaged_database_is_set_aside_and_rebuilt(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    project, catalog = make_project(tmp_path, plain(suite="smoke"))
    if damage == "garbage":
        database_file(project).write_bytes(b"SQLite format 3\0" + b"\x5a" * 8192)
    elif damage == "empty":
        database_file(project).write_bytes(b"")
    else:
        with closing(sqlite3.connect(database_file(project))) as connection:
            connection.execute("create table experiments (experiment_id integer)")
            connection.commit()
    assert rebuild(project, catalog)
    assert len(_children(project)) == 6
    aside = database_file(project).with_name("mlflow.db.damaged")
    assert aside.exists() == (damage != "empty")
    assert ("was damaged" in capsys.readouterr().err) == (damage != "empty")


def test_a_comparison_whose_runs_are_gone_does_not_stop_the_others(
    tmp_path: Path, empty_database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project, catalog, comparison = _published(tmp_path, empty_database)
    gone = comparison | {"suite": "gone"}
    for row in gone["variants"]:
        row["runs"] = [f"{key}0" for key in row["runs"]]
    write_json(comparison_file(project, "gone", "language"), gone)
    assert rebuild(project, catalog) is False
    assert len(_children(project)) == 6
    assert "results/comparisons/gone/language.json is not shown" in capsys.readouterr().err


def _start_and_publish(root: str, suite: str) -> None:
    project = Project(Path(root))
    sys.exit(0 if publish(project, suite, "language") else 1)


def test_eight_processes_on_a_fresh_store_lose_and_double_nothing(tmp_path: Path) -> None:
    """Four suites, each published by two processes at once, on a database that does not exist yet."""
    project, catalog = make_project(tmp_path, plain(suite="smoke"))
    suites = ["smoke", "second", "third", "fourth"]
    text = (tmp_path / "config" / "suites" / "smoke.yaml").read_text()
    for number, suite in enumerate(suites[1:]):
        changed = text.replace("tokens: 40960", f"tokens: {51200 + 5120 * number}")
        (tmp_path / "config" / "suites" / f"{suite}.yaml").write_text(changed)
        for name, spec in study_specs(catalog, suite, "language").items():
            ladder = project.results / "ladders" / f"{spec.ladder_key}.json"
            assert ladder.is_file(), name
            make_audits(project, spec)
            for seed in range(2):
                make_run(project, spec, seed)
        write_comparison(project, catalog, suite, "language")
    spawn = multiprocessing.get_context("fork")
    workers = [spawn.Process(target=_start_and_publish, args=(str(tmp_path), suite)) for suite in suites * 2]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0] * 8
    assert len(_children(project)) == 4 * 6
    assert len(_shown(project)) == 4 * (6 + 3)


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "sqlite:////proc/nowhere/mlflow.db", "nonsense://x", "./mlruns"])
def test_a_dead_tracker_costs_one_line(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    project, catalog = make_project(tmp_path, plain(suite="smoke"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    started = time.monotonic()
    assert publish_study(project, read_comparison(project, "smoke", "language")) is False
    assert initialise(project, catalog) is False
    with pytest.raises(UserError, match="cannot be used"):
        rebuild(project, catalog)
    assert time.monotonic() - started < 5
    captured = capfd.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 2, captured.err
    assert all(line.startswith("nnn-bench: warning: MLflow shows nothing new") for line in lines)
    assert captured.out == ""


def test_a_database_locked_by_another_program_costs_one_line(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project, catalog, comparison = _published(tmp_path, empty_database)
    monkeypatch.setattr(store, "LOCKED_SECONDS", 0.2)
    monkeypatch.setattr(repair, "LOCKED_SECONDS", 0.2)
    with closing(sqlite3.connect(database_file(project))) as connection:
        connection.execute("begin exclusive")
        assert publish_study(project, comparison) is False
        assert capsys.readouterr().err.count("database is locked") == 1
        with pytest.raises(UserError, match="database is locked"):
            rebuild(project, catalog)
    assert publish_study(project, comparison)
    assert not list(project.results.glob("*.damaged"))


def test_the_tracking_lock_is_not_waited_for_without_end(tmp_path: Path) -> None:
    project = Project(tmp_path)
    with exclusive(project), pytest.raises(TimeoutError), exclusive(project, seconds=0.1):
        pass


def test_a_password_in_the_address_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project, catalog = make_project(tmp_path, plain(suite="smoke"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://ann:secret@host/x")
    assert initialise(project, catalog) is False
    assert "secret" not in capsys.readouterr().err


def test_initialise_makes_one_quiet_experiment_per_study(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project, catalog = make_project(tmp_path, plain(suite="smoke"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert initialise(project, catalog)
    assert initialise(project, catalog)
    client, experiments = open_store(project, catalog.names("studies"))
    names = [experiment.name for experiment in client.search_experiments() if experiment.name != "Default"]
    assert sorted(names) == sorted(experiment_name(study) for study in catalog.names("studies"))
    location = client.get_experiment(experiments["language"]).artifact_location
    assert location == (project.results / "mlartifacts" / "language").as_uri()
    assert list(elsewhere.iterdir()) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("quick_migration")
def test_a_deleted_experiment_comes_back(tmp_path: Path) -> None:
    project, _ = make_project(tmp_path, plain(suite="smoke"))
    client, experiments = open_store(project, ["language"])
    client.delete_experiment(experiments["language"])
    assert publish_study(project, read_comparison(project, "smoke", "language"))
    assert len(_children(project)) == 6


def test_a_missing_record_is_the_users_to_mend(tmp_path: Path) -> None:
    project, _ = make_project(tmp_path, plain(suite="smoke"))
    comparison = read_comparison(project, "smoke", "language")
    (project.results / "runs" / comparison["variants"][0]["runs"][0] / "record.jsonl").unlink()
    with pytest.raises(UserError, match=r"record.jsonl: is missing; make it with `nnn-bench run smoke`"):
        publish_study(project, comparison)


@pytest.mark.usefixtures("quick_migration")
def test_the_ui_is_served_on_loopback_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project(tmp_path)
    assert ui_command(project, 5000) == [
        *[sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{tmp_path}/results/mlflow.db"],
        *["--host", "127.0.0.1", "--port", "5000"],
    ]
    monkeypatch.chdir(tmp_path)
    assert database_file(project).is_file()
    assert tracking_uri(replace(project, root=Path())) == f"sqlite:///{tmp_path}/results/mlflow.db"
    with pytest.raises(UserError, match="use 1 to 65535"):
        ui_command(project, 0)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:secret@example.org:5000")
    with pytest.raises(UserError, match=r"open http://example\.org:5000"):
        ui_command(project, 5000)


@pytest.mark.parametrize("uri", ["sqlite:////proc/nowhere/x.db", "nonsense://ann:secret@x", "./mlruns", "sqlite:///{}"])
def test_a_store_the_ui_cannot_use_is_told_in_one_line(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(tmp_path))  # the last one names a folder
    with pytest.raises(UserError) as raised:
        ui_command(Project(tmp_path), 5000)
    said = str(raised.value)
    assert said.startswith("the tracking store ")
    assert said.endswith("; mend MLFLOW_TRACKING_URI")
    assert "\n" not in said
    assert "secret" not in said
    assert capfd.readouterr() == ("", "")


def test_a_damaged_store_of_the_projects_own_is_told_by_the_ui_with_its_mend(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.results.mkdir()
    database_file(project).write_bytes(b"no database" * 900)
    with pytest.raises(UserError, match=r"not a database.*; `nnn-bench track rebuild` makes it anew$"):
        ui_command(project, 5000)


def test_a_marker_holds_while_its_store_is_the_one_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project(tmp_path)
    project.results.mkdir()
    marker = {"published": True, "uri": tracking_uri(project)}
    assert not marker_is_current(project, marker)  # nothing is there to see
    database_file(project).touch()
    assert marker_is_current(project, marker)
    for stale in ({}, marker | {"published": False}, marker | {"published": "yes"}, {"published": True}):
        assert not marker_is_current(project, stale)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:secret@example.org:5000")
    assert not marker_is_current(project, marker)
    for uri in ("http://ann:secret@example.org:5000", "http://example.org:5000"):
        assert marker_is_current(project, {"published": True, "uri": uri})


def test_looking_at_markers_loads_neither_mlflow_nor_torch() -> None:
    code = (
        "import sys, nnn_bench.tracking.store; sys.exit(bool({'mlflow', 'torch', 'sqlalchemy'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
