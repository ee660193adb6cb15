"""The radix comb: one path to every past position, its equation in plain loops, growing by an axis."""

from __future__ import annotations

import itertools

import pytest
import torch

from nnn_bench.config.component import Component
from nnn_bench.config.errors import UserError
from nnn_bench.models.build import Builder, build
from nnn_bench.models.parts import Site
from nnn_bench.models.radix import balanced, strides
from tests.models import shake, small, tokens, with_options

DENSE = {"kind": "dense", "bias": False}


def comb(context, width=4, **options):
    tree = {"kind": "comb", "projection": DENSE, **options}
    torch.manual_seed(0)
    return Builder("test").time_mixer(Component.model_validate(tree), Site(width, context, 0, 4))


def bare(context, **options):
    """One feature, all maps the identity: what is left is the mixing over time."""
    mixer = comb(context, width=1, activation="relu", **options).double()
    with torch.no_grad():
        mixer.input.weight.fill_(1.0)
        mixer.out.weight.fill_(1.0)
    return mixer


def pattern(mixer, context):
    """How often each past position is counted with all weights one, `(T, T)`."""
    with torch.no_grad():
        for weights in mixer.weights:
            weights.fill_(1.0)
        return mixer(torch.eye(context, dtype=torch.float64).unsqueeze(-1))[:, :, 0].T


@pytest.mark.parametrize(
    ("radices", "context"), [([16, 16], 256), ([4, 8, 8], 256), ([2] * 8, 256), ([10, 10], 100), ([6, 6, 6], 200)]
)
def test_exactly_one_path_leads_to_every_past_position(radices, context):
    for sharing in ("shared", "separate"):
        mixer = bare(context, radices=radices, sharing=sharing)
        assert torch.equal(pattern(mixer, context), torch.ones(context, context, dtype=torch.float64).tril())
        assert not mixer.partial and torch.equal(mixer.sees(context), torch.ones(context, context).tril().bool())


@pytest.mark.parametrize(
    ("options", "context"),
    [
        ({"radices": [3, 4], "order": "parallel"}, 12),
        ({"radices": [2, 3]}, 16),  # shorter than the window
        ({"radices": [2, 3, 2], "born_axes": 2}, 12),
    ],
)
def test_what_a_partial_comb_claims_to_see_is_what_it_sees(options, context):
    mixer = bare(context, **options)
    assert mixer.partial
    assert torch.equal(mixer.sees(context), pattern(mixer, context) > 0)


def test_side_by_side_counts_itself_once_for_each_axis():
    found = pattern(bare(12, radices=[3, 4], order="parallel"), 12)
    assert found[11].tolist() == [0, 0, 1, 0, 0, 1, 0, 0, 1, 1, 1, 2]  # lags 1, 2 and 3, 6, 9; lag 0 twice


def test_as_many_layers_side_by_side_as_axes_see_everything():
    sees = bare(12, radices=[3, 2, 2], order="parallel").sees(12).double()
    past = torch.ones(12, 12).tril().bool()
    assert torch.equal(sees @ sees @ sees > 0, past) and not torch.equal(sees @ sees > 0, past)


