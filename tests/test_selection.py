"""Selection layers: the identities of the straight-through choice, exact zeros, and the statistics."""

from __future__ import annotations

import math

import pytest
import torch

from nnn_bench.measure.selection import model_selection, selection_statistics
from nnn_bench.models.build import Builder
from nnn_bench.models.parts import Port
from nnn_bench.models.projections.selection import Options, Selection
from tests.models import small, tokens, with_options


def layer(K: int, *, inputs: int = 7, outputs: int = 5, detached: bool = False) -> Selection:
    torch.manual_seed(K)
    made = Selection(Options(computations=K, detached_selector=detached), Builder("test"), Port("map", inputs, outputs))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_()
    return made.double()


def plain_straight_through(made: Selection, x: torch.Tensor, detached: bool) -> torch.Tensor:
    """The layer as the source writes it: onehot - stop(p) + p, everything through autograd."""
    K = made.weight.shape[0]
    values = torch.einsum("...i,koi->...ko", x, made.weight) + made.bias.view(K, -1)
    seen = x.detach() if detached else x
    shares = (torch.einsum("...i,koi->...ko", seen, made.selector_weight) + made.selector_bias.view(K, -1)).softmax(-2)
    hard = torch.zeros_like(shares).scatter(-2, shares.argmax(-2, keepdim=True), 1.0)
    return ((hard - shares.detach() + shares) * values).sum(-2)


@pytest.mark.parametrize("K", [2, 3, 5])
@pytest.mark.parametrize("detached", [False, True])
def test_values_and_gradients_equal_the_plain_straight_through_form(K, detached):
    made = layer(K, detached=detached)
    x = torch.randn(4, 6, 7, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(4, 6, 5, dtype=torch.float64)

    def run(function):
        made.zero_grad()
        x.grad = None
        y = function(x)
        y.backward(upstream)
        return [y.detach(), x.grad.clone(), *(p.grad.clone() for p in made.parameters())]

    for ours, plain in zip(run(made), run(lambda x: plain_straight_through(made, x, detached)), strict=True):
        assert torch.allclose(ours, plain, atol=1e-12)


@pytest.mark.parametrize("K", [2, 4])
def test_unselected_computations_get_exactly_zero_for_one_token(K):
    made = layer(K)
    made.watch = []
    made(torch.randn(1, 7, dtype=torch.float64)).sum().backward()
    chosen = made.watch[0].argmax(-2)[0]  # (O,)
    for unit in range(5):
        for k in range(K):
            moved = made.weight.grad[k, unit].abs().sum().item() + made.bias.grad.view(K, -1)[k, unit].abs().item()
            assert (moved > 0) == (k == chosen[unit].item())


def test_identical_look_gives_the_input_gradient_of_the_chosen_rows():
    made = layer(3, detached=True)
    x = torch.randn(1, 7, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(1, 5, dtype=torch.float64)
    made.watch = []
    made(x).backward(upstream)
    chosen = made.watch[0].argmax(-2)[0]
    rows = made.weight[chosen, torch.arange(5)]  # (O, I)
    assert torch.allclose(x.grad, upstream @ rows, atol=1e-12)


def test_one_computation_is_a_plain_linear_map():
    made = layer(1)
    x = torch.randn(3, 7, dtype=torch.float64)
    assert torch.allclose(made(x), x @ made.weight[0].T + made.bias)
    assert {name for name, _ in made.named_parameters()} == {"weight", "bias"}


@pytest.mark.parametrize("K", [2, 3])
def test_parameters_and_fresh_spread(K):
    torch.manual_seed(0)
    made = Selection(Options(computations=K), Builder("test"), Port("map", 256, 256))
    assert sum(p.numel() for p in made.parameters()) == 2 * K * (256 * 256 + 256)
    for k in range(K):  # each (O, I) slice by itself: Xavier for 256 x 256 is 0.0625
        assert made.selector_weight[k].std().item() == pytest.approx(0.0625, rel=0.02)
        assert made.weight[k].std().item() == pytest.approx(0.02, rel=0.02)


def test_option_detached_selector_reaches_the_network():
    model = with_options(
        "selection_transformer", "topology.mixer", projection={"kind": "selection", "detached_selector": True}
    )
    assert model.blocks[0].time_mixer.out.detached_selector
    assert not model.blocks[0].channel_mixer.up.detached_selector


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
