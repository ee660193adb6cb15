"""The tables machines read: CSV, long form, every number as precise as it was read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator

from nnn_bench.report import budgets, figure_pareto, inference, measurements, shape, tuning
from nnn_bench.report.collect import RunView, StudyView, SuiteView, VariantView
from nnn_bench.report.headline import COLUMNS
from nnn_bench.report.outside import COLUMNS as OUTSIDE_COLUMNS
from nnn_bench.report.outside import outside_rows
from nnn_bench.report.shown import Cell
from nnn_bench.report.tables import ENTROPIES, final_score, headline_rows, truth
from nnn_bench.statistics.records import flat

_DIFFERENCES = [
    "variant",
    "baseline",
    "verdict",
    "reason",
    "difference",
    "low",
    "high",
    "p",
    "p_holm",
    "p_sign_flip",
    "margin",
]
_DIFFERENCES += [
    "p_equivalence",
    "p_equivalence_holm",
    "correlation",
    "seeds_needed",
    "seeds_needed_for_noise_floor",
    "pairs",
]
_DIFFERENCES += ["missing_pairs", "noise_floor", "by_seed"]
_RUNS = ["variant", "seed", "status", "bits_per_byte", "nats_per_token", "validation_bits_per_byte", "steps"]
_RUNS += ["tokens", "flops", "training_seconds", "fingerprint", "run"]
_CURVES = ["variant", "seed", "step", "tokens", "flops", "seconds", "validation_loss", "validation_bits_per_byte"]
_AUDITS = ["variant", "gate", "test", "passed", "saw"]
_GROWTH = ["variant", "seed", "step", "tokens", "flops", "seconds", "stage", "loss_before", "loss_after"]
_SELECTION = ["variant", "seed", "step", "layer", *ENTROPIES, "frequency"]


def csv_tables(suite: SuiteView) -> dict[str, str]:
    """File name -> CSV text, with every number as precise as it was read."""
    makers: dict[str, tuple[list[str], Callable[[StudyView], Iterable[list[Cell]]]]] = {
        "headline.csv": (COLUMNS, headline_rows),
        "differences.csv": (_DIFFERENCES, _difference_rows),
        "audits.csv": (_AUDITS, _audit_rows),
        "growth.csv": (_GROWTH, _growth_rows),
        "runs.csv": (_RUNS, _run_rows),
        "curves.csv": (_CURVES, _curve_rows),
        "positions.csv": (["variant", "seed", "position", "nats"], _position_rows),
        "selection.csv": (_SELECTION, _selection_rows),
        "receipts.csv": (["variant", "field", "value"], _receipt_rows),
        "outside.csv": (OUTSIDE_COLUMNS, outside_rows),
        "sources_columns.csv": (shape.COLUMNS, shape.sources_rows),
        "pareto.csv": (figure_pareto.COLUMNS, figure_pareto.front_rows),
    }
    if any(study.searched for study in suite.studies):
        makers["rates.csv"] = (tuning.COLUMNS, tuning.trial_rows)
    if any(study.timed for study in suite.studies):
        makers["speed.csv"] = (measurements.COLUMNS, measurements.training_rows)
        makers["inference.csv"] = (inference.COLUMNS, inference.inference_rows)
    tables = {
        name: _csv(["study", *headers], ([study.name, *row] for study in suite.studies for row in rows(study)))
        for name, (headers, rows) in makers.items()
    }
    if side_by_side := budgets.budget_rows(suite):
        tables["budgets.csv"] = _csv(budgets.COLUMNS, side_by_side)
    return tables


def _difference_rows(study: StudyView) -> Iterator[list[Cell]]:
    floor = study.comparison["noise_floor"]
    for variant in study.challengers:
        found, row = variant.difference, variant.row
        told = [variant.name, study.comparison["baseline"], row["verdict"], row["reason"]]
        if found is None:  # quarantined: compared with nothing
            yield told + [None] * (len(_DIFFERENCES) - len(told))
            continue
        low, high = found["interval"] or (None, None)
        equal, pairs = found["equivalence"], len(found["seeds"])
        tests = [found["p"], found["p_holm"], found["p_sign_flip"], equal["margin"], equal["p"], equal["p_holm"]]
        power = [found[name] for name in ("correlation", "seeds_needed", "seeds_needed_for_noise_floor")]
        by_seed = json.dumps(dict(zip(found["seeds"], found["values"], strict=True)))
        yield [*told, found["mean"], low, high, *tests, *power, pairs, len(variant.runs) - pairs, floor, by_seed]


def _audit_rows(study: StudyView) -> Iterator[list[Cell]]:
    """A test that does not apply has neither passed nor failed."""
    for variant in study.everything:
        for finding in variant.audit["findings"]:
            passed = None if finding["passed"] is None else truth(finding["passed"])
            yield [variant.name, finding["gate"], finding["test"], passed, finding["saw"]]


def _growth_rows(study: StudyView) -> Iterator[list[Cell]]:
    for variant, run in _each_run(study):
        for row in run.growth:
            yield [variant.name, run.seed, *(row[name] for name in _GROWTH[2:])]


def _run_rows(study: StudyView) -> Iterator[list[Cell]]:
    for variant, run in _each_run(study):
        result = run.result
        validation = (result["validation"] or {}).get("bits_per_byte")
        scores = [run.value, final_score(run, "loss"), validation]
        counts = [result[name] for name in ("steps", "tokens", "flops", "seconds", "fingerprint")]
        yield [variant.name, run.seed, run.status, *scores, *counts, run.key]


def _curve_rows(study: StudyView) -> Iterator[list[Cell]]:
    for variant, run in _each_run(study):
        for row in run.validation:
            places = [row[name] for name in ("step", "tokens", "flops", "seconds", "loss", "bits_per_byte")]
            yield [variant.name, run.seed, *places]


def _position_rows(study: StudyView) -> Iterator[list[Cell]]:
    for variant, run in _each_run(study):
        if run.finished:
            for position, nats in enumerate(run.result["test"]["by_position"]):
                yield [variant.name, run.seed, position, nats]


def _selection_rows(study: StudyView) -> Iterator[list[Cell]]:
    for variant, run in _each_run(study):
        for row in run.validation:
            for layer, values in (row.get("selection") or {}).items():
                entropies = [values[name] for name in ENTROPIES]
                yield [variant.name, run.seed, row["step"], layer, *entropies, json.dumps(values["frequency"])]


def _receipt_rows(study: StudyView) -> Iterator[list[Cell]]:
    for variant in study.everything:
        for field, value in flat(variant.receipt):
            yield [variant.name, field, value]


def _each_run(study: StudyView) -> Iterator[tuple[VariantView, RunView]]:
    return ((variant, run) for variant in study.everything for run in variant.runs)


def _csv(headers: list[str], rows: Iterable[list[Cell]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(headers)
    writer.writerows([_harmless(cell) for cell in row] for row in rows)
    return text.getvalue()


def _harmless(cell: Cell) -> Cell:
    """Text that a spreadsheet would take for a formula gets an apostrophe."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "@", "\t", "\r") else cell
