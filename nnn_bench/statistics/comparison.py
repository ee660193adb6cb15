"""Compare the variants of a study, by seed, with its baseline.

A comparison reads finished runs and nothing else, so it can be made again at any time. It refuses runs that cannot be
paired: other data, other batches, another environment, or seeds of one variant that were trained from different
source. A variant that failed an audit keeps its values and is compared with nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from nnn_bench.config.catalog import Catalog
from nnn_bench.config.errors import UserError
from nnn_bench.config.expansion import RunSpec, study_specs
from nnn_bench.config.files import write_json
from nnn_bench.config.paths import Project
from nnn_bench.statistics.audits import read_audit
from nnn_bench.statistics.paired import estimate, paired_difference
from nnn_bench.statistics.records import comparison_file, flat, ladder_file, read_object

METRIC = "test bits per byte"

#: What the receipts of two runs must share to see the same batches in the same order.
_PAIRED = ("objective", "ahead", "batch", "context", "steps", "tokens", "training_characters", "dataset")

#: What remains of that where nothing but the text was matched.
_SAME_TEXT = ("objective", "ahead", "context", "training_characters", "dataset")

#: What the receipts of two seeds of a variant must share besides.
_SAME_VARIANT = (*_PAIRED, "source_sha256", "parameters", "knobs", "learning_rate")

#: Facts about the environment that do not reach the numbers.
_HARMLESS = frozenset({"python", "platform"})

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
    _require_pairs(suite, results)
    audits = {name: read_audit(project, suite, spec) for name, spec in specs.items()}
    ladder = _ladder(project, suite, next(iter(specs.values())).ladder_key, results)
    asked = catalog.study(study)
    reference = _values(results[asked.baseline])
    return {
        "suite": suite,
        "study": study,
        "title": asked.title,
        "question": asked.question,
        "baseline": asked.baseline,
        "conclusive": catalog.suite(suite).verdicts,
        "dataset": asked.dataset,
        "tokenizer": asked.tokenizer,
        "budget": asked.budget,
        "objective": asked.objective,
        "ahead": asked.ahead,
        "metric": METRIC,
        "ladder": ladder,
        "variants": [
            _variant(spec, results[name], audits[name], None if name == asked.baseline else reference)
            for name, spec in specs.items()
        ],
    }


def write_comparison(project: Project, catalog: Catalog, suite: str, study: str) -> Path:
    """Compare, and write the comparison to its place under `results/comparisons`, whole or not at all."""
    path = comparison_file(project, suite, study)
    write_json(path, compare(project, catalog, suite, study))
    return path


def read_comparison(project: Project, suite: str, study: str) -> dict[str, Any]:
    """The comparison that was written for a study; `UserError` with the mend when there is none, or one without audits."""
    path, command = comparison_file(project, suite, study), f"nnn-bench run {suite}"
    comparison = read_object(project, path, command)
    if any("audit" not in row for row in comparison.get("variants", [])):
        raise UserError(f"is from before audits were; make it with `{command}`", file=project.relative(path))
    return comparison


def _variant(
    spec: RunSpec,
    results: dict[int, dict[str, Any]],
    audit: dict[str, Any],
    reference: dict[int, float | None] | None,
) -> dict[str, Any]:
    """One row: the values by seed, their mean and interval, and the difference to `reference` (None: the baseline).

    A variant that failed an audit is quarantined, one of which only the text was matched stands apart: neither has a difference
    to be ranked by.
    """
    values, one = _values(results), next(iter(results.values()))
    matched = _matched(one)
    found = estimate(list(values.values()))
    finished = [result["seconds"] for result in results.values() if result["status"] == "ok"]
    return {
        "variant": spec.variant,
        "summary": spec.variant_config.summary,
        "source": spec.variant_config.source,
        "seeds": list(results),
        "runs": [f"{spec.key}/s{seed}" for seed in results],
        "statuses": [result["status"] for result in results.values()],
        "values": list(values.values()),
        "mean": found.mean,
        "standard_deviation": found.standard_deviation,
        "interval": None if found.interval is None else list(found.interval),
        "audit": audit,
        "quarantined": not audit["passed"],
        "matched": matched,
        "difference": _difference(values, reference) if reference is not None and audit["passed"] and matched else None,
        "seconds_mean": math.fsum(finished) / len(finished) if finished else None,
        "receipt": one["receipt"],
    }


def _difference(values: dict[int, float | None], reference: dict[int, float | None]) -> dict[str, Any]:
    found = paired_difference(values, reference)
    return {
        "values": list(found.values),
        "mean": found.mean,
        "interval": None if found.interval is None else list(found.interval),
        "p": found.p,
        "seeds": list(found.seeds),
        "missing": found.missing,
    }


def _values(results: dict[int, dict[str, Any]]) -> dict[int, float | None]:
    """Seed -> bits per byte on the test split; None for a run that diverged, whatever it had reached before."""
    values: dict[int, float | None] = {}
    for seed, result in results.items():
        value = result["test"]["bits_per_byte"] if result["status"] == "ok" and result["test"] else None
        values[seed] = value if value is not None and math.isfinite(value) else None
    return values


def _results(project: Project, suite: str, spec: RunSpec, seeds: range) -> dict[int, dict[str, Any]]:
    """Seed -> `result.json`, which must all tell of the same variant on the same batches in the same environment."""
    command = f"nnn-bench run {suite} {spec.variant}"
    folder = project.run(spec.key)
    results = {seed: read_object(project, folder / f"s{seed}" / "result.json", command) for seed in seeds}
    first = results[seeds[0]]
    for seed, result in results.items():
        if odd := _differing(first, result, _SAME_VARIANT):
            raise UserError(
                f"seeds {seeds[0]} and {seed} of {spec.variant} differ in {odd} and cannot be taken together; "
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


def _require_pairs(suite: str, results: dict[str, dict[int, dict[str, Any]]]) -> None:
    """Every run of the study must have seen the same batches in the same environment, and what was matched with nothing the
    same text, wherever it was fitted. Seeds agree already."""
    firsts = {name: next(iter(runs.values())) for name, runs in results.items()}
    first_name = next(name for name, result in firsts.items() if _matched(result))  # the baseline is, if no other
    first = firsts[first_name]
    for name, result in firsts.items():
        matched = _matched(result)
        if odd := _differing(first, result, _PAIRED if matched else _SAME_TEXT, environment=matched):
            raise UserError(
                f"{first_name} and {name} differ in {odd} and cannot be paired; "
                f"train them again with `nnn-bench run {suite} {first_name} {name} --again`"
            )


def _matched(result: dict[str, Any]) -> bool:
    matched: bool = result["receipt"].get("matched", True)
    return matched


def _differing(
    first: dict[str, Any], other: dict[str, Any], fields: Iterable[str], *, environment: bool = True
) -> str | None:
    """The first fact in which two results differ, with both values: `fields` of the receipt, then the environment."""
    ours, theirs = _facts(first, fields, environment), _facts(other, fields, environment)
    for name in ours | theirs:
        if ours.get(name) != theirs.get(name):
            return f"{name} ({ours.get(name)!r}, {theirs.get(name)!r})"
    return None


def _facts(result: dict[str, Any], fields: Iterable[str], environment: bool) -> dict[str, Any]:
    told = {name: result["receipt"].get(name) for name in fields}
    if environment:
        told["environment"] = {name: value for name, value in result["environment"].items() if name not in _HARMLESS}
    return dict(flat(told))


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
