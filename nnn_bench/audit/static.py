"""The tests that a network can be put to without data: as it is, and through all stages of its growth."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from nnn_bench.audit.causality import future_gradient, future_tokens, influence, past_coverage
from nnn_bench.audit.consistency import batch_rows, modes, step
from nnn_bench.audit.findings import Finding, not_applicable, worst_by_test
from nnn_bench.audit.gradients import gradient, unselected
from nnn_bench.audit.growth import growth
from nnn_bench.audit.probes import dice, frozen_copy, shaken_copy
from nnn_bench.audit.selector import selector
from nnn_bench.models.language_model import LanguageModel

Tell = Callable[[str], None]


def _silent(test: str) -> None:
    pass


def audit_weights(model: LanguageModel, rounds: int, tell: Tell = _silent) -> list[Finding]:
    """What holds for the weights as they are: nothing of `model`, nor of torch's random generator, is changed.

    `rounds` of pokes (`causality.influence`): a gate that sees several weights of one network asks each of them less often. A
    network that computes something else in training than in evaluation is poked in both modes.
    """
    with _own_dice():
        tell("modes")
        found = [modes(model)]
        tell("future_tokens")
        seen = {"in evaluation": influence(frozen_copy(model), rounds)}
        if found[0].passed is False:
            seen["in training"] = influence(frozen_copy(model, training=True), rounds)
        found += worst_by_test(
            (mode, [future_tokens(one), future_gradient(one), past_coverage(one)]) for mode, one in seen.items()
        )
        for test in (batch_rows, step, unselected, selector):
            tell(test.__name__)
            found.append(test(model))
        return worst_by_test([("", found)])


def audit_fresh(model: LanguageModel, tell: Tell = _silent) -> list[Finding]:
    """All that a network can be asked before it is trained, at every one of its stages; `model` is in its first.

    The weights are moved a little first (`shaken_copy`), so that what is born zero is seen; gradient is asked of them as born.
    """
    with _own_dice():
        draw = dice(12)
        present = copy.deepcopy(model)
        at_stage: list[tuple[str, list[Finding]]] = []
        while True:
            stage = f"stage {present.stage + 1} of {present.stages}"

            def tell_stage(test: str, suffix: str = f", {stage}" if present.stages > 1 else "") -> None:
                tell(test + suffix)

            tell_stage("gradient")
            found = [gradient(present)]
            moved = shaken_copy(present, draw)
            found += audit_weights(moved, 2 if model.stages == 1 else 1, tell_stage)
            at_stage.append((stage, found))
            if present.stage + 1 == present.stages:
                break
            tell_stage("growth")
            found.append(growth(moved))
            moved.grow()
            present = moved
        findings = worst_by_test(at_stage)
        if model.stages == 1:
            findings.append(not_applicable("growth", "the network does not grow"))
        return worst_by_test([("", findings)])


@contextmanager
def _own_dice() -> Iterator[None]:
    """Leave torch's random generator as it was."""
    with torch.random.fork_rng(devices=[]):
        yield
