"""The MatMul-free parts: ternary maps, MLGRU, gates."""

from __future__ import annotations

import math

import pytest
import torch

from nnn_bench.models.build import build
from nnn_bench.models.mixers.mlgru import ForgetBounds
from nnn_bench.models.projections.ternary import Ternary, eight_bit, ternarised
from tests.models import small, solved, with_options


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


def test_forget_bounds_of_three_layers_follow_the_formula():
    # bound_l = sum_{j<=l} p_j - p_0 with p = softmax over layers, channel by channel, in plain arithmetic
    bounds = ForgetBounds(2, 3).double()
    logits = [[0.3, -1.2], [2.0, 0.5], [-0.7, 0.1]]
    bounds.logits.data = torch.tensor(logits, dtype=torch.float64)
    for channel in range(2):
        powers = [math.exp(row[channel]) for row in logits]
        shares = [power / sum(powers) for power in powers]
        expected = [0.0, shares[1], shares[1] + shares[2]]
        found = [bounds(layer)[channel].item() for layer in range(3)]
        assert found == pytest.approx(expected, abs=1e-12)
        assert found[2] == pytest.approx(1 - shares[0]) and found[2] < 1  # something is always let in


def ternary_everywhere(width, layers, vocabulary):
    """The network of the source at its published sizes, without storage."""
    tree = solved("matmul_free_complete").model["topology"]
    hidden = 256 * math.ceil(math.floor(8 * width / 3) / 256)
    channel_mixer = {**tree["channel_mixer"], "hidden": hidden}
    topology = {**tree, "width": width, "layers": layers, "channel_mixer": channel_mixer}
    with torch.device("meta"):
        return build({"topology": topology}, vocabulary=vocabulary, context=64), hidden


@pytest.mark.parametrize(("d", "L", "published"), [(1024, 24, 374.1e6), (2048, 24, 1.365e9), (2560, 32, 2.702e9)])
def test_the_complete_network_has_the_published_sizes(d, L, published):
    V = 32_000
    model, m = ternary_everywhere(d, L, V)
    count = model.parameter_count()
    assert count.total == 2 * V * d + L * (4 * d * d + 3 * d * m + 8 * d + m) + L * d + 2 * d
    assert count.total == pytest.approx(published, rel=4e-4)
    assert (count.tables, count.head) == (V * d, V * d + d)


def test_the_complete_network_has_no_matrix_in_full_precision_but_its_table():
    model = small("matmul_free_complete")
    matrices = [name for name, p in model.named_parameters() if p.ndim == 2]
    others = [name for name in matrices if not isinstance(model.get_submodule(name.rpartition(".")[0]), Ternary)]
    assert others == ["embedding", "shared.logits"] and "head.weight" in matrices


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
