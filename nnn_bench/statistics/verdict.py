"""What may be said of a variant beside the baseline, in one word, and why.

A verdict is a function of a row of the comparison and of nothing else, so that it can be given again from what is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nnn_bench.statistics.paired import LEVEL

WORDS = ("better", "worse", "equivalent", "no evidence", "unstable", "quarantined")


@dataclass(frozen=True)
class Verdict:
    """One of `WORDS`, or None for a row that is compared with nothing; and the reason, part of a sentence."""

    word: str | None
    reason: str


def verdict(row: Mapping[str, Any], *, baseline: bool = False, barred: str | None = None) -> Verdict:
    """The verdict of `row`. `barred` says why nothing may be concluded from the study, if so.

    What was found of the variant alone comes first (a failed audit, a seed that diverged). Then Holm's p of the paired t test
    decides, with the sign of the mean; only where it finds no difference does Holm's p of the equivalence test. A difference that
    is real and yet within the margin keeps its word, and the reason says so.
    """
    if not row["audit"]["passed"]:
        return Verdict("quarantined", f"failed the audit: {', '.join(row['audit']['failed'])}")
    if diverged := row["statuses"].count("diverged"):
        return Verdict("unstable", f"{diverged} of {len(row['statuses'])} seeds diverged")
    if baseline:
        return Verdict(None, "is the baseline")
    if not row["matched"]:
        return Verdict(None, "is matched in nothing but the text")
    if barred is not None:
        return Verdict("no evidence", barred)
    return _decided(row["difference"])


def _decided(difference: Mapping[str, Any]) -> Verdict:
    pairs = len(difference["values"])
    if pairs < 2:
        return Verdict("no evidence", "one pair says nothing about chance" if pairs else "no seed can be paired")
    mean, p = difference["mean"], difference["p_holm"]
    if p is None:
        return Verdict("no evidence", "the difference is the same at every seed, which leaves no spread to judge by")
    margin, p_equal = difference["equivalence"]["margin"], difference["equivalence"]["p_holm"]
    equal = p_equal < LEVEL
    within = f"within the margin of {margin:.4f} (equivalence, Holm p {_shown(p_equal)})"
    if p < LEVEL:
        side = "lower" if mean < 0 else "higher"
        said = f"{side} by {abs(mean):.4f} bits per byte (Holm p {_shown(p)})"
        return Verdict("better" if mean < 0 else "worse", f"{said}, a real difference, yet {within}" if equal else said)
    if equal:
        return Verdict("equivalent", f"{within}; no difference found (Holm p {_shown(p)})")
    return Verdict(
        "no evidence",
        f"of a difference (Holm p {_shown(p)}) or that it is within the margin of {margin:.4f} (Holm p {_shown(p_equal)})",
    )


def _shown(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "below 0.001"
