"""Compare the variants of a study, by seed, with its baseline.

A comparison reads finished runs and nothing else, so it can be made again at any time. It refuses runs that cannot be
paired: other data, other batches, another environment, or seeds of one variant that were trained from different
source. A variant that failed an audit keeps its values and is compared with nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nnn_bench.config.catalog import Catalog
from nnn_bench.config.errors import UserError
from nnn_bench.config.expansion import RunSpec, study_specs
from nnn_bench.config.files import write_json
from nnn_bench.config.paths import Project
from nnn_bench.statistics.audits import read_audit
from nnn_bench.statistics.paired import estimate
from nnn_bench.statistics.pairing import differing_seeds, require_pairs
from nnn_bench.statistics.power import noise_floor
from nnn_bench.statistics.records import comparison_file, ladder_file, read_object
from nnn_bench.statistics.rows import study_rows, values_by_seed

METRIC = "test bits per byte"

#: Field of the n-gram ladder -> what a run says of the same thing; None where a diverged run cannot say.
_LADDER_FITS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "content_sha256": lambda result: result["receipt"]["dataset"]["sha256"],
    "objective": lambda result: result["receipt"]["objective"],
    "ahead": lambda result: result["receipt"]["ahead"],
    "context": lambda result: result["receipt"]["context"],
    "training_characters": lambda result: result["receipt"]["training_characters"],
    "test_tokens": lambda result: result["test"]["tokens"] if result["test"] else None,
}


def compare(project: Project, catalog: Catalog, suite: str, study: str) -> dict[str, Any]:
    """The comparison of a study at the scale of a suite, as plain data.

    Raises `UserError` when a run, an audit or the n-gram ladder is missing, with the command that makes it, when runs
    cannot be paired, and when the ladder was counted or scored on other text than they were.
    """
    specs = study_specs(catalog, suite, study)
    seeds = range(catalog.suite(suite).seeds)
    _require_runs(project, suite, specs, seeds)
    results = {name: _results(project, suite, spec, seeds) for name, spec in specs.items()}
    asked = catalog.study(study)
    require_pairs(suite, asked.budget, asked.baseline, results)
    audits = {name: read_audit(project, suite, spec) for name, spec in specs.items()}
    ladder = _ladder(project, suite, next(iter(specs.values())).ladder_key, results)
    reference = list(values_by_seed(results[asked.baseline]).values())
    mean = estimate(reference).mean
    conclusive = catalog.suite(suite).verdicts
    barred = _barred(conclusive, asked.baseline, audits[asked.baseline]["passed"], mean, ladder)
    return {
        "suite": suite,
        "study": study,
        "title": asked.title,
        "question": asked.question,
        "baseline": asked.baseline,
        "conclusive": conclusive,
        "dataset": asked.dataset,
        "tokenizer": asked.tokenizer,
        "budget": asked.budget,
        "objective": asked.objective,
        "ahead": asked.ahead,
        "metric": METRIC,
        "ladder": ladder,
        "noise_floor": noise_floor(reference),
        "margin": None if mean is None else asked.margin * mean,
        "margin_share": asked.margin,
        "variants": study_rows(specs, results, audits, baseline=asked.baseline, margin=asked.margin, barred=barred),
    }


def write_comparison(project: Project, catalog: Catalog, suite: str, study: str) -> Path:
    """Compare, and write the comparison to its place under `results/comparisons`, whole or not at all."""
    path = comparison_file(project, suite, study)
    write_json(path, compare(project, catalog, suite, study))
    return path


def read_comparison(project: Project, suite: str, study: str) -> dict[str, Any]:
    """The comparison that was written for a study; `UserError` with the mend when there is none, or one of an older form."""
    path, command = comparison_file(project, suite, study), f"nnn-bench run {suite}"
    comparison = read_object(project, path, command)
    for field, what in (("audit", "audits"), ("verdict", "verdicts")):
        if any(field not in row for row in comparison.get("variants", [])):
            raise UserError(f"is from before {what} were; make it with `{command}`", file=project.relative(path))
    return comparison


def _barred(
    conclusive: bool, baseline: str, audit_passed: bool, mean: float | None, ladder: dict[str, Any]
) -> str | None:
    """Why nothing may be concluded from a study, if so: the reason in the place of every verdict."""
    if not conclusive:
        return "suite concludes nothing"
    if not audit_passed:
        return f"the baseline {baseline} is quarantined"
    if mean is None:
        return f"no run of the baseline {baseline} finished"
    floor = next(row["bits_per_byte"] for row in ladder["orders"] if row["order"] == ladder["floor_order"])
    if mean >= floor:
        return f"the baseline {baseline} does not end below the {ladder['floor_order']}-gram floor"
    return None


def _results(project: Project, suite: str, spec: RunSpec, seeds: range) -> dict[int, dict[str, Any]]:
    """Seed -> `result.json`, which must all tell of the same variant on the same batches in the same environment."""
    command = f"nnn-bench run {suite} {spec.variant}"
    folder = project.run(spec.key)
    results = {seed: read_object(project, folder / f"s{seed}" / "result.json", command) for seed in seeds}
    if odd := differing_seeds(results):
        raise UserError(
            f"seeds {odd[0]} and {odd[1]} of {spec.variant} differ in {odd[2]} and cannot be taken together; "
            f"train them again with `{command} --again`",
            file=project.relative(folder),
        )
    return results


def _require_runs(project: Project, suite: str, specs: dict[str, RunSpec], seeds: range) -> None:
    missing = {
        name: absent
        for name, spec in specs.items()
        if (absent := [s for s in seeds if not (project.run(spec.key) / f"s{s}" / "result.json").is_file()])
    }
    if missing:
        told = ", ".join(f"{name} (seed {', '.join(str(seed) for seed in absent)})" for name, absent in missing.items())
        raise UserError(f"no result yet for {told}; train with `nnn-bench run {suite} {' '.join(missing)}`")


def _ladder(
    project: Project, suite: str, ladder_key: str, results: dict[str, dict[int, dict[str, Any]]]
) -> dict[str, Any]:
    """The n-gram ladder, which must have been counted and scored on what every run was trained and scored on."""
    path, command = ladder_file(project, ladder_key), f"nnn-bench run {suite}"
    ladder = read_object(project, path, command)
    for name, runs in results.items():
        for seed, result in runs.items():
            for field, of_run in _LADDER_FITS.items():
                asked = of_run(result)
                if asked is not None and ladder.get(field) != asked:
                    raise UserError(
                        f"does not fit {name} seed {seed}: {field} is {ladder.get(field)!r} here and {asked!r} there; "
                        f"remove it, then `{command}`",
                        file=project.relative(path),
                    )
    return ladder
