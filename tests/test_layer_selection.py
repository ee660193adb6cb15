"""One choice per token for a whole layer: against a loop over tokens, and its cost and balance."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nnn_bench.models.build import Builder
from nnn_bench.models.parts import Port
from nnn_bench.models.projections.layer_selection import LayerSelection, Options
from tests.models import adding


def layer(K: int, estimator: str = "switch", **options: Any) -> LayerSelection:
    torch.manual_seed(K)
    made = LayerSelection(Options(computations=K, estimator=estimator, **options), Builder("test"), Port("map", 7, 5))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_()
    return made.double()


def one_by_one(made: LayerSelection, x: torch.Tensor, swapped: bool = False) -> torch.Tensor:
    """Each token `(I,)` through the computation it chose, the gradient of the choice written out."""
    K = made.computations
    outputs = []
    for token in x:
        seen = token.detach() if made.estimator == "identical_look" else token
        p = (made.selector_weight @ seen + made.selector_bias).softmax(0)
        chosen = p.argsort(descending=True)[int(swapped)]
        if made.estimator == "switch":
            y = made.weight[chosen] @ token + made.bias.view(K, -1)[chosen]
            outputs.append(y * p[chosen] / p[chosen].detach())
        else:
            values = torch.stack([made.weight[k] @ token + made.bias.view(K, -1)[k] for k in range(K)])
            mask = torch.nn.functional.one_hot(chosen, K) - p.detach() + p
            outputs.append(mask @ values)
    return torch.stack(outputs)


@pytest.mark.parametrize("K", [2, 3, 5])
@pytest.mark.parametrize("estimator", ["straight_through", "identical_look", "switch"])
@pytest.mark.parametrize("swapped", [False, True])
def test_values_and_gradients_equal_a_loop_over_tokens(K, estimator, swapped):
    made = layer(K, estimator)
    made.swapped = swapped
    x = torch.randn(3, 6, 7, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(18, 5, dtype=torch.float64)

    def run(y):
        return [y, *torch.autograd.grad((y * upstream).sum(), [x, *made.parameters()])]

    for ours, loop in zip(run(made(x).flatten(0, 1)), run(one_by_one(made, x.flatten(0, 1), swapped)), strict=True):
        assert torch.allclose(ours, loop, atol=1e-12)


def test_only_what_was_chosen_is_computed_whatever_the_split():
    made = layer(4)
    dense = 2 * 7 * 5
    for spread in (0.0, 1.0, 100.0):  # from few computations to one that takes all
        with torch.no_grad():
            made.selector_bias.copy_(torch.tensor([0.0, 0.0, 0.0, spread]))
        x = torch.randn(33, 7, dtype=torch.float64, requires_grad=True)
        counter = FlopCounterMode(display=False)
        with counter:
            y = made(x)
            assert counter.get_total_flops() == 33 * (dense + 2 * 7 * 4) == 33 * made.flops().matrix
            y.sum().backward()
        assert counter.get_total_flops() == 33 * made.flops().with_backward.matrix
    assert not made.weight.grad[0].isnan().any()


@pytest.mark.parametrize("estimator", ["straight_through", "identical_look", "switch"])
def test_declared_flops_equal_the_counted_ones(estimator):
    made = layer(3, estimator)
    x = torch.randn(11, 7, dtype=torch.float64, requires_grad=True)
    counter = FlopCounterMode(display=False)
    with counter:
        y = made(x)
        assert counter.get_total_flops() == 11 * made.flops().matrix
        y.sum().backward()
    assert counter.get_total_flops() == 11 * made.flops().with_backward.matrix


@pytest.mark.parametrize("estimator", ["straight_through", "switch"])
def test_balance_is_that_of_whole_layers(estimator):
    made = layer(3, estimator, balance=0.1)
    x = torch.randn(40, 7, dtype=torch.float64)
    logits = made.logits_and_values(x)[0].squeeze(-1)
    frequency = logits.argmax(-1).bincount(minlength=3) / 40
    _, [added] = adding(made, x)
    expected = 0.1 * 3 * (frequency * logits.softmax(-1).mean(0)).sum()
    assert added.item() == pytest.approx(expected.item(), rel=1e-6)
    [to_selectors] = torch.autograd.grad(added, [made.selector_weight])
    [by_hand] = torch.autograd.grad(expected, [made.selector_weight])
    assert torch.allclose(to_selectors, by_hand, atol=1e-8)


def test_parameters_and_a_watch_with_one_choice_per_token():
    made = layer(3)
    assert sum(p.numel() for p in made.parameters()) == 3 * (7 * 5 + 5) + 3 * (7 + 1)
    made.watch = []
    made(torch.randn(2, 4, 7, dtype=torch.float64))
    assert made.watch[0].shape == (2, 4, 3, 1)


def test_noise_moves_the_choice_in_training_alone():
    made = layer(3, exploration=0.5)
    x = torch.randn(60, 7, dtype=torch.float64)
    plain = made(x)
    made.progressed(0.0)
    assert 0 < (made(x) != plain).any(-1).double().mean() < 1
    assert torch.equal(made.eval()(x), plain)
    made.train().progressed(0.5)
    assert torch.equal(made(x), plain)


@pytest.mark.parametrize("estimator", ["straight_through", "switch"])
@pytest.mark.parametrize("K", [1, 2])
def test_growing_keeps_function_and_state(K, estimator):
    made = layer(K, estimator, clones=1)
    x = torch.randn(30, 7, dtype=torch.float64)
    state = {name: torch.randn_like(p) for name, p in made.named_parameters()}
    y = made(x)
    origins = made.grow()
    assert torch.allclose(made(x), y, atol=1e-14, rtol=0)
    assert made.selector_weight.shape == (K + 1, 7) and made.selector_bias.shape == (K + 1,)
    for name, origin in origins.items():
        moment = origin.heir(state[name])
        assert moment.shape == getattr(made, name).shape
        assert torch.equal(moment.view(K + 1, -1)[-1], state[name].view(K, -1)[0])
