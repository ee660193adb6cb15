"""What is measured of a variant beside its baseline: its training step, and the card of its inference."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from nnn_bench.config.catalog import Catalog
from nnn_bench.config.closure import is_trees
from nnn_bench.config.errors import UserError
from nnn_bench.config.expansion import RunSpec
from nnn_bench.config.paths import Project
from nnn_bench.config.schema import Measurement
from nnn_bench.data.store import TokenStore, load
from nnn_bench.models.build import build
from nnn_bench.models.language_model import LanguageModel
from nnn_bench.speed.card import inference_card
from nnn_bench.speed.contender import contenders, last_contender, phases
from nnn_bench.speed.lane import (
    ORDER,
    Block,
    Clock,
    Group,
    Phase,
    group_ratios,
    median_interval,
    quartiles,
    race,
    steps_per_block,
)
from nnn_bench.speed.machine import OtherWork, machine_of
from nnn_bench.speed.memory import peak_memory
from nnn_bench.training.configuration import RunConfiguration
from nnn_bench.training.environment import Environment, set_up
from nnn_bench.training.job import make_plan, run_configuration


def measure_spec(
    project: Project, catalog: Catalog, spec: RunSpec, baseline: RunSpec, settings: Measurement, card: bool = True
) -> dict[str, Any]:
    """All that is measured of `spec` beside `baseline`, as plain data; `inference` is None without a card.

    Both are taken at the rates they declare, which no step time depends on. Raises `UserError` for trees: they take no steps.
    """
    for one in (spec, baseline):
        if is_trees(one.model_tree):
            raise UserError(
                "trees are fitted, not trained in steps, so there is no step to time; name a network",
                file=catalog.file("variants", one.variant),
                key="model",
            )
    own, other = (configuration_of(project, catalog, one) for one in (spec, baseline))
    environment = set_up(own.device, own.training.precision, own.threads, own.training.compile)
    store = load(project, spec.dataset, spec.tokenizer)
    training = {
        **lane(own, other, store, environment, settings),
        "peak_memory_bytes": (peak := peak_memory(project, own)),
        "baseline_peak_memory_bytes": peak if own == other else peak_memory(project, other),
    }
    return {
        "variant": spec.variant,
        "baseline": baseline.variant,
        "machine": machine_of(environment).plain(),
        "shape": {
            "batch": own.scale.batch,
            "context": own.scale.context,
            "vocabulary": store.manifest.vocabulary,
            "accumulation": own.scale.accumulation,
            "precision": environment.precision,
            "compiled": environment.compiled,
        },
        "training": training,
        "inference": _card(own, store, environment, settings) if card else None,
    }


def configuration_of(project: Project, catalog: Catalog, spec: RunSpec) -> RunConfiguration:
    """The run that is timed: seed 0, at the declared rate, under the budget of tokens."""
    return run_configuration(spec.declared, make_plan(project, catalog, spec.declared), seed=0)


def _card(own: RunConfiguration, store: TokenStore, environment: Environment, settings: Measurement) -> dict[str, Any]:
    def larger(context: int) -> LanguageModel:
        return build(own.model, vocabulary=store.manifest.vocabulary, context=context, file=own.variant)

    model = last_contender(own, store, environment).model
    device = torch.device(environment.device)
    return inference_card(model, store.manifest.vocabulary, settings, device, larger=larger)


def lane(
    own: RunConfiguration,
    other: RunConfiguration,
    store: TokenStore,
    environment: Environment,
    settings: Measurement,
    clock: Clock = time.perf_counter,
) -> dict[str, Any]:
    """Both networks in one process, warmed up and taken back to where they were, then timed in turns."""
    variant, baseline = (contenders(one, store, environment) for one in (own, other))
    memories = [one.remember() for one in (*variant, *baseline)]

    def restore() -> None:
        for take_back in memories:
            take_back()

    once = [one.warm_up() for one in variant]
    for one in baseline:
        one.warm_up()
    told = training_times(phases(variant), phases(baseline), settings, environment.synchronize, restore, clock)
    predicted = own.scale.batch * own.scale.context * own.receipt["predicted_share"]
    return {
        **told,
        "seconds_per_predicted_token": told["step_seconds"] / predicted,
        "compile_seconds": sum(once) if environment.compiled else None,
    }


def training_times(
    variant: list[Phase],
    baseline: list[Phase],
    settings: Measurement,
    synchronize: Callable[[], None],
    restore: Callable[[], None],
    clock: Clock = time.perf_counter,
) -> dict[str, Any]:
    """The times of contenders that have been warmed up; `restore` takes them back to where they were before that."""
    steps = [steps_per_block(one, settings.block_seconds, clock, synchronize) for one in (variant, baseline)]
    restore()
    others = OtherWork()
    groups = race(variant, baseline, (steps[0], steps[1]), settings.groups, clock, synchronize)
    busy = others.cores()
    shares, base_shares = ([phase.share for phase in one] for one in (variant, baseline))
    blocks = [block for group in groups for block in group.variant]
    times = [block.step_seconds(shares) for block in blocks]
    base_times = [block.step_seconds(base_shares) for group in groups for block in group.baseline]
    ratio = median_interval(group_ratios(groups, shares, base_shares))
    return {
        "blocks": [_plain(group) for group in groups],
        "step_seconds": statistics.median(times),
        "quartiles": list(quartiles(times)),
        "baseline_step_seconds": statistics.median(base_times),
        "baseline_quartiles": list(quartiles(base_times)),
        "ratio": {
            "median": ratio.value,
            "interval": [ratio.low, ratio.high],
            "coverage": ratio.coverage,
            "groups": len(groups),
        },
        "stages": _stages(shares, blocks),
        "cores_busy_with_other_work": busy,
    }


def _plain(group: Group) -> dict[str, Any]:
    """Raw times: of whole blocks, and, where a network grows, of each stage in them."""
    sides = {"variant": group.variant, "baseline": group.baseline}
    grows = any(len(blocks[0].steps) > 1 for blocks in sides.values())
    return {
        "order": ORDER,
        "steps": {side: sum(blocks[0].steps) for side, blocks in sides.items()},
        "seconds": {side: [sum(block.seconds) for block in blocks] for side, blocks in sides.items()},
        **(
            {"stages": {side: [_by_stage(block) for block in blocks] for side, blocks in sides.items()}}
            if grows
            else {}
        ),
    }


def _by_stage(block: Block) -> list[dict[str, Any]]:
    return [{"steps": steps, "seconds": seconds} for steps, seconds in zip(block.steps, block.seconds, strict=True)]


def _stages(shares: list[float], blocks: list[Block]) -> list[dict[str, Any]]:
    """What a step takes at each stage of a network, and the part of the run that stage has; the last is what inference runs."""
    found = []
    for stage, share in enumerate(shares):
        times = [block.seconds[stage] / block.steps[stage] for block in blocks]
        found.append({"share": share, "step_seconds": statistics.median(times), "quartiles": list(quartiles(times))})
    return found
