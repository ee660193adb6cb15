"""The learning rates: every trial of every variant, and which rate each trains at."""

from __future__ import annotations

from typing import Any

from nnn_bench.report.collect import StudyView, VariantView
from nnn_bench.report.numbers import NONE, fixed, percent
from nnn_bench.report.shown import Cell, Shown

COLUMNS = ["variant", "factor", "learning_rate", "steps", "validation_nats", "statuses", "extension", "chosen"]


def trial_rows(study: StudyView) -> list[list[Cell]]:
    """One row under `COLUMNS` for each trial."""
    rows: list[list[Cell]] = []
    for variant in study.searched:
        ledger = _ledger(variant)
        for trial in ledger["trials"]:
            marks = [trial["factor"] in ledger["extended"], trial["factor"] == ledger["chosen"]["factor"]]
            told = ["true" if mark else "false" for mark in marks]
            numbers = [trial["factor"], trial["learning_rate"], trial["steps"], trial["loss"]]
            rows.append([variant.name, *numbers, " ".join(trial["statuses"]), *told])
    return rows


def ledgers(study: StudyView) -> Shown | None:
    """What each search found; None where rates are declared."""
    rows = []
    for variant in study.searched:
        ledger = _ledger(variant)
        chosen, trials = ledger["chosen"], ledger["trials"]
        lost = sum(trial["loss"] is None for trial in trials)
        best = next(trial["loss"] for trial in trials if trial["factor"] == chosen["factor"])
        at_declared = next(trial["loss"] for trial in trials if trial["factor"] == 1)
        gain = NONE if best is None or at_declared is None else fixed(at_declared - best)
        rates = [_rate(ledger["declared"]), f"× {chosen['factor']:g}", _rate(chosen["learning_rate"])]
        edge = "yes" if ledger["at_edge"] else "no"
        rows.append([variant.name, str(len(trials)), *rates, fixed(best), gain, edge, str(lost)])
    headers = [
        "variant",
        "trials",
        "declared rate",
        "factor",
        "chosen rate",
        "validation loss, nats",
        "gain over the declared, nats",
        "at an edge",
        "diverged trials",
    ]
    return Shown(headers, rows) if rows else None


def rates_note(study: StudyView) -> str:
    """Whether all searched alike, and what the search does not tell."""
    counts = {variant.name: len(_ledger(variant)["trials"]) for variant in study.searched}
    edge = [variant.name for variant in study.searched if _ledger(variant)["at_edge"]]
    least, most = min(counts.values()), max(counts.values())
    same = (
        f"Every variant had {most} trials"
        if least == most
        else "Not the same search for all: " + ", ".join(f"{name} had {count} trials" for name, count in counts.items())
    )
    length = max(trial["steps"] for variant in study.searched for trial in _ledger(variant)["trials"])
    share = length / study.baseline.receipt["steps"]
    said = (
        f"{same}, each a short run of at most {length} steps ({percent(share, 0)} of a run of {study.baseline.name}), scored on "
        "validation data; the test text was read once, after the rate was chosen."
    )
    if any(_ledger(variant)["extended"] for variant in study.searched):
        said += " A best at an edge of the grid gave everyone one trial more beyond that edge."
    if edge:
        verb = "is" if len(edge) == 1 else "are"
        said += f" {', '.join(edge)} {verb} still at an edge: a better rate may lie beyond."
    return said


def _ledger(variant: VariantView) -> dict[str, Any]:
    assert variant.rates is not None
    return variant.rates


def _rate(rate: float) -> str:
    return f"{rate:.2g}"
