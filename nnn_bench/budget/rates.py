"""Which learning rates are tried, and which is chosen: the rules of the search, on plain numbers.

Every variant of a group gets the same trials: the factors of the suite's grid times the rate it declares. When the best of any
variant lies at an edge of the grid, every variant gets one trial more beyond that edge, and no further one: who then still is at
an edge is told so. A trial that diverged counts as infinitely bad and stays in the ledger.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

Trial = dict[str, Any]


def extension(factors: Sequence[float], group: Iterable[Sequence[Trial]]) -> list[float]:
    """The factors everyone tries besides: one beyond each edge of the grid at which the best of any variant lies."""
    best = {one["factor"] for trials in group if (one := best_of(trials)) is not None}
    ratio = factors[1] / factors[0]
    below = [factors[0] / ratio] if factors[0] in best else []
    return below + ([factors[-1] * ratio] if factors[-1] in best else [])


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The trial with the lowest mean validation loss; the lower rate of two equal ones; None where all diverged."""
    known = [trial for trial in trials if trial["loss"] is not None and math.isfinite(trial["loss"])]
    return min(known, key=lambda trial: (trial["loss"], trial["factor"]), default=None)


def ledger(variant: str, declared: float, first: Sequence[Trial], more: Sequence[Trial]) -> dict[str, Any]:
    """All trials of a variant in the order of their rates, and the rate they choose: the declared one where all diverged."""
    trials = sorted([*first, *more], key=lambda trial: trial["factor"])
    best = best_of(trials)
    factor = best["factor"] if best else 1.0
    return {
        "variant": variant,
        "declared": declared,
        "trials": trials,
        "extended": [trial["factor"] for trial in more],
        "chosen": {"factor": factor, "learning_rate": declared * factor},
        "at_edge": best is not None and factor in (trials[0]["factor"], trials[-1]["factor"]),
    }
