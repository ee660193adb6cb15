"""Nonlinearities: their values, their derivatives, and which features they touch."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from nnn_bench.config.component import Component
from nnn_bench.config.errors import UserError
from nnn_bench.models.activations import ActivationName, activation
from nnn_bench.models.build import Builder
from nnn_bench.models.parts import Site

BUILDER = Builder("test")
X = [-2.0, -1.0, -0.5, 0.0, 0.5, 3.0]
VALUES = {
    "relu": [0, 0, 0, 0, 0.5, 3],
    "leakyrelu": [-0.5, -0.25, -0.125, 0, 0.375, 2.25],
    "elu": [math.exp(-2) - 1, math.exp(-1) - 1, math.exp(-0.5) - 1, 0, 0.5, 3],
    "abs": [2, 1, 0.5, 0, 0.5, 3],
    "melu": [-2 * math.exp(-2), -math.exp(-1), -0.5 * math.exp(-0.5), 0, 0.5, 3],
    "sort2": X,  # each pair is in order already
    "gelu": [0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) for x in X],
}


def made(name, width, partial=False):
    return activation(name, width, partial=partial, builder=BUILDER)


@pytest.mark.parametrize("name", get_args(ActivationName))
def test_values(name):
    found = made(name, 6)(torch.tensor(X, dtype=torch.float64))
    assert found.tolist() == pytest.approx(VALUES[name], abs=1e-12)


@pytest.mark.parametrize("name", get_args(ActivationName))
def test_the_last_quarter_passes(name):
    x = torch.randn(5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = made(name, 8, partial=True)(x)
    assert torch.equal(found[:, 6:], x[:, 6:])
    assert torch.equal(found[:, :6], made(name, 6)(x[:, :6]))
    assert not torch.equal(found[:, :6], x[:, :6])


@pytest.mark.parametrize(("width", "features"), [(8, 6), (9, 6), (10, 7), (11, 8), (1, 0)])
def test_three_quarters_are_rounded_down(width, features):
    x = -torch.ones(width)
    assert (made("relu", width, partial=True)(x) == 0).sum() == features
    assert made("melu", width, partial=True).flops().other == 3 * features
    assert made("gelu", width).flops().other == 9 * width and made("relu", width).flops().matrix == 0


def test_melu_has_its_derivative_everywhere():
    x = torch.tensor([-30.0, -2.0, -1.0, -1e-9, 0.0, 1e-9, 2.0, 40.0], dtype=torch.float64, requires_grad=True)
    y = made("melu", 8)(x)
    y.sum().backward()
    expected = [(1 + v) * math.exp(v) if v < 0 else 1.0 for v in x.tolist()]
    assert x.grad.tolist() == pytest.approx(expected, abs=1e-15)
    grid = torch.linspace(-5, 5, 10_001, dtype=torch.float64).unsqueeze(-1)
    assert made("melu", 1)(grid).min().item() == pytest.approx(-1 / math.e, abs=1e-15)


def test_sort2_is_a_permutation_and_so_is_its_gradient():
    x = torch.tensor([3.0, 1.0, -1.0, 2.0, 5.0, 5.0], requires_grad=True)
    y = made("sort2", 6)(x)
    assert y.tolist() == [1, 3, -1, 2, 5, 5]
    y.backward(torch.tensor([10.0, 20.0, 30.0, 40.0, 50.0, 60.0]))
    assert x.grad.tolist() == [20, 10, 30, 40, 50, 60]


@pytest.mark.parametrize(("width", "partial"), [(5, False), (4, True), (12, True)])
def test_sort2_refuses_what_cannot_be_paired(width, partial):
    with pytest.raises(UserError, match=r"sort2 sorts pairs, and .* are odd; change the width"):
        made("sort2", width, partial=partial)


def test_a_pair_of_maps_uses_them():
    torch.manual_seed(0)
    options = {"hidden": 8, "activation": "abs", "partial_activation": True, "projection": {"kind": "dense"}}
    mixer = BUILDER.channel_mixer(Component.model_validate({"kind": "mlp", **options}), Site(4, 16, 0, 4))
    x = torch.randn(3, 4)
    h = mixer.up(x)
    assert torch.equal(mixer(x), mixer.down(torch.cat((h[:, :6].abs(), h[:, 6:]), dim=-1)))
    assert mixer.flops().other == 6 + 8 + 4  # six features, two biases
