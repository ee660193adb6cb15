"""Several maps in a row as one: where it scales and bends, how it is born, what it costs and what it refuses."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from nnn_bench.config.component import Component
from nnn_bench.config.errors import UserError
from nnn_bench.models.build import Builder
from nnn_bench.models.parts import Port

DENSE = {"kind": "dense"}


def made(**options):
    port = Port("map", 4, 3)
    torch.manual_seed(0)
    return Builder("file").projector(Component(kind="chain", **options))(port).double()


def test_a_chain_scales_and_bends_between_its_maps_and_not_around_them():
    one = made(maps=3, hidden=5, input_scale="maxabs", scale="layer", activation="relu", projection=DENSE)
    shapes = [tuple(link.weight.shape) for link in one.maps]
    assert shapes == [(5, 4), (5, 5), (3, 5)]
    x = torch.randn(6, 4, dtype=torch.float64)
    expected = x / (x.abs().amax(-1, keepdim=True) + 1e-6) @ one.maps[0].weight.T
    for link in one.maps[1:]:
        expected = F.layer_norm(expected, (5,)).relu() @ link.weight.T
    with torch.no_grad():
        assert (one(x) - expected).abs().max() < 1e-9
    assert one.flops().matrix == 2 * (4 * 5 + 5 * 5 + 5 * 3)
    assert one.flops().other == 3 * 4 + 2 * (5 * 5 + 5) + 5 + 5 + 3
    assert [tuple(link.weight.shape) for link in made(maps=2, projection=DENSE).maps] == [(4, 4), (3, 4)]
    assert made(maps=2, projection=DENSE).maps[0].weight.abs().max().item() == pytest.approx(0.5, abs=0.1)
    with pytest.raises(UserError, match="maps"):
        made(maps=1, projection=DENSE)
    with pytest.raises(UserError, match="sort2 sorts pairs, and 5 features of 5 are odd"):
        made(maps=2, hidden=5, activation="sort2", projection=DENSE)
