"""Trials of learning rates: short runs of a spec, scored on validation data, in folders of their own.

A trial is trained by the same loop as a run and leaves the same files, so a killed search goes on where it was. It is never
scored on the test split. Its seeds are none of the suite's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from nnn_bench.budget.plan import Plan
from nnn_bench.budget.rates import Trial
from nnn_bench.config.catalog import Catalog
from nnn_bench.config.expansion import RunSpec, Search
from nnn_bench.config.paths import Project
from nnn_bench.data.store import TokenStore, load
from nnn_bench.training.configuration import RunConfiguration
from nnn_bench.training.job import make_plan, run_configuration
from nnn_bench.training.trainer import train_run

FIRST_SEED = 1_000_000  # above any suite's
_LONGEST_WARMUP = 0.5  # share of a trial


def train_trials(
    project: Project, catalog: Catalog, spec: RunSpec, factors: Iterable[float], checkpoint_seconds: float
) -> list[Trial]:
    """One trial of `spec` for each factor of its declared rate, in order, with their validation losses in nats."""
    assert spec.search is not None, f"{spec.key} searches for no rate"
    made = make_plan(project, catalog, spec.declared)
    store = load(project, spec.dataset, spec.tokenizer)
    return [_trial(project, spec, spec.search, made, store, factor, checkpoint_seconds) for factor in factors]


def _trial(
    project: Project,
    spec: RunSpec,
    search: Search,
    made: Plan,
    store: TokenStore,
    factor: float,
    checkpoint_seconds: float,
) -> Trial:
    results = []
    for seed in range(FIRST_SEED, FIRST_SEED + search.settings.seeds):
        configuration = _configuration(spec, search, made, factor, seed)
        results.append(train_run(configuration, store, project.trial(spec.key, factor, seed), checkpoint_seconds))
        print(f"{configuration.run_key}: {results[-1]['status']}", flush=True)
    losses = [result["validation"]["loss"] if result["validation"] else None for result in results]
    return {
        "factor": factor,
        "learning_rate": made.learning_rate * factor,
        "steps": results[0]["receipt"]["steps"],
        "statuses": [result["status"] for result in results],
        "losses": losses,
        "loss": _mean(losses),
    }


def _configuration(spec: RunSpec, search: Search, made: Plan, factor: float, seed: int) -> RunConfiguration:
    steps = math.ceil(made.steps * search.settings.share)
    scale = spec.scale.model_copy(update={"evaluations": 1})
    warmup = min(_LONGEST_WARMUP, spec.training.schedule.warmup / search.settings.share)
    schedule = spec.training.schedule.model_copy(update={"warmup": warmup})
    training = spec.training.model_copy(update={"schedule": schedule})
    rate = made.learning_rate * factor
    receipt = {**made.receipt, "steps": steps, "tokens": steps * scale.batch * scale.context, "learning_rate": rate}
    short = made.model_copy(update={"learning_rate": rate, "steps": steps, "receipt": receipt})
    return run_configuration(spec, short, seed).model_copy(
        update={"run_key": f"{spec.key}/x{factor:g}/s{seed}", "purpose": "trial", "scale": scale, "training": training}
    )


def _mean(losses: Sequence[float | None]) -> float | None:
    """None where a seed diverged: a rate that fails once is no rate."""
    known = [loss for loss in losses if loss is not None]
    return math.fsum(known) / len(known) if len(known) == len(losses) else None
