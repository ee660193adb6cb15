"""Density: what is kept is counted by hand, and the network is as it was, bit for bit, whatever happens."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nnn_bench.measure.density import SHARES, density_curve, kept, thinned_answers, thinned_weights
from tests.models import small, tokens


class Prunable(nn.Module):
    def __init__(self, values):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(values))
        self.other = nn.Parameter(torch.ones(2))

    def prunable(self):
        return [self.weight]

    def forward(self, x):
        return x * self.weight.flatten()


def bits(model):
    return {name: value.view(torch.int32).clone() for name, value in model.state_dict().items()}


def test_the_largest_magnitudes_are_kept_and_one_at_least():
    values = torch.tensor([[3.0, -4.0, 0.5, 1.0], [0.0, 0.1, -0.2, 0.3]])
    assert kept(values, 0.5).tolist() == [[True, True, False, False], [False, False, True, True]]
    assert kept(values, 0.1).tolist() == [[False, True, False, False], [False, False, False, True]]
    assert kept(values, 1.0).all()
    assert kept(torch.ones(8), 0.25).sum() == 2  # of equals as many as asked, not all


def test_each_tensor_is_thinned_by_itself_and_put_back_bit_for_bit():
    model = nn.Sequential(Prunable([[3.0, -4.0], [0.5, -0.0]]), Prunable([[100.0, 200.0], [300.0, float("nan")]]))
    before = bits(model)
    with thinned_weights(model, 0.5):
        assert model[0].weight.tolist() == [[3.0, -4.0], [0.0, 0.0]]
        assert (model[1].weight != 0).sum() == 2
        assert model[0].other.tolist() == [1.0, 1.0]
    assert all(torch.equal(value, before[name]) for name, value in bits(model).items())
    with pytest.raises(RuntimeError, match="in the middle"), thinned_weights(model, 0.25):
        assert model[0].weight.tolist() == [[0.0, -4.0], [0.0, 0.0]]
        raise RuntimeError("in the middle")
    assert all(torch.equal(value, before[name]) for name, value in bits(model).items())


def test_a_weight_named_by_two_parts_is_thinned_and_restored_once():
    model = nn.Sequential(Prunable([[3.0, -4.0, 2.0, 1.0]]), Prunable([[0.0] * 4]))
    model[1].weight = model[0].weight
    with thinned_weights(model, 0.5):
        assert model[1].weight.tolist() == [[3.0, -4.0, 0.0, 0.0]]
    assert model[0].weight.tolist() == [[3.0, -4.0, 2.0, 1.0]]


def test_answers_are_thinned_at_every_position_until_the_block_is_left():
    model = Prunable([[1.0, 2.0, -3.0, 4.0]])
    x = torch.tensor([[1.0, 1.0, 1.0, 1.0], [9.0, 1.0, 1.0, 0.0]])
    with thinned_answers(model, 0.5):
        assert model(x).tolist() == [[0.0, 0.0, -3.0, 4.0], [9.0, 0.0, -3.0, 0.0]]
    with pytest.raises(RuntimeError), thinned_answers(model, 0.5):
        raise RuntimeError
    assert model(x).tolist() == [[1.0, 2.0, -3.0, 4.0], [9.0, 2.0, -3.0, 0.0]]


@pytest.mark.parametrize("thinned", [thinned_weights, thinned_answers])
def test_a_curve_starts_at_the_loss_of_the_whole_network_and_changes_nothing(thinned):
    model, ids, targets = small("multidimensional_channels"), tokens(4), tokens(4, seed=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        F.cross_entropy(model(ids).flatten(0, 1), targets.flatten()).backward()
        optimizer.step()
    before = bits(model)

    @torch.no_grad()
    def evaluate():
        return F.cross_entropy(model(ids).flatten(0, 1), targets.flatten()).item()

    whole = evaluate()
    curve = density_curve(model, evaluate, thinned=thinned)
    assert list(curve) == ["1", "0.75", "0.5", "0.25", "0.1"] and len(SHARES) == 5
    assert curve["1"] == pytest.approx(whole, rel=1e-5) and evaluate() == whole
    assert curve["0.1"] > curve["0.5"] > whole
    assert all(torch.equal(value, before[name]) for name, value in bits(model).items())
    assert all(p.requires_grad for p in model.parameters())


def test_axis_maps_call_their_axes_prunable_and_a_dense_network_has_no_curve():
    model = small("multidimensional_channels")
    named = {name for name, _ in model.named_parameters() if ".weights." in name}
    parts = [module for module in model.modules() if hasattr(module, "prunable")]
    weights = {id(weight) for part in parts for weight in part.prunable()}
    assert {name for name, p in model.named_parameters() if id(p) in weights} == named and len(named) == 4 * 4 * 2
    assert density_curve(small("gpt2"), lambda: pytest.fail("was evaluated")) == {}
