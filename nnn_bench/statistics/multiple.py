"""Holm's correction: several variants are compared with one baseline, and each comparison may err.

S. Holm, "A simple sequentially rejective multiple test procedure" (1979). The chance of any false rejection among the family
stays at the level, however the tests depend on one another; and here they do, since all share the baseline's runs.
"""

from __future__ import annotations

from collections.abc import Mapping


def holm(p_values: Mapping[str, float | None], *, family: int) -> dict[str, float | None]:
    """Each name's p value, adjusted for a family of `family` comparisons, as many as there are names or more.

    How large a family is, is settled by the study and not by what came out of it: what could not be tested (p is None, or a
    name that is not here at all) counts as if its p were 1.
    """
    adjusted: dict[str, float | None] = dict.fromkeys(p_values)
    least = 0.0
    for place, (p, name) in enumerate(sorted((p, name) for name, p in p_values.items() if p is not None)):
        least = max(least, min(1.0, (family - place) * p))
        adjusted[name] = least
    return adjusted
