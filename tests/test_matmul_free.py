"""The MatMul-free parts: ternary maps, MLGRU, gates."""

from __future__ import annotations

import pytest
import torch

from nnn_bench.models.projections.ternary import eight_bit, ternarised
from tests.models import small, with_options


def test_ternary_weights_take_three_values():
    weight = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
    scale = weight.abs().mean()
    values = ternarised(weight).unique()
    assert torch.allclose(values, torch.stack([-scale, 0 * scale, scale]))


def test_weights_round_to_the_nearest_of_the_three():
    # mean magnitude 1: 0.4 rounds to 0, 0.6 to 1, -3 is clipped to -1
    assert ternarised(torch.tensor([[0.4, 0.6, -3.0, 0.0]])).tolist() == [[0.0, 1.0, -1.0, 0.0]]


def test_activations_take_256_levels_of_their_own_token():
    x = torch.randn(5, 40, generator=torch.Generator().manual_seed(0))
    step = x.abs().amax(-1, keepdim=True) / 127
    levels = eight_bit(x) / step
    assert (levels - levels.round()).abs().max().item() < 1e-4
    assert ((eight_bit(x) - x).abs() <= step / 2 + 1e-6).all()
    alone = eight_bit(x[2:3])
    assert torch.equal(eight_bit(x)[2:3], alone)


def test_an_all_zero_token_stays_zero():
    assert torch.equal(eight_bit(torch.zeros(1, 8)), torch.zeros(1, 8))


def test_both_roundings_let_the_gradient_through():
    weight, x = torch.randn(6, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    gradient = torch.randn(3, 6)
    (eight_bit(x) @ ternarised(weight).T).backward(gradient)
    assert torch.allclose(x.grad, gradient @ ternarised(weight).detach(), atol=1e-6)
    assert torch.allclose(weight.grad, gradient.T @ eight_bit(x).detach(), atol=1e-6)


@pytest.mark.parametrize("gate", ["code", "paper"])
def test_mlgru_equals_its_equations_written_plainly(gate):
    model = with_options("matmul_free", "topology.mixer", output_gate=gate).double()
    with torch.no_grad():
        model.shared.logits.normal_()
    mixer, bound = model.blocks[2].time_mixer, None
    shares = model.shared.logits.softmax(0)
    bound = shares.cumsum(0)[2] - shares[0]
    u = torch.randn(2, 9, mixer.width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    h, outputs = torch.zeros(2, mixer.width, dtype=torch.float64), []
    for t in range(9):
        i, f, g = mixer.input(u[:, t]), mixer.forget(u[:, t]), mixer.gate(u[:, t])
        forget = bound + (1 - bound) * torch.sigmoid(f)
        h = forget * h + (1 - forget) * i * torch.sigmoid(i)
        if gate == "code":
            normalised = g / (g.square().mean(-1, keepdim=True) + 1e-6).sqrt() * mixer.gate_norm.weight
            outputs.append(mixer.out(normalised * h * torch.sigmoid(h)))
        else:
            outputs.append(mixer.out(torch.sigmoid(g) * h))
    with torch.no_grad():
        assert torch.allclose(mixer(u, model.shared), torch.stack(outputs, 1), atol=1e-9)


def test_forget_bounds_start_evenly_spaced_and_the_first_layer_has_none():
    bounds = small("matmul_free").shared
    assert bounds(0).abs().max().item() == 0
    assert [round(bounds(layer)[0].item(), 6) for layer in range(4)] == [0.0, 0.25, 0.5, 0.75]


def test_body_parameters_follow_the_published_formula():
    model = small("matmul_free")
    L, d = len(model.blocks), model.width
    m = model.blocks[0].channel_mixer.hidden
    # the head, dense here, has no norm of its own: one d less than the ternary head of the source
    assert model.parameter_count().body == L * (4 * d * d + 3 * d * m + 8 * d + m) + L * d + d


def test_the_state_is_one_vector_a_layer_whatever_the_context():
    state = small("matmul_free").initial_state(2)
    assert [tuple(block.shape) for block in state.blocks] == [(2, 20)] * 4


def test_other_flops_of_the_code_gate_are_counted_by_hand():
    # per mixer of width d (layer > 0): four maps, each a norm 4 d and a rounding 7 d; 7 d gates; 3 d bound; 4 d norm; 3 d gate
    mixer = small("matmul_free").blocks[1].time_mixer
    assert mixer.flops(16).other == (4 * 11 + 7 + 3 + 4 + 3) * mixer.width
