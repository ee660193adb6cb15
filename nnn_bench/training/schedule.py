"""The learning rate of every step, as a share of the peak.

`cosine`: linear warm-up, then half a cosine down to `floor`. `stable_decay`: linear warm-up, constant, then linear down to
`floor` over the last `decay` share of the run. `plateau`: linear warm-up, constant; what validations take off that is no
function of the step, and stands in `plateau.py`.
"""

from __future__ import annotations

import math

from nnn_bench.config.recipe import ScheduleSettings


def rate_share(schedule: ScheduleSettings, step: int, steps: int) -> float:
    """Share of the peak learning rate at `step` (0-based) of `steps`; in [0, 1]."""
    warmup = max(1, round(schedule.warmup * steps))
    if step < warmup:
        return (step + 1) / warmup
    if schedule.name == "plateau":
        return 1.0
    if schedule.name == "cosine":
        progress = (step - warmup + 1) / max(1, steps - warmup)
        return schedule.floor + (1 - schedule.floor) * 0.5 * (1 + math.cos(math.pi * progress))
    decay = max(1, round(schedule.decay * steps))
    left = steps - step - 1
    return 1.0 if left >= decay else schedule.floor + (1 - schedule.floor) * left / decay
