"""Growing: the contract between a network that changes its parameters while it is trained and whoever trains it.

The network says when (`Growth`) and, after each step from one stage to the next, where each parameter comes from (`Origin`).
What grows may be the network itself or parts inside it (`grow_parts`).
The trainer carries the optimizer state along: with rho the share of its ancestor's gradient that a new parameter will see,
first moments are multiplied by rho and second moments by rho squared, step counts are kept, and a parameter without a past
starts fresh.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field, model_validator
from torch import Tensor, nn

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
    """The parameter, by its name before growing, that a new one copies, and the share of its gradient the new one gets.

    `expand` makes, from a tensor of the old shape, one of the new shape; it is for parameters that become larger.
    """

    name: str
    gradient_share: float = 1.0
    expand: Callable[[Tensor], Tensor] | None = None

    def heir(self, value: Tensor) -> Tensor:
        """`value`, of the shape the parameter had, in the shape it has."""
        return value if self.expand is None else self.expand(value)

    def within(self, prefix: str) -> Origin:
        """The same origin, told by someone who holds the module as `prefix`."""
        return replace(self, name=prefix + self.name)


class Growable(nn.Module):
    """A module that may change when the network that holds it enters its next stage."""

    #: How many times: 0 for what never changes, None for what may as often as it is asked.
    growths: int | None = 0

    def grow(self) -> dict[str, Origin]:
        """Change in place. Returns, by own names, the origins of the parameters it replaced; what it kept goes without saying."""
        raise TypeError(f"{type(self).__name__} does not grow")


def grow_parts(module: nn.Module, stage: int) -> dict[str, Origin]:
    """Let every part of `module` that may still change do so, on the way from `stage` (0-based) to the next.

    Returns the origins of all parameters that have one, by their names in `module`.
    """
    before = dict(module.named_parameters())
    origins: dict[str, Origin] = {}
    for place, part in list(module.named_modules()):
        if isinstance(part, Growable) and (part.growths is None or stage < part.growths):
            prefix = f"{place}." if place else ""
            origins |= {prefix + name: origin.within(prefix) for name, origin in part.grow().items()}
    kept = {name for name, parameter in module.named_parameters() if before.get(name) is parameter}
    return {name: Origin(name) for name in kept} | origins
