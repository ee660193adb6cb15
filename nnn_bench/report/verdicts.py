"""The verdict of each variant in words, with everything it rests on: tables of differences, and sentences about them.

Verdicts are the comparison's (`nnn_bench/statistics/verdict.py`); nothing is judged here.
"""

from __future__ import annotations

from typing import Any

from nnn_bench.report.audits import quarantine_reason, quarantine_tests
from nnn_bench.report.collect import StudyView, VariantView
from nnn_bench.report.numbers import NONE, fixed, percent, probability, signed, signed_interval, whole
from nnn_bench.report.shown import Shown


def verdict_words(variant: VariantView) -> str:
    """The verdict, for tables; for a variant in quarantine with the tests it failed."""
    if variant.quarantined:
        return quarantine_tests(variant)
    return str(variant.row["verdict"] or "baseline")


def differences(study: StudyView) -> Shown:
    """Verdicts and paired differences to the baseline; for a variant in quarantine the tests it failed."""
    rows = []
    for variant in study.challengers:
        found = variant.difference
        if found is None:
            rows.append([variant.name, verdict_words(variant), *[NONE] * 4, variant.row["reason"]])
            continue
        pairs = f"{len(found['seeds'])} of {len(variant.runs)}"
        size = signed_interval(found["interval"]) or NONE
        numbers = [signed(found["mean"]), size, probability(found["p_holm"]), pairs]
        rows.append([variant.name, verdict_words(variant), *numbers, variant.row["reason"]])
    headers = ["variant", "verdict", "difference, bits per byte", "95 % interval", "p (Holm)", "pairs", "why"]
    return Shown(headers, rows, texts=(0, 1, 6))


def evidence(study: StudyView) -> Shown | None:
    """What the verdicts rest on, and what more seeds would show; None where nothing was compared."""
    rows = []
    for variant in study.challengers:
        found = variant.difference
        if found is not None:
            equal = found["equivalence"]
            tests = [found["p"], found["p_holm"], found["p_sign_flip"], equal["p"], equal["p_holm"]]
            seeds = [_seeds(found["seeds_needed"]), _seeds(found["seeds_needed_for_noise_floor"])]
            rows.append([variant.name, *(probability(p) for p in tests), fixed(found["correlation"], 2), *seeds])
    headers = [
        "variant",
        "p, paired t",
        "p (Holm)",
        "p, sign-flip",
        "p, equivalence",
        "p, equivalence (Holm)",
        "correlation of seeds",
        "seeds for this difference",
        "seeds for the noise floor",
    ]
    return Shown(headers, rows) if rows else None


def evidence_notes(study: StudyView) -> list[str]:
    """How the columns of `evidence` are to be read, with the study's own numbers."""
    floor, margin, share = (study.comparison[name] for name in ("noise_floor", "margin", "margin_share"))
    name = study.baseline.name
    luck = f"two standard deviations of {name} over its seeds"
    return [
        "The paired t test decides, corrected by Holm for the number of variants compared. The exact sign-flip test, which "
        "supposes nothing about the shape of the noise, is printed from 6 seeds on; below that it cannot reach 0.05.",
        f"Equivalent means: two one-sided tests reject that a variant is better or worse by {percent(share, 0)} of {name}’s bits "
        f"per byte ({fixed(margin, 4)}) or more. No evidence means that neither a difference nor equivalence was shown.",
        f"Noise floor: {fixed(floor, 4)} bits per byte, {luck}; one run may differ from another by as much by luck alone."
        if floor is not None
        else f"The noise floor, {luck}, needs two finished seeds.",
        "The last columns say how many seeds would find a difference as large as the one seen, or as the noise floor, four times "
        "in five. The higher seeds correlate with those of the baseline, the fewer are needed.",
    ]


def variant_sentence(study: StudyView, variant: VariantView, *, barred: bool) -> str:
    """What was found of one variant beside the baseline. `barred`: nothing may be concluded from the study."""
    if variant.quarantined:
        return quarantine_sentence(variant)
    found = variant.difference
    assert found is not None
    name, baseline, word = variant.name, study.baseline.name, variant.row["verdict"]
    size = f"{signed(found['mean'])} {signed_interval(found['interval'])}".rstrip()
    lost = f"{variant.row['statuses'].count('diverged')} of its {len(variant.runs)} seeds diverged"
    if not found["seeds"]:
        said = f"{name} has no seed that can be paired with {baseline}"
        said += f"; {lost}" if word == "unstable" else ""
    elif word == "unstable":
        said = f"{name} is unstable: {lost}; over the others it differs from {baseline} by {size}"
    elif barred:
        said = f"{name} differs by {size}"
    elif len(found["seeds"]) == 1:
        said = f"{name} differs by {size} at the one seed that can be paired, which says nothing about chance"
    else:
        said = _decided(found, name, baseline, word)
    base = study.baseline.mean
    if variant.mean is not None and variant.mean >= study.floor and base is not None and base < study.floor:
        said += "; it does not get below the trigram floor"
    return f"{said}."


def quarantine_sentence(variant: VariantView) -> str:
    return f"{variant.name} is quarantined and not ranked: {quarantine_reason(variant)}."


def _decided(found: dict[str, Any], name: str, baseline: str, word: str) -> str:
    """A verdict as a sentence without its full stop."""
    ends, p, margin = signed_interval(found["interval"]), _p(found["p_holm"]), fixed(found["equivalence"]["margin"])
    if word in ("better", "worse"):
        said = (
            f"{name} is {word} by {fixed(abs(found['mean']))} bits per byte (paired 95 % interval {ends}, Holm p {p})"
        )
        near = found["equivalence"]["p_holm"]
        return said + (f", yet within the margin of {margin}" if near is not None and near < 0.05 else "")
    size = f"{signed(found['mean'])} {ends}"
    if word == "equivalent":
        return f"{name} is equivalent to {baseline}: the paired difference, {size}, is within the margin of {margin}"
    said = f"no evidence that {name} differs from {baseline}, nor that it is equivalent (paired difference {size}, Holm p {p})"
    needed = found["seeds_needed"]
    return said + (f"; a difference of this size asks for {whole(needed)} seeds" if needed else "")


def _p(p: float | None) -> str:
    return "unknown" if p is None else probability(p)


def _seeds(needed: int | None) -> str:
    return NONE if needed is None else whole(needed)
