"""From run results to the comparison of a study, on a results tree made from formulas."""

import json
import math
from collections.abc import Iterable
from pathlib import Path

import pytest
from scipy import stats

from nnn_bench.config.errors import UserError
from nnn_bench.config.expansion import audit_key, study_specs
from nnn_bench.config.paths import Project
from nnn_bench.statistics.comparison import compare, read_comparison
from tests.synthetic_runs import make_project, plain


def _rows(comparison: dict) -> dict:
    return {row["variant"]: row for row in comparison["variants"]}


def test_values_and_differences_are_those_of_the_results(tmp_path: Path) -> None:
    project, catalog = make_project(tmp_path, plain())
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
    project, catalog = make_project(tmp_path, plain())
    comparison = compare(project, catalog, "laptop", "language")
    assert read_comparison(project, "laptop", "language") == comparison
    assert [path.name for path in (project.results / "comparisons" / "laptop").iterdir()] == ["language.json"]


def test_a_diverged_seed_stays_visible(tmp_path: Path) -> None:
    project, catalog = make_project(tmp_path, plain(diverged=frozenset({("matmul_free", 1)})))
    row = _rows(compare(project, catalog, "laptop", "language"))["matmul_free"]
    assert row["statuses"] == ["ok", "diverged", "ok"]
    assert row["values"][1] is None
    assert row["difference"]["seeds"] == [0, 2]
    assert row["difference"]["missing"] == 1


def test_a_diverged_baseline_costs_every_variant_that_pair(tmp_path: Path) -> None:
    project, catalog = make_project(tmp_path, plain(diverged=frozenset({("gpt2", 0)})))
    rows = _rows(compare(project, catalog, "laptop", "language"))
    assert rows["gpt2"]["mean"] == pytest.approx(sum(rows["gpt2"]["values"][1:]) / 2)
    assert all(rows[name]["difference"]["missing"] == 1 for name in ("matmul_free", "selection_transformer"))


def test_a_diverged_run_that_was_evaluated_still_has_no_value(tmp_path: Path) -> None:
    project, catalog = make_project(tmp_path, plain())
    key = study_specs(catalog, "laptop", "language")["matmul_free"].key
    path = project.results / "runs" / key / "s0" / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "diverged"}))
    assert _rows(compare(project, catalog, "laptop", "language"))["matmul_free"]["values"][0] is None


def test_one_seed_gives_a_mean_and_no_interval(tmp_path: Path) -> None:
    project, catalog = make_project(tmp_path, plain(seeds=1))
    row = _rows(compare(project, catalog, "laptop", "language"))["matmul_free"]
    assert row["interval"] is None
    assert row["mean"] == row["values"][0]
    assert row["difference"]["mean"] == row["difference"]["values"][0]
    assert row["difference"]["p"] is None


def test_missing_runs_are_named_with_the_command_that_makes_them(tmp_path: Path) -> None:
    project, catalog = make_project(tmp_path, plain())
    key = study_specs(catalog, "laptop", "language")["matmul_free"].key
    (project.results / "runs" / key / "s2" / "result.json").unlink()
    with pytest.raises(UserError, match=r"matmul_free \(seed 2\); train with `nnn-bench run laptop matmul_free`"):
        compare(project, catalog, "laptop", "language")


def test_audits_of_both_gates_are_in_the_rows(tmp_path: Path) -> None:
    project, catalog = make_project(tmp_path, plain())
    comparison = compare(project, catalog, "laptop", "language")
    assert comparison["ahead"] == 1
    spec = study_specs(catalog, "laptop", "language")["selection_transformer"]
    files = [project.audit(audit_key(spec, gate), gate) for gate in ("untrained", "trained")]
    told = [json.loads(path.read_text()) for path in files]
    expected = [
        {"gate": audit["gate"], **{name: finding[name] for name in ("test", "passed", "saw")}}
        for audit in told
        for finding in audit["findings"]
    ]
    row = _rows(comparison)["selection_transformer"]
    assert row["audit"] == {"passed": True, "failed": [], "findings": expected}
    assert len(expected) == 18
    assert not row["quarantined"]


@pytest.mark.parametrize("failed", [["future_tokens", "position"], ["gradient"], ["random_tokens"]])
def test_a_failed_audit_of_either_gate_quarantines(tmp_path: Path, failed: list[str]) -> None:
    before = compare(*make_project(tmp_path / "a", plain()), "laptop", "language")
    wanted = plain(quarantined={"matmul_free": failed})
    rows = _rows(compare(*make_project(tmp_path / "b", wanted), "laptop", "language"))
    row = rows.pop("matmul_free")
    assert row["quarantined"]
    assert row["audit"]["failed"] == failed
    assert row["difference"] is None
    assert row["mean"] is not None
    assert len(row["interval"]) == 2
    kept = {name: row for name, row in _rows(before).items() if name != "matmul_free"}
    for others in (rows, kept):  # what is quarantined counts as p = 1 in the correction of the others
        difference = others["selection_transformer"]["difference"]
        difference.pop("p_holm")
        difference["equivalence"].pop("p_holm")
        others["selection_transformer"].pop("reason")
    assert rows == kept


