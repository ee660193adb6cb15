"""What a comparison refuses and says beside its differences: budgets, trials of learning rates, verdicts."""

import json

import numpy as np
import pytest
from scipy import stats

from nnn_bench.config.errors import UserError
from nnn_bench.config.expansion import study_specs
from nnn_bench.statistics.comparison import compare, read_comparison
from tests.synthetic_runs import make_project, plain

MEASURED = {"measure": {}, "search": {}}


def by_name(comparison):
    return {row["variant"]: row for row in comparison["variants"]}


def change_receipts(project, key, seeds, change):
    for seed in range(seeds):
        path = project.run(key) / f"s{seed}" / "result.json"
        result = json.loads(path.read_text())
        path.write_text(json.dumps(result | {"receipt": result["receipt"] | change}))


@pytest.mark.parametrize(("budget", "unit"), [("flops", "FLOPs"), ("time", "seconds")])
def test_a_study_of_another_budget_pairs_runs_of_other_lengths(tmp_path, budget, unit):
    wanted = plain(suite="smoke", studies={"equal": {"budget": budget}}, changes={"verdicts": True, **MEASURED})
    project, catalog = make_project(tmp_path, wanted)
    tokens, equal = (by_name(compare(project, catalog, "smoke", study)) for study in ("language", "equal"))
    assert equal["gpt2"]["runs"] == tokens["gpt2"]["runs"]  # the baseline is one run under every budget
    assert equal["gpt2"]["receipt"]["met"]["unit"] == "tokens"
    for name in ("matmul_free", "selection_transformer"):
        receipt = equal[name]["receipt"]
        assert receipt["met"]["unit"] == unit
        assert receipt["steps"] != equal["gpt2"]["receipt"]["steps"]
        reference = stats.ttest_rel(equal[name]["values"], equal["gpt2"]["values"])
        assert equal[name]["difference"]["p"] == pytest.approx(reference.pvalue)
    assert compare(project, catalog, "smoke", "equal")["budget"] == budget
    key = study_specs(catalog, "smoke", "equal")["matmul_free"].key
    change_receipts(project, key, 2, {"met": {"unit": unit, "amount": 17.0, "spent": 17.0, "residual": 0.0}})
    said = rf"(matmul_free was given 17|selection_transformer was given .*) {unit} and not the .* of the others.* --again`$"
    with pytest.raises(UserError, match=said) as refused:
        compare(project, catalog, "smoke", "equal")
    assert "\n" not in str(refused.value)
    change_receipts(project, key, 2, {"batch": 1})
    with pytest.raises(UserError, match="gpt2 and matmul_free differ in batch"):
        compare(project, catalog, "smoke", "equal")


def test_another_length_is_refused_where_tokens_are_equal(tmp_path):
    project, catalog = make_project(tmp_path, plain(suite="smoke"))
    change_receipts(project, study_specs(catalog, "smoke", "language")["matmul_free"].key, 2, {"tokens": 64})
    with pytest.raises(UserError, match="gpt2 and matmul_free differ in tokens"):
        compare(project, catalog, "smoke", "language")


def test_a_longer_search_for_a_rate_is_refused(tmp_path):
    project, catalog = make_project(tmp_path, plain(suite="smoke", changes=MEASURED))
    rows = by_name(compare(project, catalog, "smoke", "language"))
    assert {row["receipt"]["trials"] for row in rows.values()} == {3}
    key = study_specs(catalog, "smoke", "language")["matmul_free"].key
    for trials, said in ((4, "matmul_free 4"), (None, "matmul_free none")):
        change_receipts(project, key, 2, {"trials": trials})
        with pytest.raises(
            UserError, match=f"^gpt2 had 3 trials of its learning rate and {said}, so .*run smoke rates`"
        ):
            compare(project, catalog, "smoke", "language")


