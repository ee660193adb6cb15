"""Choose the two knobs of a variant so that its body parameters meet the target within one per cent.

Models are counted on the meta device: exact, and free. The coarse knob (width) is the largest-effect one, and takes the value
at which the preferred proportions come closest to the target; the fine knob (feed-forward width) then takes up what is left.
Width alone cannot do it: at 200,000 parameters GPT-2 moves in steps of 12 %.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch

from nnn_bench.config.errors import UserError
from nnn_bench.config.schema import Knob, Knobs, Variant
from nnn_bench.models.build import build
from nnn_bench.models.language_model import LanguageModel, ParameterCount

TOLERANCE = 0.01
_LARGEST = 1 << 20  # steps of a knob


@dataclass(frozen=True)
class Solution:
    """A variant with its knobs set: the resolved model tree, its parameters, its relative distance to the target."""

    model: dict[str, Any]
    knobs: dict[str, int]
    parameters: ParameterCount
    residual: float


def meta_model(model: dict[str, Any], *, vocabulary: int, context: int, file: str) -> LanguageModel:
    """The network without storage, for counting; one that grows is in its last stage, where budgets match it."""
    with torch.device("meta"):
        made = build(model, vocabulary=vocabulary, context=context, file=file)
        while made.stage + 1 < made.stages:
            made.grow()
    return made


def solve(variant: Variant, target: int, *, vocabulary: int, context: int, file: str) -> Solution:
    """Set the knobs of `variant` for `target` body parameters.

    Raises `UserError` with the nearest sizes that can be reached when no setting comes within the tolerance.
    """
    if variant.knobs is None:
        raise UserError("has no knobs: nothing of it can be matched", file=file, key="model")
    turned = variant.knobs
    coarse, fine = turned.coarse, turned.fine

    @cache
    def candidate(width: int, hidden: int | None) -> Solution:
        knobs = {coarse.key: width} | ({fine.key: hidden} if fine is not None and hidden is not None else {})
        tree = _with_knobs(variant, knobs, file)
        try:
            count = meta_model(tree, vocabulary=vocabulary, context=context, file=file).parameter_count()
        except UserError as error:
            raise _with_hint(error, turned, knobs) from None
        return Solution(tree, knobs, count, (count.body - target) / target)

    def proportioned(width: int) -> Solution:
        return candidate(width, None if fine is None else _rounded(fine, width * (fine.ratio or 1.0)))

    def body(width: int, hidden: int) -> int:
        return candidate(width, hidden).parameters.body

    width = _smallest(coarse, lambda value: proportioned(value).parameters.body, target, file)
    found: list[Solution] = []
    for value in (width, width - coarse.step):
        if value < coarse.least:
            continue
        if fine is None:
            found.append(candidate(value, None))
        else:
            hidden = _on_a_line(fine, partial(body, value), target) or _smallest(
                fine, partial(body, value), target, file
            )
            found += [candidate(value, size) for size in (hidden, hidden - fine.step) if size >= fine.least]
    # Among settings within the tolerance the best-proportioned one wins, else the closest one is reported.
    within = [one for one in found if abs(one.residual) <= TOLERANCE]
    if within:
        return min(within, key=lambda one: (_distortion(one, turned), abs(one.residual)))
    closest = min(found, key=lambda one: abs(one.residual))
    raise UserError(
        f"cannot reach {target:,} body parameters within {TOLERANCE:.0%}; the nearest is {closest.parameters.body:,} "
        f"({', '.join(f'{key} = {value}' for key, value in closest.knobs.items())}); change body_parameters of the suite",
        file=file,
        key="knobs",
    )


def _smallest(knob: Knob, body: Callable[[int], int], target: int, file: str) -> int:
    """The smallest value of the knob with `body(value) >= target`; `body` is monotone.

    Raises `UserError` when no value gets there: the knob moves nothing, or the target is beyond the largest size tried.
    """
    least = low = -(-knob.least // knob.step)
    high = max(1, low)
    while (size := body(high * knob.step)) < target:
        low, high = high + 1, high * 2
        if high > _LARGEST:
            problem = f"knob {knob.key!r} does not change the number of body parameters"
            if size > body(least * knob.step):
                problem = (
                    f"cannot reach {target:,} body parameters; the largest size tried has {size:,} "
                    f"({knob.key} = {(low - 1) * knob.step}); change body_parameters of the suite"
                )
            raise UserError(problem, file=file, key="knobs")
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if body(middle * knob.step) >= target else (middle + 1, high)
    return low * knob.step


def _on_a_line(knob: Knob, body: Callable[[int], int], target: int) -> int | None:
    """What `_smallest` finds, in four counts instead of a dozen: a feed-forward width mostly adds the same with every step.

    None where the counts at the answer and one step below it are not on the line through the first two.
    """
    first = -(-knob.least // knob.step)
    least = body(first * knob.step)
    slope = body((first + 1) * knob.step) - least
    steps = -((least - target) // slope) if slope > 0 else 0
    if steps < 2 or first + steps > _LARGEST:
        return None
    value = (first + steps) * knob.step
    sizes = body(value), body(value - knob.step)
    return value if sizes == (least + steps * slope, least + (steps - 1) * slope) else None


def _rounded(knob: Knob, value: float) -> int:
    return max(round(value / knob.step) * knob.step, -(-knob.least // knob.step) * knob.step)


def _with_hint(error: UserError, turned: Knobs, knobs: dict[str, int]) -> UserError:
    """`error`, which may speak of a size the solver chose and the user never wrote: then say how that is steered."""
    message = error.message
    named = {"coarse": turned.coarse, "fine": turned.fine}
    for name, knob in named.items():
        if knob is None:
            continue
        own = error.key == f"model.{knob.key}"  # the range of the option itself: no step mends that
        if not own and knob.step > 1 and re.search(rf"\b{knobs[knob.key]}\b", error.message):
            message += f"; the {name} knob tries multiples of {knob.step}: set knobs.{name}.step accordingly"
    return UserError(message, file=error.file, key=error.key)


def _distortion(solution: Solution, turned: Knobs) -> float:
    """How far the fine knob had to leave its preferred multiple of the coarse knob."""
    coarse, fine = turned.coarse, turned.fine
    if fine is None or fine.ratio is None:
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
