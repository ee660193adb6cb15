"""The whole pipeline on a tiny suite: done once, nothing to do the second time, and just what changed the third.

Every job is a process that imports torch, which takes longer than what it does; so each test asks for the least it needs.
"""

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
from tests.tiny_project import call, edit, make_project, start, typed

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """A tiny project that ran once: GPT-2 and a variant of it."""
    folder = tmp_path_factory.mktemp("pipeline")
    made = make_project(folder)
    shutil.copy(made.config / "variants" / "gpt2.yaml", made.config / "variants" / "other.yaml")
    edit(made, "studies/tiny.yaml", "matmul_free, selection_transformer]", "other]")
    shutil.copy(CHECKOUT / "Snakefile", folder)
    shutil.copytree(CHECKOUT / "workflow", folder / "workflow")
    done = call(made, "run", "tiny")
    assert done.returncode == 0, done.stdout + done.stderr + (folder / "logs/snakemake.tiny.log").read_text()
    assert "gpt2" in done.stdout and "report: reports/tiny/index.html" in done.stdout
    return made


@pytest.fixture
def typing(project, monkeypatch, capsys):
    """`nnn-bench WORDS` in the project and in this process, which has imported torch; its jobs are processes all the same."""
    monkeypatch.chdir(project.root)
    return lambda *words: typed(monkeypatch, capsys, *words)


def results(project):
    return {
        str(path.relative_to(project.results / "runs").parent): path.stat().st_mtime_ns
        for path in project.results.glob("runs/*/*/*/result.json")
    }


def runs(project, variant):
    return {f"{study_specs(Catalog(project), 'tiny', 'tiny')[variant].key}/s{seed}" for seed in (0, 1)}


def changed(project, before):
    return {path for path, written in results(project).items() if before.get(path) != written}


def test_everything_a_suite_promises_is_there(project):
    assert results(project).keys() == runs(project, "gpt2") | runs(project, "other")
    comparison = json.loads((project.results / "comparisons/tiny/tiny.json").read_text())
    assert [row["variant"] for row in comparison["variants"]] == ["gpt2", "other"]
    assert all(row["statuses"] == ["ok", "ok"] for row in comparison["variants"])
    assert len(comparison["ladder"]["orders"]) == 6
    for name in ("index.html", "report.md", "tables/headline.csv"):
        assert (project.reports / "tiny" / name).stat().st_size > 0
    assert list((project.reports / "tiny" / "figures").glob("*.svg"))
    assert (project.results / "mlflow.db").exists()
    audits = {path.relative_to(project.results / "audits") for path in project.results.glob("audits/*/*.json")}
    keys = [spec.key for spec in study_specs(Catalog(project), "tiny", "tiny").values()]
    assert audits == {Path(f"{key}.{gate}.json") for key in keys for gate in ("untrained", "trained")}


def test_a_second_run_has_nothing_to_do(project, typing):
    before = results(project)
    report = (project.reports / "tiny" / "index.html").stat().st_mtime_ns
    code, out, _ = typing("run", "tiny")
    assert code == 0 and "gpt2" in out
    assert results(project) == before
    assert (project.reports / "tiny" / "index.html").stat().st_mtime_ns == report


def test_a_lost_result_is_trained_again_alone_and_a_lost_job_output_is_made_again_without_training(project, typing):
    before = results(project)
    comparison = (project.results / "comparisons/tiny/tiny.json").stat().st_mtime_ns
    lost = min(runs(project, "gpt2"))
    (project.run(lost) / "result.json").unlink()
    [output] = (project.results / "trained").glob("*/other-*.json")
    output.unlink()
    assert typing("run", "tiny")[0] == 0
    assert changed(project, before) == {lost}
    assert output.exists()
    assert (project.results / "comparisons/tiny/tiny.json").stat().st_mtime_ns > comparison


def test_a_changed_variant_redoes_its_own_runs_alone(project, typing):
    before = results(project)
    edit(project, "variants/other.yaml", "heads: 4", "heads: 2")
    assert typing("run", "tiny", "training")[0] == 0
    assert changed(project, before) == runs(project, "other")
    assert not results(project).keys() - before.keys() - runs(project, "other")


def test_training_one_variant_again_gives_the_same_bits(project, typing):
    path = project.run(min(runs(project, "gpt2"))) / "result.json"
    before = json.loads(path.read_text())
    assert typing("run", "tiny", "gpt2", "--again")[0] == 0
    after = json.loads(path.read_text())
    assert after["started"] > before["started"]
    assert after["test"] == before["test"] and after["samples"] == before["samples"]


def test_an_edited_text_is_noticed(project, typing):
    edit(project, "studies/tiny.yaml", ", other]", "]")
    before = results(project)
    path = project.root / "text.txt"
    path.write_text(path.read_text().replace("cat", "cow"))
    assert typing("run", "tiny", "training")[0] == 0
    assert changed(project, before) == runs(project, "gpt2")


def test_a_stopped_pipeline_leaves_checkpoints_and_goes_on(project, typing):
    edit(project, "suites/tiny.yaml", "tokens: 9600", "tokens: 57600")
    edit(project, "suites/tiny.yaml", "seeds: 2", "seeds: 1")
    process = start(project, "run", "tiny", "training")
    folder = project.run(min(runs(project, "gpt2")))
    while process.poll() is None and not (folder / "record.jsonl").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143 and "stopping: training jobs write a checkpoint first" in errors
    assert list((folder / "checkpoints").glob("step-*")) and not (folder / "result.json").exists()
    assert typing("run", "tiny", "training")[0] == 0
    assert json.loads((folder / "result.json").read_text())["steps"] == 600


def test_a_wrong_option_is_one_line_before_anything_starts(project, typing):
    edit(project, "variants/gpt2.yaml", "heads: 4", "headz: 4")
    code, _, errors = typing("run", "tiny")
    edit(project, "variants/gpt2.yaml", "headz: 4", "heads: 4")
    assert code == 2
    assert errors == (
        "nnn-bench: error: config/variants/gpt2.yaml: model.topology.mixer.headz: unknown key; did you mean 'heads'?\n"
    )


def test_a_failing_job_is_told_in_one_line(project, typing):
    edit(project, "datasets/tiny.yaml", "path: text.txt", "path: gone.txt")
    code, _, errors = typing("run", "tiny")
    edit(project, "datasets/tiny.yaml", "path: gone.txt", "path: text.txt")
    assert code == 2
    assert errors.count("\n") == 1 and "gone.txt" in errors
