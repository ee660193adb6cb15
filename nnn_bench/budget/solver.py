"""Choose the two knobs of a variant so that its body parameters meet the target within one per cent.

Models are counted on the meta device: exact, and free. The coarse knob (width) is the largest-effect one, and takes the value
at which the preferred proportions come closest to the target; the fine knob (feed-forward width) then takes up what is left.
Width alone cannot do it: at 200,000 parameters GPT-2 moves in steps of 12 %.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from nnn_bench.config.errors import UserError
from nnn_bench.config.schema import Knob, Variant
from nnn_bench.models.build import build
from nnn_bench.models.language_model import LanguageModel, ParameterCount

TOLERANCE = 0.01
_LARGEST = 1 << 20


@dataclass(frozen=True)
class Solution:
    """A variant with its knobs set: the resolved model tree, its parameters, its relative distance to the target."""

    model: dict[str, Any]
    knobs: dict[str, int]
    parameters: ParameterCount
    residual: float


def meta_model(model: dict[str, Any], *, vocabulary: int, context: int, file: str) -> LanguageModel:
    """The network without storage, for counting."""
    with torch.device("meta"):
        return build(model, vocabulary=vocabulary, context=context, file=file)


def solve(variant: Variant, target: int, *, vocabulary: int, context: int, file: str) -> Solution:
    """Set the knobs of `variant` for `target` body parameters.

    Raises `UserError` with the nearest sizes that can be reached when no setting comes within the tolerance.
    """
    coarse, fine = variant.knobs.coarse, variant.knobs.fine

    @cache
    def candidate(width: int, hidden: int) -> Solution:
        tree = _with_knobs(variant, {coarse.key: width, fine.key: hidden}, file)
        count = meta_model(tree, vocabulary=vocabulary, context=context, file=file).parameter_count()
        return Solution(tree, {coarse.key: width, fine.key: hidden}, count, (count.body - target) / target)

    def proportioned(width: int) -> Solution:
        return candidate(width, _rounded(fine, width * (fine.ratio or 1.0)))

    width = _smallest(coarse, lambda value: proportioned(value).parameters.body >= target)
    found: list[Solution] = []
    for value in (width, width - coarse.step):
        if value >= coarse.least:
            hidden = _smallest(fine, lambda size, value=value: candidate(value, size).parameters.body >= target)  # type: ignore[misc]
            found += [candidate(value, size) for size in (hidden, hidden - fine.step) if size >= fine.least]
    # Among settings within the tolerance the best-proportioned one wins, else the closest one is reported.
    within = [one for one in found if abs(one.residual) <= TOLERANCE]
    if within:
        return min(within, key=lambda one: (_distortion(one, variant), abs(one.residual)))
    closest = min(found, key=lambda one: abs(one.residual))
    raise UserError(
        f"cannot reach {target:,} body parameters within {TOLERANCE:.0%}; the nearest is {closest.parameters.body:,} "
        f"({', '.join(f'{key} = {value}' for key, value in closest.knobs.items())}); change body_parameters of the suite",
        file=file,
        key="knobs",
    )


def _smallest(knob: Knob, reached: Callable[[int], bool]) -> int:
    """The smallest value of the knob with `reached(value)`, which is monotone."""
    low, high = -(-knob.least // knob.step), 1
    high = max(high, low)
    while not reached(high * knob.step):
        low, high = high + 1, high * 2
        if high > _LARGEST:
            raise UserError(f"knob {knob.key!r} does not change the number of body parameters")
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle * knob.step) else (middle + 1, high)
    return low * knob.step


def _rounded(knob: Knob, value: float) -> int:
    return max(round(value / knob.step) * knob.step, -(-knob.least // knob.step) * knob.step)


def _distortion(solution: Solution, variant: Variant) -> float:
    """How far the fine knob had to leave its preferred multiple of the coarse knob."""
    coarse, fine = variant.knobs.coarse, variant.knobs.fine
    if fine.ratio is None:
        return 0.0
    preferred = solution.knobs[coarse.key] * fine.ratio
    return abs(solution.knobs[fine.key] - preferred) / preferred


def _with_knobs(variant: Variant, knobs: dict[str, int], file: str) -> dict[str, Any]:
    """The model tree with `knobs` (dotted key -> value) written into it."""
    tree = copy.deepcopy(variant.model_tree)
    for key, value in knobs.items():
        *path, last = key.split(".")
        place: Any = tree
        for part in path:
            place = place.get(part) if isinstance(place, dict) else None
            if not isinstance(place, dict):
                raise UserError(f"{key!r} does not lead to a component with options", file=file, key="knobs")
        place[last] = value
    return tree
