"""The budget solver: exact counts, the tolerance, proportions, and honest refusals."""

from __future__ import annotations

import re

import pytest

from nnn_bench.budget import solver
from nnn_bench.budget.solver import TOLERANCE, meta_model, solve
from nnn_bench.config.closure import component_modules
from nnn_bench.config.errors import UserError
from nnn_bench.config.expansion import suite_specs
from nnn_bench.config.schema import Knob, Variant
from nnn_bench.models.language_model import ParameterCount
from tests import models
from tests.models import CATALOG, CONTEXT, HONEST


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


#: Their map to the vocabulary has several weights a link: it is body, so that no capacity hides in it.
VOCABULARY_IS_BODY = [
    "automaton",
    "high_order_mlp",
    "high_order_mlp_output_only",
    "high_order_mlp_shallow",
    "high_order_transformer",
    "piecewise_constant",
]


@pytest.mark.parametrize("name", VOCABULARY_IS_BODY)
def test_a_map_to_the_vocabulary_that_is_not_dense_is_body(name):
    small = solve(CATALOG.variant(name), 60_000, vocabulary=5, context=16, file=name)
    sizes = [
        meta_model(small.model, vocabulary=vocabulary, context=context, file=name).parameter_count()
        for vocabulary, context in ((5, 512), (6, 16), (7, 16))
    ]
    assert [size.head for size in sizes] == [0, 0, 0]
    assert sizes[0].body == small.parameters.body  # whatever the context
    assert sizes[1].body - sizes[0].body == sizes[2].body - sizes[1].body > 0


@pytest.mark.parametrize("name", sorted(set(HONEST) - set(VOCABULARY_IS_BODY)))
def test_vocabulary_and_context_do_not_move_the_body(name):
    spans = any(module.endswith(".comb") for module in component_modules(CATALOG.variant(name).model_tree))
    context = CONTEXT if spans else 512  # a comb has weights for each lag of the window
    small = models.solved(name)
    large = meta_model(small.model, vocabulary=5000, context=context, file=name).parameter_count()
    assert (
        large.body == small.parameters.body
        and large.tables + large.head > small.parameters.tables + small.parameters.head
    )


def test_a_target_out_of_reach_is_refused_with_the_nearest_size():
    with pytest.raises(UserError) as found:
        solved("gpt2", 100)
    assert str(found.value).startswith(
        "config/variants/gpt2.yaml: knobs: cannot reach 100 body parameters within 1%; the nearest is "
    )


def gpt2_with(*, heads=4, **coarse):
    """GPT-2 with other heads and another coarse knob."""
    data = CATALOG.variant("gpt2").model_dump()
    data["model"]["topology"]["mixer"]["heads"] = heads
    data["knobs"]["coarse"] |= coarse
    return Variant.model_validate(data)


def refusal(variant, target):
    with pytest.raises(UserError) as found:
        solve(variant, target, vocabulary=5, context=8, file="f")
    return str(found.value)


def test_a_knob_that_leads_nowhere_is_refused():
    message = refusal(gpt2_with(key="topology.mixr.width"), 20_000)
    assert message == "f: knobs: 'topology.mixr.width' does not lead to a component with options"


def test_a_knob_that_changes_nothing_is_refused(monkeypatch):
    class Rigid:
        def parameter_count(self):
            return ParameterCount(tables=0, head=0, body=1000)

    monkeypatch.setattr(solver, "meta_model", lambda model, **_: Rigid())
    message = refusal(gpt2_with(), 20_000)
    assert message == "f: knobs: knob 'topology.width' does not change the number of body parameters"


def test_a_target_beyond_the_largest_size_names_that_size():
    width, target = 4 << 20, 10**15
    assert gpt2_body(width, 4 * width) < target
    message = refusal(gpt2_with(), target)
    assert message.startswith(
        "f: knobs: cannot reach 1,000,000,000,000,000 body parameters; the largest size tried has "
    )
    assert f"{gpt2_body(width, 4 * width):,} (topology.width = {width})" in message


def test_a_width_the_solver_chose_is_explained_by_the_step_of_its_knob():
    message = refusal(gpt2_with(heads=6), 20_000)
    assert re.fullmatch(
        r"f: model\.topology\.mixer\.heads: is 6, which does not divide the width \d+; "
        r"the coarse knob tries multiples of 4: set knobs\.coarse\.step accordingly",
        message,
    )
    mended = solve(gpt2_with(heads=6, step=6), 20_000, vocabulary=5, context=8, file="f")
    assert mended.knobs["topology.width"] % 6 == 0 and abs(mended.residual) <= TOLERANCE


@pytest.mark.parametrize(("step", "least"), [(1, 1), (1, 5), (8, 12)])
def test_a_straight_body_is_solved_without_a_search_and_a_bent_one_is_left_to_it(step, least):
    knob = Knob(key="hidden", step=step, least=least)
    counted = []

    def straight(value):
        counted.append(value)
        return 700 + 13 * value

    for target in (3_000, 12_345, 700 + 13 * 640):
        counted.clear()
        found = solver._on_a_line(knob, straight, target)
        assert len(counted) == 4 and found == solver._smallest(knob, straight, target, "f")
    assert solver._on_a_line(knob, lambda value: value * value, 10_000) is None
    assert solver._on_a_line(knob, lambda value: 1000, 20_000) is None


def test_an_error_that_is_not_about_a_size_gets_no_hint():
    assert "tries multiples" not in refusal(gpt2_with(key="topology.widht"), 20_000)


def test_every_variant_of_the_smoke_suite_meets_its_size_on_shakespeare():
    """At sizes as small as that a map to the vocabulary with several weights a link moves in steps of a hundredth."""
    scale = CATALOG.suite("smoke").language
    specs = {name: spec for study in suite_specs(CATALOG, "smoke").values() for name, spec in study.items()}
    for name, spec in specs.items():
        found = solve(spec.variant_config, scale.body_parameters, vocabulary=81, context=scale.context, file=name)
        assert abs(found.residual) <= 0.01, name
