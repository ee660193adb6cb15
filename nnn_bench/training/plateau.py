"""A learning rate that waits for the validation loss to stand still, and then falls.

After each validation, with loss l and best loss b so far, of the schedule's `threshold`, `patience`, `factor` and `floor`:

    l < b (1 - threshold)    b = l, and the wait begins anew
    otherwise                the wait is one validation longer; when it reaches `patience`, share = max(factor share, floor),
                             and the wait begins anew

`share` multiplies the peak rate, after the warm-up of `schedule.py`. With `patience` one smaller this is ReduceLROnPlateau
of torch, which lowers after more than so many.

Source: language-interpolation. It watched the training loss, and of that the loss of the last mini-batch of an epoch, which is
mostly noise; here it is the validation loss, the same tokens each time. No test token decides anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from nnn_bench.config.recipe import PlateauSchedule


@dataclass
class PlateauRate:
    """Share of the rate that is left, best validation loss (nats) and validations since; whole unless it is told losses."""

    share: float = 1.0
    best: float | None = None
    waited: int = 0

    def saw(self, loss: float, schedule: PlateauSchedule) -> None:
        """Take note of one more validation, and lower the rate where it is due."""
        if self.best is None or loss < self.best * (1 - schedule.threshold):
            self.best, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited == schedule.patience:
            self.share, self.waited = max(schedule.factor * self.share, schedule.floor), 0
