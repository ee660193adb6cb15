"""The Pareto frontier of loss against a cost, and how sure it is who stands on it.

A network stands on the frontier when no other is at least as good at no higher cost, and better or cheaper. Its loss is a mean
over seeds, so its place is uncertain: seeds are drawn again with replacement, the same ones for all networks since they are
paired, and its probability is the share of draws that leave it on the frontier. A network's cost is taken as known. Few seeds
spread less when drawn again than new ones would: at three, probabilities near 0 and 1 are surer of themselves than they should.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 4000


@dataclass(frozen=True)
class Membership:
    """Whether the means as they are put a network on the frontier, and the share of draws that do."""

    on_frontier: bool
    probability: float


def membership(
    values: Mapping[str, Sequence[float]], costs: Mapping[str, float], *, draws: int = DRAWS, seed: int = 0
) -> dict[str, Membership]:
    """Name -> place; `values` holds a name's losses by seed, as many for all and in the same order, `costs` one number each.

    Networks of which a seed is missing have no place: leave them out. Raises `ValueError` where names, counts or numbers do not
    fit.
    """
    names = list(values)
    counts = {len(losses) for losses in values.values()}
    if set(costs) != set(names):
        raise ValueError("values and costs name different networks")
    if not names:
        return {}
    if len(counts) != 1 or 0 in counts:
        raise ValueError("every network needs a loss at the same seeds, one at least")
    losses, cost = np.array([values[name] for name in names]).T, np.array([costs[name] for name in names])
    if not (np.isfinite(losses).all() and np.isfinite(cost).all()):
        raise ValueError("losses and costs must be numbers")
    seeds = len(losses)  # losses: (seeds, networks)
    drawn = np.random.default_rng(seed).multinomial(seeds, np.full(seeds, 1 / seeds), size=draws)  # (draws, seeds)
    found = _frontier(losses.mean(axis=0)[None], cost)[0]
    means = np.round(drawn @ losses / seeds, 12)  # so that equal networks stay equal
    share = _frontier(means, cost).mean(axis=0)
    return {name: Membership(bool(found[i]), float(share[i])) for i, name in enumerate(names)}


def _frontier(losses: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Which networks no other dominates: losses (draws, networks), cost (networks) -> booleans (draws, networks)."""
    no_worse = losses[:, :, None] <= losses[:, None, :]  # (draws, other, one)
    better = losses[:, :, None] < losses[:, None, :]
    dominates = no_worse & (cost[:, None] <= cost) & (better | (cost[:, None] < cost))
    return np.logical_not(dominates.any(axis=1))
