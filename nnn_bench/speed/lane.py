"""Time two contenders in turns, in blocks of steps, and say how they compare.

A block is a number of steps between two synchronisations of the device; nothing else happens in it. Blocks come in groups of
four, in the order A B B A with A the baseline, so that a machine that becomes slower or faster at a steady rate favours neither.
A group gives one ratio, mean of its B blocks over mean of its A blocks; the ratio that is told is their median.

Its interval is the distribution-free one of a median, between two order statistics, with the coverage it really has. It supposes
that groups are exchangeable, and nothing about the shape of the noise: bursts of other work widen it, as they should. What slows
one contender alone for the whole measurement is beyond any interval.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from scipy.special import bdtr  # scipy.stats takes a second to load, and fresh processes load this

ORDER = "ABBA"
CONFIDENCE = 0.95

Clock = Callable[[], float]


@dataclass(frozen=True)
class Phase:
    """A part of a run in which a network does not change: a stage of one that grows, the whole of any other.

    `step` does one training step and leaves its result on the device; `share` is the part of the run's steps.
    """

    share: float
    step: Callable[[], object]


@dataclass(frozen=True)
class Block:
    """Seconds of each phase of a block, and how many steps those took."""

    seconds: tuple[float, ...]
    steps: tuple[int, ...]

    def step_seconds(self, shares: Sequence[float]) -> float:
        """Seconds of the mean step of a run whose phases have these shares."""
        parts = zip(shares, self.seconds, self.steps, strict=True)
        return sum(share * seconds / steps for share, seconds, steps in parts)


@dataclass(frozen=True)
class Group:
    """Four blocks, two of each contender, in the order they were timed within each."""

    baseline: tuple[Block, Block]
    variant: tuple[Block, Block]


@dataclass(frozen=True)
class Median:
    """A median, the interval it lies in, and the probability with which such an interval holds the true one."""

    value: float
    low: float
    high: float
    coverage: float


def race(
    variant: Sequence[Phase],
    baseline: Sequence[Phase],
    steps: tuple[Sequence[int], Sequence[int]],
    groups: int,
    clock: Clock,
    synchronize: Callable[[], None],
) -> list[Group]:
    """Time `groups` groups of blocks; `steps` are those of the phases of a block of the variant, and of the baseline."""
    contenders = {"A": (baseline, tuple(steps[1])), "B": (variant, tuple(steps[0]))}
    made = []
    with collector_at_rest():
        for _ in range(groups):
            blocks: dict[str, list[Block]] = {"A": [], "B": []}
            for name in ORDER:
                phases, counts = contenders[name]
                blocks[name].append(_block(phases, counts, clock, synchronize))
            made.append(Group((blocks["A"][0], blocks["A"][1]), (blocks["B"][0], blocks["B"][1])))
    return made


def steps_per_block(
    phases: Sequence[Phase], seconds: float, clock: Clock, synchronize: Callable[[], None]
) -> list[int]:
    """How many steps of each phase make a block of about `seconds`, by trying: at least one, and as the shares ask.

    The phases have been warmed up. A try lasts an eighth of the time its phase has in a block, or longer, and the fastest of
    three counts: other work can only slow one.
    """
    found = []
    for phase in phases:
        room, steps = seconds * phase.share, 1
        while (taken := _timed(phase, steps, clock, synchronize)) < room / 8:
            steps *= 2
        fastest = min(taken, *(_timed(phase, steps, clock, synchronize) for _ in range(2)))
        found.append(max(1, round(room * steps / fastest)))
    return found


def group_ratios(groups: Sequence[Group], variant: Sequence[float], baseline: Sequence[float]) -> list[float]:
    """The ratio of each group: seconds of a step of the variant to one of the baseline, phases weighted by these shares."""
    return [
        statistics.fmean(block.step_seconds(variant) for block in group.variant)
        / statistics.fmean(block.step_seconds(baseline) for block in group.baseline)
        for group in groups
    ]


def median_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Median:
    """The median of independent draws and the narrowest pair of order statistics, equally far from both ends, that holds
    the true median with at least `confidence`; the whole range, with the coverage that has, where there are too few."""
    ordered = sorted(values)
    count = len(ordered)
    outside = 0  # so many values are left out at either end
    while 2 * bdtr(outside + 1, count, 0.5) <= 1 - confidence:
        outside += 1
    coverage = max(0.0, 1 - 2 * float(bdtr(outside, count, 0.5)))
    return Median(statistics.median(ordered), ordered[outside], ordered[-1 - outside], coverage)


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The lower and the upper one."""
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """No garbage is looked for meanwhile, and what there was before is not looked through again."""
    gc.collect()
    gc.freeze()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
        gc.unfreeze()


def _block(phases: Sequence[Phase], steps: Sequence[int], clock: Clock, synchronize: Callable[[], None]) -> Block:
    timed = (_timed(phase, count, clock, synchronize) for phase, count in zip(phases, steps, strict=True))
    return Block(tuple(timed), tuple(steps))


def _timed(phase: Phase, steps: int, clock: Clock, synchronize: Callable[[], None]) -> float:
    """Seconds of `steps` steps between two synchronisations."""
    step = phase.step
    synchronize()
    start = clock()
    for _ in range(steps):
        step()
    synchronize()
    return clock() - start
