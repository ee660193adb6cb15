"""From run results to the comparison of a study, on a results tree made from formulas."""

import json
from pathlib import Path

import pytest
from scipy import stats

from nnn_bench.config.errors import UserError
from nnn_bench.config.expansion import study_specs
from nnn_bench.statistics.comparison import compare, read_comparison
from tests.synthetic_runs import Synthetic, make_project


def _rows(comparison: dict) -> dict:
    return {row["variant"]: row for row in comparison["variants"]}


def test_values_and_differences_are_those_of_the_results(tmp_path: Path) -> None:
    project, catalog = make_project(tmp_path)
    comparison = compare(project, catalog, "laptop", "language")
    rows = _rows(comparison)
    assert list(rows) == catalog.study("language").variants
    for row in rows.values():
        results = [json.loads((project.results / "runs" / key / "result.json").read_text()) for key in row["runs"]]
        assert row["values"] == [result["test"]["bits_per_byte"] for result in results]
        assert row["seconds_mean"] == pytest.approx(sum(result["seconds"] for result in results) / 3)
    assert rows["gpt2"]["difference"] is None
    reference = stats.ttest_rel(rows["matmul_free"]["values"], rows["gpt2"]["values"])
    assert rows["matmul_free"]["difference"]["p"] == pytest.approx(reference.pvalue)
    assert rows["matmul_free"]["difference"]["missing"] == 0
    assert comparison["ladder"]["floor_order"] == 3


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    project, catalog = make_project(tmp_path)
    comparison = compare(project, catalog, "laptop", "language")
    assert read_comparison(project, "laptop", "language") == comparison
    assert [path.name for path in (project.results / "comparisons" / "laptop").iterdir()] == ["language.json"]


def test_a_diverged_seed_stays_visible(tmp_path: Path) -> None:
    project, catalog = make_project(tmp_path, Synthetic(diverged=frozenset({("matmul_free", 1)})))
    row = _rows(compare(project, catalog, "laptop", "language"))["matmul_free"]
    assert row["statuses"] == ["ok", "diverged", "ok"]
    assert row["values"][1] is None
    assert row["difference"]["seeds"] == [0, 2]
    assert row["difference"]["missing"] == 1


def test_a_diverged_baseline_costs_every_variant_that_pair(tmp_path: Path) -> None:
    project, catalog = make_project(tmp_path, Synthetic(diverged=frozenset({("gpt2", 0)})))
    rows = _rows(compare(project, catalog, "laptop", "language"))
    assert rows["gpt2"]["mean"] == pytest.approx(sum(rows["gpt2"]["values"][1:]) / 2)
    assert all(rows[name]["difference"]["missing"] == 1 for name in ("matmul_free", "selection_transformer"))


def test_a_diverged_run_that_was_evaluated_still_has_no_value(tmp_path: Path) -> None:
    project, catalog = make_project(tmp_path)
    key = study_specs(catalog, "laptop", "language")["matmul_free"].key
    path = project.results / "runs" / key / "s0" / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "diverged"}))
    assert _rows(compare(project, catalog, "laptop", "language"))["matmul_free"]["values"][0] is None


def test_one_seed_gives_a_mean_and_no_interval(tmp_path: Path) -> None:
    project, catalog = make_project(tmp_path, Synthetic(seeds=1))
    row = _rows(compare(project, catalog, "laptop", "language"))["matmul_free"]
    assert row["interval"] is None
    assert row["mean"] == row["values"][0]
    assert row["difference"]["mean"] == row["difference"]["values"][0]
    assert row["difference"]["p"] is None


def test_missing_runs_are_named_with_the_command_that_makes_them(tmp_path: Path) -> None:
    project, catalog = make_project(tmp_path)
    key = study_specs(catalog, "laptop", "language")["matmul_free"].key
    (project.results / "runs" / key / "s2" / "result.json").unlink()
    with pytest.raises(UserError, match=r"matmul_free \(seed 2\); train with `nnn-bench run laptop matmul_free`"):
        compare(project, catalog, "laptop", "language")


def test_a_missing_ladder_is_told(tmp_path: Path) -> None:
    project, catalog = make_project(tmp_path)
    next((project.results / "ladders").iterdir()).unlink()
    with pytest.raises(UserError, match=r"results/ladders/.*is missing; make it with `nnn-bench run laptop`"):
        compare(project, catalog, "laptop", "language")


def test_a_damaged_result_is_told(tmp_path: Path) -> None:
    project, catalog = make_project(tmp_path)
    key = study_specs(catalog, "laptop", "language")["gpt2"].key
    (project.results / "runs" / key / "s0" / "result.json").write_text('{"run_key": "shake')
    with pytest.raises(UserError, match=r"s0/result.json: cannot be read"):
        compare(project, catalog, "laptop", "language")


@pytest.mark.parametrize(
    ("variant", "seed", "change", "said"),
    [
        ("gpt2", 1, {"source_sha256": "0" * 64}, "seeds 0 and 1 were trained from different source"),
        ("matmul_free", None, {"steps": 1}, "gpt2 and matmul_free differ in steps"),
        ("matmul_free", None, {"batch": 1}, "gpt2 and matmul_free differ in batch"),
    ],
)
def test_runs_that_cannot_be_paired_are_refused(
    tmp_path: Path, variant: str, seed: int | None, change: dict, said: str
) -> None:
    project, catalog = make_project(tmp_path)
    key = study_specs(catalog, "laptop", "language")[variant].key
    for number in range(3) if seed is None else [seed]:
        path = project.results / "runs" / key / f"s{number}" / "result.json"
        result = json.loads(path.read_text())
        path.write_text(json.dumps(result | {"receipt": result["receipt"] | change}))
    with pytest.raises(UserError, match=said):
        compare(project, catalog, "laptop", "language")
