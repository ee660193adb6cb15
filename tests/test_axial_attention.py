"""Attention along rows, then columns: what it sees, what it misses, and its equation."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from nnn_bench.config.component import Component
from nnn_bench.models.build import Builder
from nnn_bench.models.parts import Site


def axial(context, row=None, heads=2, width=4):
    tree = {"kind": "axial_attention", "heads": heads, "row": row, "projection": {"kind": "dense"}}
    torch.manual_seed(0)
    mixer = Builder("test").time_mixer(Component.model_validate(tree), Site(width, context, 0, 4)).double()
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.normal_(0, 0.5)
    return mixer


def test_in_rows_of_sixteen_it_is_blind_to_14400_of_32896_pairs():
    mixer = axial(256)
    past = torch.ones(256, 256).tril().bool()
    seen = mixer.sees(256)
    assert mixer.row == 16 and mixer.partial and not (seen & ~past).any()
    assert past.sum() == 32_896 and (past & ~seen).sum() == 14_400


def reached(layers, context):
    """By gradient, through as many layers as given: does position s (column) move position t (row)?"""
    x = torch.randn(1, context, 4, dtype=torch.float64, requires_grad=True)
    y = x
    for mixer in layers:
        y = y + mixer(y)
    rows = [torch.autograd.grad(y[0, t].sum(), x, retain_graph=True)[0][0].abs().amax(dim=-1) for t in range(context)]
    return torch.stack(rows) > 0


@pytest.mark.parametrize(("context", "row"), [(12, 4), (11, 4), (12, 5), (6, 1), (6, 8)])
def test_it_sees_what_it_claims_and_depth_does_not_help(context, row):
    mixer = axial(context, row)
    assert torch.equal(reached([mixer], context), mixer.sees(context))
    assert torch.equal(reached([mixer, mixer, mixer], context), mixer.sees(context))
    past = torch.ones(context, context).tril().bool()
    assert mixer.partial == (not torch.equal(mixer.sees(context), past))


def in_loops(mixer, x):
    """The equation for one sequence `(T, C)`."""
    T, C = x.shape
    H, D, b = mixer.heads, C // mixer.heads, mixer.row
    q1, k1, v, q2, k2 = mixer.axes(x).view(T, 5, H, D).unbind(1)
    r, y = torch.zeros_like(v), torch.zeros_like(v)
    for q, k, values, out, places in [
        (q1, k1, v, r, lambda t: range(t - t % b, t + 1)),
        (q2, k2, r, y, lambda t: range(t % b, t + 1, b)),
    ]:
        for t in range(T):
            past = list(places(t))
            for h in range(H):
                shares = torch.softmax(k[past, h] @ q[t, h] / D**0.5, dim=0)
                out[t, h] = shares @ values[past, h]
    return mixer.out(y.reshape(T, C))


@pytest.mark.parametrize(("length", "row"), [(12, 4), (10, 4), (3, 4), (12, 5)])
def test_it_is_its_equation_and_so_is_each_step(length, row):
    mixer = axial(12, row)
    x = torch.randn(2, length, 4, dtype=torch.float64)
    with torch.no_grad():
        whole = mixer(x)
        assert (whole - torch.stack([in_loops(mixer, one) for one in x])).abs().max() < 1e-12
        state = mixer.initial_state(2)
        for t in range(length):
            y, state = mixer.step(x[:, t], state)
            assert (y - whole[:, t]).abs().max() < 1e-12


def test_a_full_state_takes_no_more():
    mixer = axial(2)
    state = mixer.initial_state(1)
    for _ in range(2):
        _, state = mixer.step(torch.zeros(1, 4, dtype=torch.float64), state)
    with pytest.raises(ValueError, match="holds 2 positions and is full"):
        mixer.step(torch.zeros(1, 4, dtype=torch.float64), state)


def test_it_costs_a_row_and_a_column_of_scores():
    mixer = axial(256, heads=4, width=16)
    maps = 2 * 16 * (5 * 16) + 2 * 16 * 16
    assert mixer.flops(256).matrix == maps + 4 * 16 * (16 + 16)
    assert mixer.step_flops(18).matrix == maps + 4 * 16 * (2 + 2)  # second of the second row
    with sdpa_kernel(SDPBackend.MATH), torch.no_grad(), FlopCounterMode(display=False) as counter:
        mixer(torch.zeros(2, 256, 16, dtype=torch.float64))
    assert counter.get_total_flops() == 2 * 256 * mixer.flops(256).matrix