def test_a_quarantined_baseline_leaves_the_differences_to_be_seen(tmp_path: Path) -> None:
    wanted = plain(quarantined={"gpt2": ["step"]})
    rows = _rows(compare(*make_project(tmp_path, wanted), "laptop", "language"))
    assert rows["gpt2"]["quarantined"]
    assert rows["matmul_free"]["difference"]["mean"] is not None


@pytest.mark.parametrize("gate", ["untrained", "trained"])
def test_a_missing_audit_is_told(tmp_path: Path, gate: str) -> None:
    project, catalog = make_project(tmp_path, plain())
    key = audit_key(study_specs(catalog, "laptop", "language")["matmul_free"], gate)
    project.audit(key, gate).unlink()
    said = rf"results/audits/{key}.{gate}.json: is missing; make it with `nnn-bench run laptop matmul_free`"
    with pytest.raises(UserError, match=said):
        compare(project, catalog, "laptop", "language")


@pytest.mark.parametrize(
    "change",
    [
        {"passed": False},
        {"failed": ["step"]},
        {"variant": "gpt2"},
        {"gate": "trained"},
        {"findings": []},
        {"findings": None},
        {"findings": [{"test": "step", "passed": "yes", "saw": "it"}]},
        {"findings": [{"test": "step", "passed": 1, "saw": "it"}]},
        {"findings": [{"test": "step", "passed": False, "saw": "it"}]},
        {"findings": [{"test": "step", "saw": "it"}]},
        {"findings": [{"test": "step", "passed": True, "saw": None}]},
    ],
)
def test_an_audit_that_contradicts_itself_is_refused(tmp_path: Path, change: dict) -> None:
    project, catalog = make_project(tmp_path, plain(suite="smoke"))
    key = audit_key(study_specs(catalog, "smoke", "language")["matmul_free"], "untrained")
    path = project.audit(key, "untrained")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=r"untrained.json: is no whole audit of matmul_free \(untrained\); remove it"):
        compare(project, catalog, "smoke", "language")


def test_a_comparison_from_before_audits_is_told(tmp_path: Path) -> None:
    project, catalog = make_project(tmp_path, plain(suite="smoke"))
    old = compare(project, catalog, "smoke", "language")
    for row in old["variants"]:
        del row["audit"]
    (project.results / "comparisons" / "smoke" / "language.json").write_text(json.dumps(old))
    with pytest.raises(
        UserError, match=r"language.json: is from before audits were; make it with `nnn-bench run smoke`"
    ):
        read_comparison(project, "smoke", "language")


def test_a_study_that_predicts_further_ahead_is_a_comparison_of_its_own(tmp_path: Path) -> None:
    project, catalog = make_project(tmp_path, plain(suite="smoke", studies={"far": {"ahead": 16}}))
    near, far = (compare(project, catalog, "smoke", study) for study in ("language", "far"))
    assert (near["ahead"], far["ahead"]) == (1, 16)
    assert near["ladder"]["ahead"] == 1
    assert far["ladder"]["ahead"] == 16
    keys = [{key for row in comparison["variants"] for key in row["runs"]} for comparison in (near, far)]
    assert not keys[0] & keys[1]
    _change(project, study_specs(catalog, "smoke", "far")["matmul_free"].key, range(2), "receipt", {"ahead": 1})
    with pytest.raises(UserError, match=r"gpt2 and matmul_free differ in ahead \(16, 1\)"):
        compare(project, catalog, "smoke", "far")


def test_a_missing_ladder_is_told(tmp_path: Path) -> None:
    project, catalog = make_project(tmp_path, plain())
    next((project.results / "ladders").iterdir()).unlink()
    with pytest.raises(UserError, match=r"results/ladders/.*is missing; make it with `nnn-bench run laptop`"):
        compare(project, catalog, "laptop", "language")


def test_a_damaged_result_is_told(tmp_path: Path) -> None:
    project, catalog = make_project(tmp_path, plain())
    key = study_specs(catalog, "laptop", "language")["gpt2"].key
    (project.results / "runs" / key / "s0" / "result.json").write_text('{"run_key": "shake')
    with pytest.raises(UserError, match=r"s0/result.json: cannot be read"):
        compare(project, catalog, "laptop", "language")


