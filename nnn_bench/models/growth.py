"""Growing: the contract between a network that changes its parameters while it is trained and whoever trains it.

The network says when (`Growth`) and, after each step from one stage to the next, where each parameter comes from (`Origin`).
The trainer carries the optimizer state along: with rho the share of its ancestor's gradient that a new parameter will see,
first moments are multiplied by rho and second moments by rho squared, step counts are kept, and a parameter without a past
starts fresh.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, model_validator

from nnn_bench.config.validation import Inconsistent, Settings


class Plateau(Settings):
    """Grow early, once the training loss stands still: its mean over a `window` (share of the run) is not lower than over
    the window before by `gain` of itself."""

    window: float = Field(default=0.02, gt=0, le=0.5)
    gain: float = Field(default=0.005, ge=0, lt=1)


class Growth(Settings):
    """When to enter each next stage: at these shares of the run, or before that on a plateau, never later."""

    at: list[Annotated[float, Field(gt=0, lt=1)]] = Field(min_length=1)
    plateau: Plateau | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Growth:
        if any(later <= earlier for earlier, later in zip(self.at, self.at[1:], strict=False)):
            raise Inconsistent("must rise from stage to stage", key="at")
        return self

    def steps(self, steps: int) -> list[int]:
        """The latest step (0-based) at which each next stage is entered, before that step is done."""
        return [round(share * steps) for share in self.at]


@dataclass(frozen=True)
class Origin:
    """The parameter, by its name before growing, that a new one copies, and the share of its gradient the new one gets."""

    name: str
    gradient_share: float = 1.0
