"""The pages: what was collected, put into templates that escape everything they are given.

The HTML page needs nothing beside itself: styles and figures are inside, there is no script, and its content policy
forbids the browser to load anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from nnn_bench.report.audits import NOT_APPLICABLE, audit_rows, failures, whole_mark
from nnn_bench.report.budgets import equal, exclusions, families, side_by_side
from nnn_bench.report.collect import StudyView, SuiteView, VariantView
from nnn_bench.report.figure_pareto import frontier_table
from nnn_bench.report.figure_style import Drawing, themed
from nnn_bench.report.finding import (
    equalities,
    findings,
    inequalities,
    limits,
    sample_words,
    warning,
)
from nnn_bench.report.headline import COLUMNS, HEADERS, headline_cells
from nnn_bench.report.inference import card, card_note, inference
from nnn_bench.report.measurements import machine_note, training
from nnn_bench.report.outside import outside
from nnn_bench.report.shape import shape_note, sources_shape
from nnn_bench.report.shown import Shown, markdown, markdown_text
from nnn_bench.report.tables import growth, headline_rows, runs, selection
from nnn_bench.report.target import target_note, target_title
from nnn_bench.report.tuning import ledgers, rates_note
from nnn_bench.report.verdicts import differences, evidence, evidence_notes
from nnn_bench.report.weights import density, occupancy
from nnn_bench.statistics.records import flat

TEMPLATES = Path(__file__).with_name("templates")


def html_page(suite: SuiteView, drawings: dict[str, list[Drawing]], tables: list[str]) -> str:
    """`index.html`. `drawings` holds the figures of each study by its name, `tables` the names of the CSV files."""
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    return _environment().get_template("index.html.j2").render(
        suite=suite,
        studies=[_study(suite, study, drawings[study.name]) for study in suite.studies],
        budgets=_budgets(suite),
        tables=tables,
        style=Markup(style),
        headline_headers=HEADERS,
    )  # fmt: skip


def markdown_page(suite: SuiteView, drawings: dict[str, list[Drawing]]) -> str:
    """`report.md`, which names the figures by their files."""
    studies = [_study(suite, study, drawings[study.name]) for study in suite.studies]
    text = _environment().get_template("report.md.j2").render(suite=suite, studies=studies, budgets=_budgets(suite))
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=lambda name: name is None or not name.endswith(".md.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(md=markdown_text, md_table=markdown, md_block=_markdown_block)
    environment.filters.update(sentence=_sentence, breakable=_breakable)
    return environment


def _study(suite: SuiteView, study: StudyView, drawings: list[Drawing]) -> dict[str, Any]:
    """Everything the templates show of a study, as texts and tables."""
    rows = _headline(study)
    content = {
        "name": study.name,
        "title": study.comparison["title"],
        "question": study.comparison["question"],
        "baseline": study.baseline.name,
        "distance": target_note(study),
        "distance_title": target_title(study),
        "warning": warning(study),
        "findings": findings(study),
        "equalities": equalities(study),
        "inequalities": inequalities(study),
        "headline": rows,
        "headline_table": Shown(HEADERS, [row["cells"] for row in rows], texts=(0, len(HEADERS) - 1)),
        "quarantined": [variant.name for variant in study.quarantined],
        "outside": outside(study),
        "outside_summaries": [(variant.name, variant.summary, variant.source) for variant in study.outside],
        "differences": differences(study),
        "evidence": evidence(study),
        "evidence_notes": evidence_notes(study),
        "drawings": _grouped(drawings),
        "all_drawings": drawings,
        "growth": growth(study),
        "audits": audit_rows(study),
        "audits_table": _audits_table(study),
        "failures": failures(study),
        "selection": selection(study),
        "density": density(study),
        "occupancy": occupancy(study),
        "variants": [_variant(suite, variant) for variant in study.variants],
        "samples": _samples(study),
        "shape": sources_shape(study),
        "shape_note": shape_note(study),
        "rates": _rates(suite, study),
        "speed": _speed(suite, study),
        "frontier": frontier_table(study),
        "environment": _study_environment(study),
        "limits": limits(study),
        "places": {variant.name: variant.place for variant in study.variants},
    }
    content["sections"] = [
        (anchor, title)
        for anchor, title, there in (
            ("headline", "Result", True),
            ("outside", "Outside the budget", bool(content["outside"])),
            ("differences", "Differences", True),
            ("audits", "Audits", True),
            ("curves", "Learning", True),
            ("pareto", "Cost", bool(content["frontier"])),
            ("speed", "Speed and memory", bool(content["speed"])),
            ("rates", "Learning rates", bool(content["rates"])),
            ("growth", "Growth", bool(content["growth"])),
            ("selection", "Selection", bool(content["selection"])),
            ("weights", "Weights", bool(content["density"] or content["occupancy"])),
            ("receipts", "Receipts", True),
            ("samples", "Samples", bool(content["samples"])),
            ("shape", "In the sources’ columns", True),
            ("environment", "Environment", True),
            ("limits", "Limits", True),
        )
        if there
    ]
    return content


def _budgets(suite: SuiteView) -> list[dict[str, Any]]:
    """What the templates show of each group of studies that differ in their budget alone."""
    return [
        {
            "dataset": family[0].comparison["dataset"],
            "studies": [(study.name, study.comparison["title"]) for study in family],
            "table": side_by_side(family),
            "equal": equal(family),
            "exclusions": exclusions(family),
            "places": {variant.name: variant.place for variant in family[0].variants},
        }
        for family in families(suite)
    ]


def _rates(suite: SuiteView, study: StudyView) -> dict[str, Any] | None:
    """The search for learning rates; only its place where an earlier study shows the same one."""
    if not study.searched:
        return None
    first = suite.shown_by(study, "rates")
    return {"shown_by": _elsewhere(first, study), "table": ledgers(study), "note": rates_note(study)}


def _speed(suite: SuiteView, study: StudyView) -> dict[str, Any] | None:
    """What was measured alone on the machine; only its place where an earlier study shows the same."""
    if not study.timed:
        return None
    first = suite.shown_by(study, "measured")
    tables = {"training": training(study), "inference": inference(study), "card": card(study)}
    return {"shown_by": _elsewhere(first, study), "note": machine_note(study), "card_note": card_note(study), **tables}


def _elsewhere(first: StudyView, study: StudyView) -> dict[str, str] | None:
    return None if first.name == study.name else {"name": first.name, "title": first.comparison["title"]}


def _headline(study: StudyView) -> list[dict[str, Any]]:
    """Rows of the headline table: ready cells, the colour's place, and the marks beside the name."""
    by_name = {variant.name: variant for variant in study.variants}
    floor = f"{study.comparison['ladder']['floor_order']}-gram"
    rows = []
    for row in headline_rows(study):
        texts = {"study": study.name} | {
            column: "" if cell is None else str(cell) for column, cell in zip(COLUMNS, row, strict=True)
        }
        variant = by_name.get(texts["name"]) if texts["kind"] == "variant" else None
        tags = []
        if variant is None:
            tags += [{"text": "floor", "bad": False}] if texts["name"] == floor else []
        else:
            tags += [{"text": "baseline", "bad": False}] if variant.is_baseline else []
            tags += [{"text": "quarantined", "bad": True}] if variant.quarantined else []
            lost = len(variant.runs) - len(variant.finished)
            tags += [{"text": f"{lost} diverged", "bad": True}] if lost else []
        place = variant.place if variant else None
        mark = whole_mark(variant) if variant else NOT_APPLICABLE
        shown = {"kind": texts["kind"], "cells": headline_cells(texts), "place": place, "tags": tags, "mark": mark}
        rows.append(shown | {"quarantined": variant is not None and variant.quarantined})
    return rows