def test_rows_say_what_scipy_and_holm_say(tmp_path):
    project, catalog = make_project(tmp_path, plain(seeds=6))
    comparison = compare(project, catalog, "laptop", "language")
    rows = by_name(comparison)
    base = np.array(rows["gpt2"]["values"])
    assert comparison["noise_floor"] == pytest.approx(2 * base.std(ddof=1))
    assert comparison["margin"] == pytest.approx(0.01 * base.mean())
    assert comparison["margin_share"] == 0.01
    names = ("matmul_free", "selection_transformer")
    found = {name: rows[name]["difference"] for name in names}
    low, high = sorted(names, key=lambda name: found[name]["p"])
    assert found[low]["p_holm"] == pytest.approx(2 * found[low]["p"])
    assert found[high]["p_holm"] == pytest.approx(max(2 * found[low]["p"], found[high]["p"]))
    for name in names:
        values = np.array(rows[name]["values"]) - base
        flipped = stats.permutation_test(
            (values,), lambda x, axis: x.mean(axis), permutation_type="samples", n_resamples=64, vectorized=True
        )
        assert found[name]["p_sign_flip"] == pytest.approx(flipped.pvalue)
        assert found[name]["correlation"] == pytest.approx(np.corrcoef(rows[name]["values"], base)[0, 1])
        assert found[name]["equivalence"]["margin"] == comparison["margin"]
        one_sided = [
            stats.ttest_1samp(side * values, comparison["margin"], alternative="less").pvalue for side in (1, -1)
        ]
        assert found[name]["equivalence"]["p"] == pytest.approx(max(one_sided))
        needed = found[name]["seeds_needed"]
        shift = abs(values.mean()) / values.std(ddof=1) * needed**0.5
        reach = stats.t.ppf(1 - 0.05 / 2 / 2, needed - 1)
        assert stats.nct.sf(reach, needed - 1, shift) > 0.79
    assert found["matmul_free"]["seeds_needed_for_noise_floor"] >= 2
    assert (rows["gpt2"]["verdict"], rows["matmul_free"]["verdict"]) == (None, "worse")
    assert rows["matmul_free"]["reason"].startswith("higher by 0.1")
    assert rows["selection_transformer"]["verdict"] in ("equivalent", "better")


def test_few_seeds_have_no_sign_flips(tmp_path):
    project, catalog = make_project(tmp_path, plain(seeds=5, suite="smoke"))
    rows = by_name(compare(project, catalog, "smoke", "language"))
    assert rows["matmul_free"]["difference"]["p_sign_flip"] is None
    assert rows["matmul_free"]["difference"]["p_holm"] is not None


def test_a_suite_that_concludes_nothing_has_no_verdict_but_what_is_wrong(tmp_path):
    wanted = plain(suite="smoke", quarantined={"matmul_free": ["step"]})
    rows = by_name(compare(*make_project(tmp_path, wanted), "smoke", "language"))
    said = {name: (row["verdict"], row["reason"]) for name, row in rows.items()}
    assert said == {
        "gpt2": (None, "is the baseline"),
        "matmul_free": ("quarantined", "failed the audit: step"),
        "selection_transformer": ("no evidence", "suite concludes nothing"),
    }


def test_a_diverged_seed_makes_its_variant_unstable_and_no_other(tmp_path):
    wanted = plain(diverged=frozenset({("matmul_free", 1)}))
    rows = by_name(compare(*make_project(tmp_path, wanted), "laptop", "language"))
    assert (rows["matmul_free"]["verdict"], rows["matmul_free"]["reason"]) == ("unstable", "1 of 3 seeds diverged")
    assert rows["matmul_free"]["difference"]["p_holm"] is not None
    assert rows["selection_transformer"]["verdict"] not in ("unstable", None)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"quarantined": {"gpt2": ["step"]}}, "the baseline gpt2 is quarantined"),
        ({"diverged": frozenset(("gpt2", seed) for seed in range(3))}, "no run of the baseline gpt2 finished"),
    ],
)
def test_nothing_is_concluded_from_a_baseline_that_is_none(tmp_path, change, reason):
    rows = by_name(compare(*make_project(tmp_path, plain(**change)), "laptop", "language"))
    assert (rows["matmul_free"]["verdict"], rows["matmul_free"]["reason"]) == ("no evidence", reason)


def test_nothing_is_concluded_from_a_baseline_above_the_floor(tmp_path):
    project, catalog = make_project(tmp_path, plain())
    path = next((project.results / "ladders").iterdir())
    ladder = json.loads(path.read_text())
    ladder["orders"][2]["bits_per_byte"] = 2.0
    path.write_text(json.dumps(ladder))
    row = by_name(compare(project, catalog, "laptop", "language"))["matmul_free"]
    assert (row["verdict"], row["reason"]) == ("no evidence", "the baseline gpt2 does not end below the 3-gram floor")


def test_a_margin_is_a_studys_own(tmp_path):
    project, catalog = make_project(tmp_path, plain(studies={"wide": {"margin": 0.2}}))
    row = by_name(compare(project, catalog, "laptop", "wide"))["matmul_free"]
    assert row["verdict"] == "worse"
    assert "a real difference, yet within the margin of 0.48" in row["reason"]


def test_a_comparison_from_before_verdicts_is_told(tmp_path):
    project, catalog = make_project(tmp_path, plain(suite="smoke"))
    old = compare(project, catalog, "smoke", "language")
    for row in old["variants"]:
        del row["verdict"]
    (project.results / "comparisons" / "smoke" / "language.json").write_text(json.dumps(old))
    with pytest.raises(UserError, match="is from before verdicts were; make it with `nnn-bench run smoke`"):
        read_comparison(project, "smoke", "language")
