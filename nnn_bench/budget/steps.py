"""How many optimizer steps a budget buys.

`tokens`: as many whole steps as cover the suite's tokens, the same number for every variant. `flops`: as many as spend the
training FLOPs the baseline declares for those. `time`: as many as take, at the step times the speed lane measured, the seconds
the baseline takes for them; a run so planned is as deterministic as any other. Two equalities cannot hold at once: a network that
spends a fifth of the FLOPs on a token sees five times the tokens under the second budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from nnn_bench.config.errors import UserError
from nnn_bench.config.expansion import RunSpec
from nnn_bench.config.validation import Settings
from nnn_bench.models.language_model import LanguageModel

TOLERANCE = 0.01


class Measured(Settings):
    """What was found by training or timing before a plan could be made. A field that a spec does not ask for stays None."""

    learning_rate: float | None = Field(default=None, description="the best of the trials")
    trials: int | None = Field(default=None, description="how many there were")
    step_seconds: float | None = Field(default=None, description="of the baseline's step, on an idle machine")
    step_ratio: float | None = Field(default=None, description="of this variant's step to the baseline's")


@dataclass(frozen=True)
class Spent:
    """What the baseline spends on the suite's tokens."""

    steps: int
    flops: float


@dataclass(frozen=True)
class Budget:
    """Steps, and what they spend of the amount that was asked for."""

    steps: int
    unit: str
    amount: float
    spent: float

    @property
    def residual(self) -> float:
        return self.spent / self.amount - 1

    @property
    def plain(self) -> dict[str, Any]:
        return {"unit": self.unit, "amount": self.amount, "spent": self.spent, "residual": self.residual}


def met(spec: RunSpec, model: LanguageModel, measured: Measured, anchor: Spent | None) -> Budget:
    """The steps of `spec`, whose network on the meta device is `model`; `anchor` is None under the budget of tokens.

    Raises `UserError` where a step is too large a part of a budget of FLOPs or time to meet it within 1 %.
    """
    scale = spec.scale
    per_step = scale.batch * scale.context
    if anchor is None:
        steps = math.ceil(scale.tokens / per_step)
        return Budget(steps, "tokens", scale.tokens, steps * per_step)
    if spec.budget == "flops":
        budget = _nearest(
            "FLOPs", anchor.flops, lambda steps: model.training_flops(steps * per_step, scale.context).total
        )
    else:
        assert measured.step_seconds is not None and measured.step_ratio is not None, "time asks for measured steps"
        step = measured.step_seconds * measured.step_ratio
        budget = _nearest("seconds", anchor.steps * measured.step_seconds, lambda steps: steps * step)
    if abs(budget.residual) > TOLERANCE:
        raise UserError(
            f"one step of {spec.variant} takes {budget.spent / budget.steps / budget.amount:.1%} of the budget of "
            f"{budget.amount:.3g} {budget.unit}, which it cannot meet within {TOLERANCE:.0%}; raise it",
            key="language.tokens",
        )
    return budget


def _nearest(unit: str, amount: float, spent: Callable[[int], float]) -> Budget:
    """The steps that come nearest to `amount`. What steps spend is nearly proportional to them, but for stages of growth."""
    guess = round(amount / (spent(_MANY) / _MANY))
    tried = {steps: spent(steps) for steps in range(max(1, guess - 1), guess + 2)}
    steps = min(tried, key=lambda steps: abs(tried[steps] - amount))
    return Budget(steps, unit, amount, tried[steps])


_MANY = 1000