def _audits_table(study: StudyView) -> Shown:
    """The marks of the audits in words, for Markdown."""
    rows = [[row.test, row.holds, *(mark.word for mark in row.marks)] for row in audit_rows(study)]
    headers = ["test", "what holds when it passes", *(variant.name for variant in study.variants)]
    return Shown(headers, rows, texts=tuple(range(len(headers))))


def _grouped(drawings: list[Drawing]) -> dict[str, list[dict[str, Any]]]:
    names = ("standing", "audits", "learning", "selection", "pareto", "speed", "tuning")
    groups: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for drawing in drawings:
        shown = {"heading": drawing.heading, "caption": drawing.caption, "inline": Markup(themed(drawing.svg))}
        groups[drawing.group].append(shown)
    return groups


def _variant(suite: SuiteView, variant: VariantView) -> dict[str, Any]:
    return {
        "name": variant.name,
        "place": variant.place,
        "summary": variant.summary,
        "source": variant.source,
        "runs": runs(variant),
        "receipt": _receipt(variant),
        "command": f"nnn-bench run {suite.name} {variant.name}",
    }


def _samples(study: StudyView) -> list[tuple[str, list[tuple[VariantView, str, str]]]]:
    """(prompt, what each variant made of it and how new that is), from the first finished seed of each variant."""
    found: dict[str, list[tuple[VariantView, str, str]]] = {}
    for variant in study.everything:
        for sample in variant.finished[0].result["samples"] if variant.finished else ():
            told = (variant, sample["text"], sample_words(sample))
            found.setdefault(sample["prompt"], []).append(told)
    return [(prompt or "(none)", texts) for prompt, texts in found.items()]


def _receipt(variant: VariantView) -> list[tuple[str, str]]:
    """Name and value of everything that decided a variant's numbers: seeds, budget, data, source, environment."""
    seeds = ", ".join(str(run.seed) for run in variant.runs)
    fields = [(name, str(value)) for name, value in flat(variant.receipt)]
    environment = [(f"environment.{name}", value) for name, value in _environments([variant])]
    return [("seeds", seeds), *fields, *environment]


def _study_environment(study: StudyView) -> list[tuple[str, str]]:
    """Data and machines of a study, named for people."""
    data = [(name, study.comparison[name]) for name in ("dataset", "tokenizer")]
    return data + [(name.replace("_", " "), value) for name, value in _environments(study.variants)]


def _environments(variants: Iterable[VariantView]) -> list[tuple[str, str]]:
    """Name and value of each fact about the machines; every value that occurred, where runs differ."""
    found: dict[str, list[str]] = {}
    for variant in variants:
        for run in variant.runs:
            for name, value in flat(run.result["environment"]):
                if str(value) not in found.setdefault(name, []):
                    found[name].append(str(value))
    return [(name, ", ".join(values)) for name, values in found.items()]


def _sentence(text: str) -> str:
    """A summary as a sentence of its own."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _breakable(name: str) -> Markup:
    """A long name that may go on in the next line after each underscore."""
    return Markup("_<wbr>").join(name.split("_"))


def _markdown_block(text: str) -> str:
    """A code block whose fence is longer than any run of backticks in the text."""
    longest = max((len(ticks) for ticks in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"
