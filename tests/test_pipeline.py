"""The whole pipeline on a tiny suite: done once, nothing to do the second time, and just what changed the third."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import pytest

from nnn_bench.config.catalog import Catalog
from nnn_bench.config.expansion import study_specs
from nnn_bench.config.paths import Project
from tests.tiny_project import call, edit, make_project, start

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """A tiny project that ran once."""
    folder = tmp_path_factory.mktemp("pipeline")
    made = make_project(folder)
    edit(made, "studies/tiny.yaml", "matmul_free, selection_transformer]", "matmul_free]")  # every job starts a process
    shutil.copy(CHECKOUT / "Snakefile", folder)
    shutil.copytree(CHECKOUT / "workflow", folder / "workflow")
    done = call(made, "run", "tiny")
    assert done.returncode == 0, done.stdout + done.stderr + (folder / "logs/snakemake.tiny.log").read_text()
    assert "gpt2" in done.stdout and "report: reports/tiny/index.html" in done.stdout
    return made


def results(project):
    return {
        path.relative_to(project.results): path.stat().st_mtime_ns
        for path in project.results.glob("runs/*/*/*/result.json")
    }


def test_everything_a_suite_promises_is_there(project):
    assert len(results(project)) == 2 * 2
    comparison = json.loads((project.results / "comparisons/tiny/tiny.json").read_text())
    assert [row["variant"] for row in comparison["variants"]] == ["gpt2", "matmul_free"]
    assert all(row["statuses"] == ["ok", "ok"] for row in comparison["variants"])
    assert len(comparison["ladder"]["orders"]) == 6
    for name in ("index.html", "report.md", "tables/headline.csv"):
        assert (project.reports / "tiny" / name).stat().st_size > 0
    assert list((project.reports / "tiny" / "figures").glob("*.svg"))
    assert (project.results / "mlflow.db").exists()
    audits = {path.relative_to(project.results / "audits") for path in project.results.glob("audits/*/*.json")}
    keys = [spec.key for spec in study_specs(Catalog(project), "tiny", "tiny").values()]
    assert audits == {Path(f"{key}.{gate}.json") for key in keys for gate in ("untrained", "trained")}


def test_a_second_run_has_nothing_to_do(project):
    before = results(project)
    report = (project.reports / "tiny" / "index.html").stat().st_mtime_ns
    done = call(project, "run", "tiny")
    assert done.returncode == 0 and "gpt2" in done.stdout
    assert results(project) == before
    assert (project.reports / "tiny" / "index.html").stat().st_mtime_ns == report


def test_a_changed_variant_redoes_its_own_runs_alone(project):
    before = results(project)
    edit(project, "variants/matmul_free.yaml", "output_gate: code", "output_gate: paper")
    assert call(project, "run", "tiny").returncode == 0
    after = results(project)
    new = study_specs(Catalog(project), "tiny", "tiny")["matmul_free"].key
    assert {str(path) for path in after.keys() - before.keys()} == {
        f"runs/{new}/s{seed}/result.json" for seed in (0, 1)
    }
    assert all(after[path] == before[path] for path in before)


def test_a_lost_job_output_is_made_again_without_training(project):
    before = results(project)
    shutil.rmtree(project.results / "trained")
    assert call(project, "run", "tiny").returncode == 0
    assert results(project) == before
    assert len(list(project.results.glob("trained/*/*.json"))) == 2


def test_a_lost_result_is_trained_again_alone(project):
    before = results(project)
    lost = project.run(study_specs(Catalog(project), "tiny", "tiny")["gpt2"].key + "/s1") / "result.json"
    lost.unlink()
    assert call(project, "run", "tiny").returncode == 0
    changed = {path for path, written in results(project).items() if before[path] != written}
    assert changed == {lost.relative_to(project.results)}


def test_an_edited_text_is_noticed(project):
    before = results(project)
    path = project.root / "text.txt"
    path.write_text(path.read_text().replace("cat", "cow"))
    assert call(project, "run", "tiny").returncode == 0
    after = results(project)
    assert sum(after[path] != before[path] for path in before) == 4


def test_training_one_variant_again_gives_the_same_bits(project):
    spec = study_specs(Catalog(project), "tiny", "tiny")["gpt2"]
    path = project.results / "runs" / spec.key / "s0" / "result.json"
    before = json.loads(path.read_text())
    assert call(project, "run", "tiny", "gpt2", "--again").returncode == 0
    after = json.loads(path.read_text())
    assert after["started"] > before["started"]
    assert after["test"] == before["test"] and after["samples"] == before["samples"]


def test_a_stopped_pipeline_leaves_checkpoints_and_goes_on(project):
    edit(project, "suites/tiny.yaml", "tokens: 9600", "tokens: 96000")
    process = start(project, "run", "tiny", "gpt2")
    folder = project.results / "runs" / study_specs(Catalog(project), "tiny", "tiny")["gpt2"].key / "s0"
    while process.poll() is None and not (folder / "record.jsonl").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143 and "stopping: training jobs write a checkpoint first" in errors
    assert list((folder / "checkpoints").glob("step-*")) and not (folder / "result.json").exists()
    assert call(project, "run", "tiny", "gpt2").returncode == 0
    assert json.loads((folder / "result.json").read_text())["steps"] == 1000
    edit(project, "suites/tiny.yaml", "tokens: 96000", "tokens: 9600")


def test_a_wrong_option_is_one_line_before_anything_starts(project):
    edit(project, "variants/gpt2.yaml", "heads: 4", "headz: 4")
    done = call(project, "run", "tiny")
    edit(project, "variants/gpt2.yaml", "headz: 4", "heads: 4")
    assert done.returncode == 2
    assert done.stderr == (
        "nnn-bench: error: config/variants/gpt2.yaml: model.topology.mixer.headz: unknown key; did you mean 'heads'?\n"
    )


def test_a_failing_job_is_told_in_one_line(project):
    edit(project, "datasets/tiny.yaml", "path: text.txt", "path: gone.txt")
    done = call(project, "run", "tiny")
    edit(project, "datasets/tiny.yaml", "path: gone.txt", "path: text.txt")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "gone.txt" in done.stderr