def in_loops(mixer, u):
    """The equation, entry by entry: `u (B, T, H)`."""
    _, T, H = u.shape
    parts, given = [], u
    for weights, radix, stride in zip(mixer.weights, mixer.radices, mixer.strides, strict=False):
        found = torch.zeros_like(u)
        for t, feature, lag in itertools.product(range(T), range(H), range(radix)):
            row = {"toeplitz": 0, "shared": t // stride % radix, "separate": t}[mixer.sharing]
            if t - lag * stride >= 0:
                group = feature * mixer.groups // H
                found[:, t, feature] += weights[group, row, lag] * given[:, t - lag * stride, feature]
        parts.append(found)
        given = found if mixer.order == "sequential" else u
    return parts[-1] if mixer.order == "sequential" else sum(parts)


@pytest.mark.parametrize("sharing", ["toeplitz", "shared", "separate"])
@pytest.mark.parametrize("order", ["sequential", "parallel"])
def test_it_is_its_equation(sharing, order):
    for radices, length, groups in [
        ([2, 3, 2], 12, 2),
        ([2, 3, 2], 11, 1),
        ([3, 2], 13, 2),
        ([4, 4], 3, 1),
        ([3], 7, 4),
    ]:
        options = {"radices": radices, "sharing": sharing, "order": order, "groups": groups}
        mixer = comb(13, gate=True, activation="melu", partial_activation=True, hidden=8, **options).double()
        x = torch.randn(2, length, 4, dtype=torch.float64)
        with torch.no_grad():
            u = mixer.input(x)
            v = in_loops(mixer, u) * torch.sigmoid(mixer.gate(u))
            v = torch.cat((v[..., :6] * torch.exp(v[..., :6].clamp(max=0)), v[..., 6:]), dim=-1)
            assert (mixer(x) - mixer.out(v)).abs().max() < 1e-12

            state, stepped = mixer.initial_state(2), []
            for t in range(length):
                y, state = mixer.step(x[:, t], state)
                stepped.append(y)
            assert (mixer(x) - torch.stack(stepped, dim=1)).abs().max() < 1e-12


def test_a_step_remembers_one_vector_less_than_the_window():
    state = comb(64, radices=[4, 4, 4]).initial_state(2)
    assert [ring.shape[1] for ring in state.rings] == [3, 12, 48]
    assert sum(ring.numel() for ring in state.rings) == 63 * 2 * 4


@pytest.mark.parametrize(("sharing", "expected"), [("toeplitz", 32), ("shared", 512), ("separate", 8192)])
def test_weights_of_256_positions_in_two_axes(sharing, expected):
    for groups in (1, 4):
        mixer = comb(256, axes=2, sharing=sharing, groups=groups)
        assert mixer.radices == [16, 16]
        assert sum(weights.numel() for weights in mixer.weights) == expected * groups


def test_inside_it_is_as_wide_as_its_place_or_in_proportion():
    def narrow(**options):
        component = Component.model_validate({"kind": "comb", "axes": 2, "projection": DENSE, **options})
        return Builder("test").time_mixer(component, Site(8, 16, 0, 4, widest=32))

    assert narrow().hidden == 8 and narrow(hidden=64).hidden == 16


@pytest.mark.parametrize(
    ("positions", "axes", "expected"),
    [(256, 2, [16, 16]), (256, 3, [7, 7, 6]), (256, 8, [2] * 8), (128, 2, [12, 11]), (100, 2, [10, 10]), (5, 1, [5])],
)
def test_radices_are_the_smallest_balanced_ones(positions, axes, expected):
    assert balanced(positions, axes) == expected
    assert balanced(1, 3) == [2, 2, 2] and strides([4, 8, 8]) == [1, 4, 32]


@pytest.mark.parametrize("order", ["sequential", "parallel"])
def test_fresh_weights_keep_the_variance(order):
    mixer = comb(256, axes=2, groups=64, width=64, order=order)
    kernel = pattern_of_fresh(mixer)
    assert kernel.square().sum(dim=-1).mean().item() == pytest.approx(1, abs=0.15)
    assert kernel[:, 1:].abs().amax(dim=-1).min() > 0.02  # none starts closed


def pattern_of_fresh(mixer):
    """Weights of all lags, as the last position of a window has them, `(groups, T)`."""
    impulses = torch.eye(256).unsqueeze(0).expand(64, -1, -1).transpose(1, 2)  # (G, T, N): one sequence per lag
    with torch.no_grad():
        return mixer._mixed(impulses.contiguous())[:, -1].flip(-1)


def test_growing_by_an_axis_keeps_the_function_and_opens_the_past():
    mixer = comb(32, radices=[4, 4, 2], born_axes=1, sharing="separate", groups=2).double()
    assert mixer.growths == 2 and len(mixer.weights) == 1
    x = torch.randn(2, 32, 4, dtype=torch.float64)
    for axes, reach in [(2, 16), (3, 32)]:
        before = mixer(x)
        assert mixer.partial and mixer.grow() == {}
        assert torch.equal(mixer(x), before) and len(mixer.weights) == axes
        assert mixer.sees(32)[31].sum() == reach
        mixer(x).square().sum().backward()
        assert all((weights.grad.flatten(0, 1).abs().amax(dim=0) > 0).all() for weights in mixer.weights)
        shake(mixer)
        assert not torch.equal(mixer(x), before)
    assert not mixer.partial


def test_the_growing_network_sees_more_at_each_stage():
    model = small("multidimensional_growing")
    assert model.visible(16)[15].sum() == 13  # four layers of lags up to three
    model.grow()
    assert model.visible(16)[15].sum() == 16


def test_a_window_of_another_length_reads_the_same_weights():
    model = with_options("multidimensional", "topology.mixer", radices=[3, 7], axes=None)
    with torch.no_grad():
        whole = model(tokens())
        for length in (1, 2, 7, 11):
            assert (model(tokens()[:, :length]) - whole[:, :length]).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "give either radices, as [8, 8], or the number of axes"),
        ({"axes": 2, "radices": [4, 4]}, "give either radices"),
        ({"axes": 2, "groups": 3}, "is 3, which does not divide the hidden width 4"),
        ({"axes": 2, "born_axes": 3}, "must be at most 2, the number of axes"),
        ({"axes": 2, "born_axes": 1, "order": "parallel"}, "needs order: sequential"),
        ({"axes": 2, "activation": "sort2", "partial_activation": True}, "3 features (three quarters"),
        ({"radices": [4, 1]}, "radices"),
    ],
)
def test_what_cannot_work_is_refused(options, says):
    with pytest.raises(UserError) as refused:
        comb(16, **options)
    assert says in str(refused.value)


def test_a_comb_that_grows_needs_a_schedule():
    stack = small("multidimensional")._made_from[0].model_dump(mode="json")
    tree = {"kind": "stack", **stack}
    tree["mixer"] = {**tree["mixer"], "born_axes": 1}
    with pytest.raises(UserError, match=r"comb grows 1 times and stack has no growth"):
        build({"topology": tree}, vocabulary=29, context=16)