def _change(project: Project, key: str, seeds: Iterable[int], part: str, change: dict) -> None:
    """Change fields of one part of the results of a spec."""
    for seed in seeds:
        path = project.results / "runs" / key / f"s{seed}" / "result.json"
        result = json.loads(path.read_text())
        path.write_text(json.dumps(result | {part: result[part] | change}))


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("receipt", {"source_sha256": "0" * 64}, "source_sha256"),
        ("receipt", {"learning_rate": 0.5}, "learning_rate"),
        ("receipt", {"knobs": {"topology.width": 65}}, r"knobs\.topology\.width \(64, 65\)"),
        ("receipt", {"parameters": {"total": 1}}, r"parameters\.total"),
        ("receipt", {"training_characters": 7}, "training_characters"),
        ("environment", {"libraries": {"torch": "2.13.0", "numpy": "1.0"}}, r"environment\.libraries\.numpy"),
        ("environment", {"cpu_capability": "AVX2"}, r"environment\.cpu_capability \('AVX512', 'AVX2'\)"),
        ("environment", {"something_new": True}, r"environment\.something_new \(None, True\)"),
    ],
)
def test_seeds_that_do_not_belong_together_are_refused(tmp_path: Path, part: str, change: dict, said: str) -> None:
    project, catalog = make_project(tmp_path, plain())
    _change(project, study_specs(catalog, "laptop", "language")["gpt2"].key, [1], part, change)
    with pytest.raises(UserError, match=f"seeds 0 and 1 of gpt2 differ in {said}.*`nnn-bench run laptop gpt2 --again`"):
        compare(project, catalog, "laptop", "language")


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("receipt", {"steps": 1}, "steps"),
        ("receipt", {"batch": 1}, "batch"),
        ("receipt", {"dataset": {"sha256": "0" * 64}}, r"dataset\.name"),
        ("environment", {"precision": "bfloat16"}, r"environment\.precision \('float32', 'bfloat16'\)"),
        ("environment", {"threads": 2}, r"environment\.threads"),
        ("environment", {"libraries": {"torch": "2.12.0", "numpy": "2.3.4"}}, r"environment\.libraries\.torch"),
    ],
)
def test_variants_that_cannot_be_paired_are_refused(tmp_path: Path, part: str, change: dict, said: str) -> None:
    project, catalog = make_project(tmp_path, plain())
    _change(project, study_specs(catalog, "laptop", "language")["matmul_free"].key, range(3), part, change)
    command = "`nnn-bench run laptop gpt2 matmul_free --again`"
    with pytest.raises(UserError, match=f"gpt2 and matmul_free differ in {said}.*{command}"):
        compare(project, catalog, "laptop", "language")


@pytest.mark.parametrize(
    ("part", "change"),
    [("environment", {"python": "3.13.1", "platform": "Darwin"}), ("receipt", {"training_flops": {"matrix": 1.0}})],
)
def test_what_does_not_reach_the_numbers_does_not_break_pairs(tmp_path: Path, part: str, change: dict) -> None:
    project, catalog = make_project(tmp_path, plain())
    before = compare(project, catalog, "laptop", "language")
    _change(project, study_specs(catalog, "laptop", "language")["gpt2"].key, [1, 2], part, change)
    _change(project, study_specs(catalog, "laptop", "language")["matmul_free"].key, [2], part, change)
    assert compare(project, catalog, "laptop", "language") == before


@pytest.mark.parametrize(
    ("field", "value"), [("content_sha256", "0" * 64), ("context", 63), ("training_characters", 9), ("test_tokens", 8)]
)
def test_a_ladder_of_other_text_is_refused(tmp_path: Path, field: str, value: object) -> None:
    project, catalog = make_project(tmp_path, plain())
    path = next((project.results / "ladders").iterdir())
    whole = json.loads(path.read_text())
    said = rf"results/ladders/.*does not fit gpt2 seed 0: {field} is .*; remove it, then `nnn-bench run laptop`"
    for changed in (whole | {field: value}, {key: kept for key, kept in whole.items() if key != field}):
        path.write_text(json.dumps(changed))
        with pytest.raises(UserError, match=said):
            compare(project, catalog, "laptop", "language")


def test_a_run_scored_on_fewer_targets_than_the_ladder_is_refused(tmp_path: Path) -> None:
    project, catalog = make_project(tmp_path, plain(diverged=frozenset({("gpt2", 0)})))
    _change(project, study_specs(catalog, "laptop", "language")["matmul_free"].key, [2], "test", {"tokens": 8})
    with pytest.raises(UserError, match="does not fit matmul_free seed 2: test_tokens is 131072 here and 8 there"):
        compare(project, catalog, "laptop", "language")


def test_a_number_that_is_none_is_not_read(tmp_path: Path) -> None:
    project, catalog = make_project(tmp_path, plain())
    _change(project, study_specs(catalog, "laptop", "language")["gpt2"].key, [0], "test", {"loss": math.nan})
    with pytest.raises(UserError, match=r"s0/result.json: cannot be read \(NaN is not JSON\)"):
        compare(project, catalog, "laptop", "language")
