"""The budget solver: exact counts, the tolerance, proportions, and honest refusals."""

from __future__ import annotations

import pytest

from nnn_bench.budget.solver import TOLERANCE, solve
from nnn_bench.config.errors import UserError
from tests.models import CATALOG, VARIANTS


def solved(name, target, **options):
    return solve(
        CATALOG.variant(name), target, vocabulary=82, context=128, file=f"config/variants/{name}.yaml", **options
    )


def gpt2_body(width, hidden, layers=4):
    attention = 4 * width * width + 4 * width
    mlp = 2 * width * hidden + hidden + width
    return layers * (attention + mlp + 4 * width) + 2 * width


@pytest.mark.parametrize("target", [8_000, 50_000, 200_000, 777_777, 5_000_000])
def test_gpt2_meets_the_target_by_the_formula(target):
    found = solved("gpt2", target)
    body = gpt2_body(found.knobs["topology.width"], found.knobs["topology.channel_mixer.hidden"])
    assert found.parameters.body == body
    assert found.residual == (body - target) / target
    assert abs(found.residual) <= TOLERANCE


def test_at_the_size_of_the_laptop_suite_gpt2_keeps_its_proportions():
    assert solved("gpt2", 200_000).knobs == {"topology.width": 64, "topology.channel_mixer.hidden": 256}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_vocabulary_does_not_move_the_body(name):
    small = solve(CATALOG.variant(name), 60_000, vocabulary=5, context=16, file=name)
    large = solve(CATALOG.variant(name), 60_000, vocabulary=5000, context=512, file=name)
    assert small.knobs == large.knobs and small.parameters.body == large.parameters.body


def test_a_target_out_of_reach_is_refused_with_the_nearest_size():
    with pytest.raises(UserError) as found:
        solved("gpt2", 100)
    assert str(found.value).startswith(
        "config/variants/gpt2.yaml: knobs: cannot reach 100 body parameters within 1%; the nearest is "
    )


def test_a_knob_that_changes_nothing_is_refused():
    variant = CATALOG.variant("gpt2")
    dead = variant.model_copy(
        update={
            "knobs": variant.knobs.model_copy(
                update={"coarse": variant.knobs.coarse.model_copy(update={"key": "topology.mixr.width"})}
            )
        }
    )
    with pytest.raises(UserError, match=r"'topology\.mixr\.width' does not lead to a component"):
        solve(dead, 20_000, vocabulary=5, context=8, file="f")
