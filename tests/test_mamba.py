"""Mamba: the scan against a plain loop, the mixer against a public package, sizes and scales of the published networks."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
import torch.nn.functional as F

from nnn_bench.budget.solver import meta_model
from nnn_bench.models import selective_scan as scans
from nnn_bench.models.build import Builder, build
from nnn_bench.models.mixers.mamba import Mamba, Options
from nnn_bench.models.parts import Site
from nnn_bench.models.selective_scan import selective_scan, selective_step

PIECEWISE = {"kind": "piecewise", "nodes": 3, "segments": 2}
PAIR = {"kind": "chain", "maps": 2, "hidden": "outputs"}


def loop(u, step, rates, into, out_of):
    """The recurrence as it is written down."""
    state, y = u.new_zeros(u.shape[0], *rates.shape), []
    for t in range(u.shape[1]):
        decay = torch.exp(step[:, t, :, None] * rates)
        state = decay * state + (step[:, t] * u[:, t])[:, :, None] * into[:, t, None, :]
        y.append((state @ out_of[:, t, :, None]).squeeze(-1))
    return torch.stack(y, dim=1)


def drawn(B, T, D, N, dtype=torch.float64):
    dice = torch.Generator().manual_seed(0)
    u, into, out_of = (torch.randn(B, T, size, generator=dice, dtype=dtype) for size in (D, N, N))
    step = F.softplus(torch.randn(B, T, D, generator=dice, dtype=dtype) - 1)
    rates = -N * torch.rand(D, N, generator=dice, dtype=dtype)
    return [one.requires_grad_() for one in (u, step, rates, into, out_of)]


def values_and_gradients(function, inputs):
    y = function(*inputs)
    upstream = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return [y.detach(), *torch.autograd.grad(y, inputs, upstream.to(y.dtype))]


SHAPES = [(2, 1, 3, 2), (1, 15, 4, 1), (3, 16, 8, 4), (2, 17, 9, 5), (2, 130, 33, 16)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("function", [selective_scan, scans._laid_out])
def test_values_and_gradients_equal_the_loop(shape, function):
    inputs = drawn(*shape)
    expected = values_and_gradients(loop, inputs)
    for ours, plain in zip(values_and_gradients(function, inputs), expected, strict=True):
        assert (ours - plain).abs().max().item() < 1e-9
    floats = [one.detach().float().requires_grad_() for one in inputs]
    for ours, plain in zip(values_and_gradients(function, floats), expected, strict=True):
        assert (ours - plain).abs().max().item() < 1e-5 * plain.abs().max().clamp(min=1).item()


def test_the_gradient_passes_a_numerical_check():
    assert torch.autograd.gradcheck(selective_scan, drawn(2, 18, 3, 2), fast_mode=True)


def test_a_single_state_is_worked_by_hand():
    column = lambda *numbers: torch.tensor(numbers, dtype=torch.float64).view(1, -1, 1)  # noqa: E731
    rates = torch.tensor([[-math.log(2)]], dtype=torch.float64)
    y = selective_scan(column(1, 2, 0), column(1, 2, 3), rates, column(1, 3, 5), column(1, 1, 2))
    # s: 1; 1 / 4 + 2 x 2 x 3 = 12.25; 12.25 / 8 = 1.53125, read twice as strongly
    assert y.flatten().tolist() == pytest.approx([1.0, 12.25, 3.0625], abs=1e-12)


def test_steps_one_at_a_time_say_the_same():
    u, step, rates, into, out_of = drawn(2, 20, 5, 3)
    state, y = torch.zeros(2, 5, 3, dtype=torch.float64), []
    for t in range(20):
        one, state = selective_step(u[:, t], step[:, t], rates, into[:, t], out_of[:, t], state)
        y.append(one)
    assert (torch.stack(y, dim=1) - selective_scan(u, step, rates, into, out_of)).abs().max().item() < 1e-12


def decays(exponents):
    """exp of `exponents (K,)` as the compiled scan takes it: what is left of a state of one after one position."""
    K = len(exponents)
    u = torch.zeros(1, 2, K)
    u[0, 0] = 1
    step, ones = torch.ones(1, 2, K), torch.ones(1, 2, 1)
    return selective_scan(u, step, exponents.view(K, 1), ones, ones)[0, 1]


def test_the_exponential_of_floats_is_right_to_the_last_place_and_never_overflows():
    exponents = torch.cat([torch.linspace(-86.9, 5, 20_001), torch.tensor([0.0, -1e-9, -1e-30])])
    exact = exponents.double().exp()
    assert ((decays(exponents).double() - exact) / exact).abs().max().item() < 1.2e-7
    assert decays(torch.zeros(1)).item() == 1
    assert 0 <= decays(torch.tensor([-1e30])).item() < 1e-37
    assert torch.isfinite(decays(torch.tensor([1e30])))


def test_strided_inputs_and_expanded_gradients_are_read_right():
    u, step, rates, into, out_of = drawn(2, 20, 5, 3)
    both = torch.cat([into, out_of], dim=-1).detach().requires_grad_()
    inputs = [u.detach().transpose(0, 1).contiguous().transpose(0, 1).requires_grad_(), step, rates, both]
    found = [
        torch.autograd.grad(function(*inputs[:3], *both.split(3, dim=-1)).sum(), inputs)  # its gradient has stride 0
        for function in (selective_scan, loop)
    ]
    assert all(torch.allclose(ours, plain, atol=1e-9) for ours, plain in zip(*found, strict=True))


def test_half_precision_is_computed_wide():
    inputs = [one.detach().bfloat16() for one in drawn(1, 40, 3, 2)]
    y = selective_scan(*inputs)
    assert y.dtype == torch.float32
    assert torch.equal(y, selective_scan(*(one.float() for one in inputs)))


def test_what_is_not_a_number_stays_one():
    inputs = [one.detach().float() for one in drawn(1, 20, 3, 2)]
    inputs[1][0, 4, 1] = math.nan
    y = selective_scan(*inputs)
    assert torch.isfinite(y[0, :4]).all() and y[0, 4:, 1].isnan().all()


def mixer(width=24, context=40, layers=1, dtype=torch.float64, **options):
    torch.manual_seed(0)
    options = {"inner": 2 * width, "state": 6, "projection": {"kind": "dense", "bias": False}, **options}
    return Mamba(Options.model_validate(options), Builder("test"), Site(width, context, 0, layers)).to(dtype)


@pytest.fixture(scope="module")
def reference():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mambapy.mamba import MambaBlock, MambaConfig
    torch.manual_seed(0)
    return MambaBlock(MambaConfig(d_model=24, n_layers=1, d_state=6, pscan=False))


def test_output_and_gradients_equal_those_of_the_public_package(reference):
    """mambapy keeps the bias of Dt in its map, the convolution as (D, 1, K); all else has one meaning."""
    ours = mixer(dtype=torch.float32)
    theirs = {
        "input.weight": reference.in_proj.weight,
        "parameter.weight": reference.x_proj.weight,
        "step_size.weight": reference.dt_proj.weight,
        "out.weight": reference.out_proj.weight,
        "step_bias": reference.dt_proj.bias,
        "convolution": reference.conv1d.weight,
        "convolution_bias": reference.conv1d.bias,
        "log_rates": reference.A_log,
        "skip": reference.D,
    }

    def as_ours(name, tensor):
        return tensor.squeeze(1).t() if name == "convolution" else tensor

    ours.load_state_dict({name: as_ours(name, one.detach()) for name, one in theirs.items()})
    x = torch.randn(3, 40, 24, generator=torch.Generator().manual_seed(1)).requires_grad_()
    upstream = torch.randn(3, 40, 24, generator=torch.Generator().manual_seed(2))
    expected, found = reference(x), ours(x)
    assert expected.abs().max() > 0.1
    assert (found - expected).abs().max().item() < 1e-5
    named = dict(ours.named_parameters())
    assert named.keys() == theirs.keys()
    gradients = torch.autograd.grad(found, [x, *named.values()], upstream)
    wanted = torch.autograd.grad(expected, [x, *(theirs[name] for name in named)], upstream)
    for name, mine, other in zip(["x", *named], gradients, wanted, strict=True):
        largest = other.abs().max().item()
        apart = (mine - as_ours(name, other)).abs().max().item()
        assert largest > 1e-4 and apart < 1e-5 * max(1.0, largest) and apart < 1e-3 * largest


def test_the_same_is_born_where_the_public_package_is_born_so(reference):
    made = mixer(width=320, layers=4)
    assert torch.allclose(made.log_rates, torch.tensor([1.0, 2, 3, 4, 5, 6]).log().double().expand(640, 6))
    assert torch.equal(made.skip, torch.ones(640, dtype=torch.float64))
    step = F.softplus(made.step_bias)
    assert 0.001 <= step.min() < 0.0012 and 0.08 < step.max() <= 0.1
    assert step.log().mean().item() == pytest.approx(math.log(0.01), abs=0.2)
    # largest weights: 1 / sqrt(inputs), of Dt 1 / sqrt(rank), to the residual stream halved in one of four layers
    bounds = {"input": 320**-0.5, "parameter": 640**-0.5, "step_size": 20**-0.5, "out": 640**-0.5 / 2}
    for name, bound in bounds.items():
        assert getattr(made, name).weight.abs().max().item() == pytest.approx(bound, rel=0.01)
    assert made.convolution.abs().max().item() == pytest.approx(0.5, rel=0.01)
    assert reference.dt_proj.weight.abs().max().item() == pytest.approx(2**-0.5, rel=0.1)


def test_the_convolution_is_that_of_torch_and_sees_no_future():
    made = mixer()
    u = torch.randn(2, 10, 48, dtype=torch.float64)
    weights = made.convolution.t().unsqueeze(1)
    for length in (1, 2, 3, 10):
        expected = F.conv1d(F.pad(u[:, :length].mT, (3, 0)), weights, made.convolution_bias, groups=48).mT
        assert (made._convolved(u[:, :length]) - expected).abs().max().item() < 1e-12
    only_first = mixer(convolution=1)
    assert torch.allclose(only_first._convolved(u), u * only_first.convolution[0] + only_first.convolution_bias)


@pytest.mark.parametrize(
    "options", [{}, {"step_bias": False, "rank": 3}, {"convolution": 1}, {"projection": PIECEWISE}]
)
def test_step_equals_forward(options):
    made = mixer(**options)
    x = torch.randn(2, 12, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    state, found = made.initial_state(2), []
    for t in range(12):
        one, state = made.step(x[:, t], state)
        found.append(one)
    assert (torch.stack(found, dim=1) - made(x)).abs().max().item() < 1e-9


def test_each_map_may_be_of_its_own_kind():
    made = mixer(
        step_projection={**PIECEWISE, "nodes": 2},
        out_projection={**PAIR, "projection": PIECEWISE},
    )
    kinds = [type(one).__name__ for one in (made.input, made.parameter, made.step_size, made.out)]
    assert kinds == ["Dense", "Dense", "Piecewise", "ScaledChain"]


def test_a_pair_is_one_map_after_the_other_and_nothing_else():
    made = mixer(projection={**PAIR, "projection": {**PIECEWISE, "clamp": True}})
    first, second = made.out.maps
    assert (first.weight.shape, second.weight.shape) == ((5, 48, 24), (5, 24, 24))
    x = torch.randn(3, 48, dtype=torch.float64)
    assert torch.equal(made.out(x), second(first(x)))
    assert made.out.flops() == first.flops() + second.flops()


def published(layers, projection, **options):
    mixing = {"kind": "mamba", "inner": 128, "state": 32, "projection": projection, **options}
    stack = {"kind": "stack", "width": 64, "layers": layers, "norm": "rms", "positions": "none", "tied_head": True}
    return {"topology": {**stack, "table_deviation": 1.0, "mixer": mixing, "channel_mixer": None}}


@pytest.mark.parametrize(
    ("layers", "projection", "step_bias", "count"),
    [
        (5, {"kind": "dense", "bias": False}, True, 202_496),
        (
            2,
            {**PAIR, "projection": {**PIECEWISE, "form": "continuous"}},
            False,
            1_262_432,
        ),
        (
            2,
            {**PAIR, "projection": {**PIECEWISE, "form": "discontinuous"}},
            False,
            1_511_296,
        ),
    ],
)
def test_published_networks_have_the_published_size(layers, projection, step_bias, count):
    tree = published(layers, projection, step_bias=step_bias)
    made = meta_model(tree, vocabulary=128, context=15, file="test")
    assert made.parameter_count().total == count


def test_an_embedding_of_unit_scale_that_is_tied_to_the_head_is_sixty_nats_off_at_birth():
    torch.manual_seed(0)
    model = build(published(5, {"kind": "dense", "bias": False}), vocabulary=128, context=15)
    ids, targets = torch.randint(128, (2, 64, 15)).unbind(0)
    loss = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten()).item()
    assert loss == pytest.approx(60, abs=8)  # against ln 128 = 4.9: each answer is sure of the token it has just seen


def test_the_mixer_alone_is_a_block_and_needs_nothing_beside_it():
    model = build(published(2, "dense"), vocabulary=7, context=9)
    assert all(block.channel_mixer is None and block.channel_norm is None for block in model.blocks)
    mixers = [block.time_mixer for block in model.blocks]
    assert all(isinstance(one, Mamba) for one in mixers)
    outside = {"embedding", "norm.weight", "blocks.0.time_norm.weight", "blocks.1.time_norm.weight"}
    assert {name for name, _ in model.named_parameters() if ".time_mixer." not in name} == outside
