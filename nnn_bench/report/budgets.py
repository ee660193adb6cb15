"""The same variants under several budgets, side by side: what was equal, how nearly, and which equalities exclude each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nnn_bench.report.collect import StudyView, SuiteView, VariantView
from nnn_bench.report.numbers import fixed, percent, power, signed, whole
from nnn_bench.report.shown import Cell, Shown

COLUMNS = ["variant", "budget", "study", "bits_per_byte", "difference", "verdict", "steps", "tokens", "training_flops"]
COLUMNS += ["tokens_to_baseline", "unit", "amount", "spent", "residual"]
ORDER = ("tokens", "flops", "time")
WORDS = {"tokens": "tokens", "flops": "FLOPs", "time": "time"}
_SAME = 0.02  # what differs by less is called equal: two budgets met within 1 %


def families(suite: SuiteView) -> list[list[StudyView]]:
    """Groups of studies that differ in their budget alone, tokens first; only those with two budgets or more."""
    found: dict[str, dict[str, StudyView]] = {}
    for study in suite.studies:
        found.setdefault(study.alike, {}).setdefault(study.budget, study)
    return [[group[name] for name in ORDER if name in group] for group in found.values() if len(group) > 1]


def budget_rows(suite: SuiteView) -> list[list[Cell]]:
    """One row under `COLUMNS` for each variant under each budget of each family."""
    return [_row(study, variant) for family in families(suite) for study in family for variant in study.variants]


def side_by_side(family: list[StudyView]) -> Shown:
    """Bits per byte, difference and verdict of each variant under each budget, and the text it sees there."""
    first = family[0]
    rows = []
    for variant in first.variants:
        cells = [variant.name]
        for study in family:
            same = _same(study, variant)
            mean = None if same.difference is None else same.difference["mean"]
            cells += [fixed(same.mean), signed(mean), same.row["verdict"] or "baseline"]
            cells += [] if study.budget == "tokens" else [f"× {tokens_ratio(study, same):.2f}"]
        rows.append(cells)
    headers = ["variant"]
    for study in family:
        under = f"equal {WORDS[study.budget]}"
        headers += [f"bits per byte, {under}", f"difference, {under}", f"verdict, {under}"]
        headers += [] if study.budget == "tokens" else [f"tokens seen, {under}"]
    texts = tuple(index for index, header in enumerate(headers) if header.startswith(("variant", "verdict")))
    return Shown(headers, rows, texts)


def equal(family: list[StudyView]) -> Shown:
    """What each budget made equal, how large it was, the residual that is farthest from none, and what then differs."""
    rows = []
    for study in family:
        met = {variant.name: _met(variant) for variant in study.variants if _met(variant)}
        # the baseline is the same run under each budget, so under FLOPs and time the others say what it spends
        held = (
            met
            if study.budget == "tokens" or len(met) < 2
            else {n: m for n, m in met.items() if n != study.baseline.name}
        )
        worst = max(held, key=lambda name: abs(held[name]["residual"]))
        amount = _amount(held[worst]["amount"], held[worst]["unit"])
        farthest = f"{percent(met[worst]['residual'])} ({worst})"
        tokens = _spread(study, lambda variant: float(variant.receipt["tokens"]))
        flops = _spread(study, lambda variant: variant.training_flops)
        rows.append([WORDS[study.budget], _UNITS[study.budget], amount, farthest, tokens, flops])
    headers = [
        "budget",
        "what is equal",
        "amount for each run",
        "largest residual",
        "tokens differ by",
        "FLOPs differ by",
    ]
    return Shown(headers, rows, texts=(0, 1))


def exclusions(family: list[StudyView]) -> list[str]:
    """One sentence for each budget under which another equality cannot hold, with the variant that shows it most."""
    return [said for study in family if (said := _exclusion(study))]


def tokens_ratio(study: StudyView, variant: VariantView) -> float:
    """Tokens that a run of the variant sees, to those of the baseline's."""
    ours, theirs = variant.receipt["tokens"], study.baseline.receipt["tokens"]
    return float(ours / theirs)


_UNITS = {
    "tokens": "predicted tokens",
    "flops": "training FLOPs, declared",
    "time": "training seconds by step times measured alone on the machine",
}


def _exclusion(study: StudyView) -> str | None:
    base, others = study.baseline, [variant for variant in study.variants if not variant.is_baseline]

    def cost(variant: VariantView) -> float:
        """Arithmetic of a token, to the baseline's."""
        per_token = [v.training_flops / v.receipt["tokens"] for v in (variant, base)]
        return float(per_token[0] / per_token[1])

    if not others:
        return None
    if study.budget == "tokens":
        most = max(others, key=lambda variant: _apart(cost(variant)))
        if _apart(cost(most)) < _SAME:
            return None
        return (
            f"Under equal tokens the arithmetic is not equal: {most.name} spends {percent(cost(most), 0)} of {base.name}’s FLOPs "
            "on the same text."
        )
    most = max(others, key=lambda variant: _apart(tokens_ratio(study, variant)))
    seen = tokens_ratio(study, most)
    if _apart(seen) < _SAME:
        return None
    if study.budget == "flops":
        return (
            f"Under equal FLOPs the text is not equal: {most.name} spends {percent(cost(most), 0)} of {base.name}’s FLOPs on a "
            f"token, so it sees {_times(seen)} the tokens."
        )
    return (
        f"In equal time neither text nor arithmetic is equal: a step of {most.name} takes {_times(1 / seen)} as long as one of "
        f"{base.name}, so it sees {_times(seen)} the tokens and spends {percent(seen * cost(most), 0)} of the FLOPs."
    )


def _row(study: StudyView, variant: VariantView) -> list[Cell]:
    receipt, met = variant.receipt, _met(variant)
    mean = None if variant.difference is None else variant.difference["mean"]
    told = [variant.mean, mean, variant.row["verdict"], receipt["steps"], receipt["tokens"], variant.training_flops]
    spent = [met.get(name) for name in ("unit", "amount", "spent", "residual")]
    return [variant.name, study.budget, study.name, *told, tokens_ratio(study, variant), *spent]


def _same(study: StudyView, variant: VariantView) -> VariantView:
    return next(other for other in study.variants if other.name == variant.name)


def _met(variant: VariantView) -> dict[str, Any]:
    found: dict[str, Any] = variant.receipt["met"] or {}
    return found


def _amount(amount: float, unit: str) -> str:
    return power(amount) if unit == "FLOPs" else f"{fixed(amount, 1)} s" if unit == "seconds" else whole(amount)


def _spread(study: StudyView, value: Callable[[VariantView], float]) -> str:
    """The largest over the smallest of a number that every variant has."""
    values = [value(variant) for variant in study.variants]
    factor = max(values) / min(values)
    return "nothing" if factor < 1 + _SAME else f"{factor:.2f} times"


def _apart(ratio: float) -> float:
    """How far a ratio is from 1, whichever side."""
    return max(ratio, 1 / ratio) - 1


def _times(ratio: float) -> str:
    return f"{ratio:.2g} times" if ratio < 10 else f"{ratio:.0f} times"
