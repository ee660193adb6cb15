"""What is measured on selection layers: evenness, likeness, what a choice is worth; the repaired unit and the published one."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from nnn_bench.config.component import Component
from nnn_bench.measure.selection import model_selection, selection_statistics, weight_cosine
from nnn_bench.measure.swap import swap_rises, swapped
from nnn_bench.models.build import Builder
from nnn_bench.models.parts import Port, Projection
from tests.models import small, tokens


def projection(kind: str, inputs: int, outputs: int, **options: Any) -> Projection:
    component = Component.model_validate({"kind": kind, **options})
    return Builder("test").projector(component)(Port("map", inputs, outputs))


def test_statistics_of_a_hand_worked_case():
    # two tokens, one unit, K = 2: sure of 0, then undecided (ties go to the first)
    logits = torch.tensor([[[0.0], [-math.log(3)]], [[0.0], [0.0]]])  # (tokens, K, O)
    found = selection_statistics(logits)
    assert found["frequency"] == [1.0, 0.0]
    assert found["aggregate_entropy"] == 0.0
    sure = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert found["sample_entropy"] == pytest.approx((sure + math.log(2)) / 2, abs=1e-6)
    assert found["maximum_entropy"] == pytest.approx(math.log(2))


def test_every_selection_layer_of_a_network_is_watched_and_let_go():
    model = small("selection_transformer")
    found = model_selection(model, tokens())
    assert len(found) == 4 * 4
    assert all(0 <= s["aggregate_entropy"] <= s["maximum_entropy"] + 1e-6 for s in found.values())
    assert all(module.watch is None for module in model.modules() if hasattr(module, "watch"))
    assert model_selection(small("gpt2"), tokens()) == {}


def test_entropy_near_the_maximum_in_a_fresh_network():
    # fresh selectors see normalised inputs and have no preference: aggregate use is nearly even
    found = model_selection(small("selection_transformer"), tokens(32))
    assert min(s["aggregate_entropy"] for s in found.values()) > 0.5 * math.log(2)


def test_cosine_of_computations():
    a, b = torch.tensor([[3.0, 0.0], [1.0, 0.0]]), torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    found = weight_cosine(torch.stack([a, b]))  # 9 / 10 as wholes; 1 and 0 by row
    assert found == {"whole": pytest.approx(0.9), "rows": pytest.approx(0.5)}
    assert weight_cosine(torch.stack([a, a, -a])) == {"whole": pytest.approx(-1 / 3), "rows": pytest.approx(-1 / 3)}
    assert (
        model_selection(small("selection_transformer"), tokens())["blocks.0.channel_mixer.up"]["cosine"]["rows"] < 0.3
    )


def test_exchanging_two_computations_selects_the_other_one_and_is_undone():
    torch.manual_seed(0)
    made = projection("selection", 7, 5).double()
    x = torch.randn(30, 7, dtype=torch.float64)
    values = made.logits_and_values(x)[1]
    plain = made(x)
    with swapped(made):
        other = made(x)
    assert torch.allclose(plain + other, values.sum(-2), atol=1e-12) and not torch.allclose(plain, other)
    assert torch.equal(made(x), plain)


def test_the_rise_by_exchange_is_told_by_layer():
    model = small("selection_mlp").eval()
    rises = swap_rises(model, tokens(8), tokens(8, seed=2))
    assert set(rises) == {"all", *(f"blocks.{i}.channel_mixer.{way}" for i in range(4) for way in ("up", "down"))}
    assert all(rise != 0 for rise in rises.values())
    assert swap_rises(small("gpt2"), tokens(), tokens()) == {}


def trained_toy(kind: str, **options: Any) -> tuple[float, float]:
    """Error, and error by exchange, as shares of the target's variance: the target is one of two maps, as a third decides."""
    torch.manual_seed(1)
    made = projection(kind, 6, 4, **options)
    decider, first, second, x = torch.randn(4, 6), torch.randn(4, 6), torch.randn(4, 6), torch.randn(512, 6)
    target = torch.where(x @ decider.T > 0, x @ first.T, x @ second.T)
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-2)
    for _ in range(300):
        loss = (made(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        plain = (made(x) - target).square().mean() / target.square().mean()
        with swapped(made):
            exchanged = (made(x) - target).square().mean() / target.square().mean()
    return plain.item(), exchanged.item()


def test_repaired_selectors_specialise_and_published_ones_end_up_interchangeable():
    plain, exchanged = trained_toy("selection")
    assert plain < 0.3 and exchanged > plain + 1
    published, published_exchanged = trained_toy("published/selection")
    assert published > 2 * plain and published_exchanged < published + 0.1
    switched, switched_exchanged = trained_toy("selection", estimator="switch")
    assert switched < published and switched_exchanged > switched + 0.5


def test_the_published_unit_takes_what_its_probability_speaks_against():
    torch.manual_seed(0)
    made = projection("published/selection", 7, 5).double()
    x = torch.randn(1, 7, dtype=torch.float64)
    a, b = made.logits_and_values(x)[1][0]
    p = torch.sigmoid(x @ made.selector_weight.T)[0]
    y = made(x)
    assert torch.equal(y[0], torch.where(p < 0.5, a, b))
    y.sum().backward()
    assert torch.allclose(made.selector_bias.grad, p * (1 - p) * (a - b), atol=1e-12)
