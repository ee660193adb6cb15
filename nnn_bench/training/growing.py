"""When a network that grows takes its next step: at its share of the run, or before that when the loss stands still."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nnn_bench.models.growth import Growth


@dataclass
class PlateauState:
    """Losses (nats) of the present window, the mean of the one before, and whether they stood still."""

    total: float = 0.0
    count: int = 0
    before: float | None = None
    reached: bool = False


class GrowthWatch:
    """Says when growth is due in a run of `steps`. `state` is kept up to date, so that a resumed run decides alike."""

    def __init__(self, growth: Growth | None, steps: int, state: PlateauState):
        self._latest = growth.steps(steps) if growth else []
        self._plateau = growth.plateau if growth else None
        self._window = max(1, round(self._plateau.window * steps)) if self._plateau else 0
        self._state = state

    def due(self, step: int, stage: int) -> bool:
        """Whether a network in `stage` (0-based) grows before `step` (0-based) is done."""
        return stage < len(self._latest) and (self._state.reached or step >= self._latest[stage])

    def saw(self, loss: Tensor) -> None:
        """Take note of the loss of one more step."""
        if self._plateau is None:
            return
        state = self._state
        state.total += loss.item()
        state.count += 1
        if state.count == self._window:
            mean = state.total / state.count
            state.reached = state.before is not None and mean > state.before * (1 - self._plateau.gain)
            state.total, state.count, state.before = 0.0, 0, mean

    def start_over(self) -> None:
        """Forget what the stage before saw."""
        self._state.total, self._state.count, self._state.before, self._state.reached = 0.0, 0, None, False
