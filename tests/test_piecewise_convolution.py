"""Piecewise convolutions: against the published layers and against a loop, folded, from symbols, and in their geometry."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nnn_bench.config.component import Component
from nnn_bench.models.build import Builder
from nnn_bench.models.pieces import Pieces
from nnn_bench.models.piecewise_convolution import Convolution, Place, planned, reached, unfolded

N, I, O = 3, 2, 4  # noqa: E741


@pytest.fixture(scope="module")
def published():
    """`high_order_convolution_layers` of high-order-layers-torch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from high_order_layers_torch.layers import high_order_convolution_layers
    return high_order_convolution_layers


def convolution(place, *, form="continuous", nodes=2, segments=2, inputs=I, from_newest=True):
    project = Builder("file").projector(Component(kind="piecewise", form=form, nodes=nodes, segments=segments))
    return Convolution(project, "convolution", inputs, O, place, from_newest=from_newest)


def gradients(y, direction, *of):
    return torch.autograd.grad((y * direction).sum(), of)


GRID = [
    ("continuous", 2, 2, 3, 1),
    ("continuous", 2, 10, 4, 4),
    ("continuous", 2, 128, 4, 2),
    ("continuous", 3, 4, 2, 2),
    ("continuous", 4, 2, 4, 3),
    ("discontinuous", 2, 2, 4, 2),
    ("discontinuous", 3, 5, 2, 1),
]


@pytest.mark.parametrize("from_newest", [False, True])
@pytest.mark.parametrize(("form", "nodes", "segments", "kernel", "stride"), GRID)
def test_the_published_layers_say_the_same(published, form, nodes, segments, kernel, stride, from_newest):
    L, sizes = 12, {"kernel_size": kernel, "stride": stride, "n": nodes, "segments": segments}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = published(layer_type=f"{form}1d", in_channels=I, out_channels=O, periodicity=2.0, **sizes)
    [place] = planned([kernel], [stride], L)
    ours = convolution(place, form=form, nodes=nodes, segments=segments, from_newest=from_newest)
    with torch.no_grad():
        weight = theirs.conv.weight.normal_().unflatten(1, (I, -1))  # (O, I, V, K)
        ours.map.weight.copy_(weight.permute(2, 3, 1, 0).flatten(1, 2))
    torch.manual_seed(0)
    x = (3 * torch.randn(N, L, I)).requires_grad_()  # far outside: most is folded
    seen = x[:, L - place.used :] if from_newest else x
    y, like = ours(x), theirs(seen.transpose(1, 2).contiguous()).transpose(1, 2)
    assert y.shape == (N, place.outputs, O)
    direction = torch.randn(y.shape)
    assert (y - like).abs().max() < 1e-5 * max(1, like.abs().max())
    of_x, of_weight = gradients(y, direction, x, ours.map.weight)
    their_x, their_weight = gradients(like, direction, x, theirs.conv.weight)
    their_weight = their_weight.unflatten(1, (I, -1)).permute(2, 3, 1, 0).flatten(1, 2)
    assert (of_weight - their_weight).abs().max() < 1e-5 * max(1, their_weight.abs().max())
    # a slope is made of neighbouring weights, S times as steep
    assert (of_x - their_x).abs().max() < 1e-5 * their_x.abs().max()


def triangle(x):
    """Folded by walking, one reflection after another."""
    while abs(x) > 1:
        x = 2 - x if x > 1 else -2 - x
    return x


@pytest.mark.parametrize("form", ["continuous", "discontinuous"])
def test_a_convolution_is_a_loop_over_places_channels_and_nodes(form):
    place, pieces = planned([3], [2], 8)[0], Pieces(form, 3, 4)
    ours = convolution(place, form=form, nodes=3, segments=4).double()
    torch.manual_seed(0)
    x = 2 * torch.randn(1, 8, I, dtype=torch.float64)
    expected = torch.zeros(place.outputs, O, dtype=torch.float64)
    for p in range(place.outputs):
        for k in range(3):
            for c in range(I):
                number = triangle(x[0, 1 + 2 * p + k, c].item())  # one place too many: the oldest is left out
                segment = min(int((number + 1) / 2 * 4), 3)
                t = 4 * (number + 1) - 2 * segment - 1
                basis = [t * (t - 1) / 2, 1 - t * t, t * (t + 1) / 2]
                for j in range(3):
                    expected[p] += basis[j] * ours.map.weight[segment * pieces.stride + j, k * I + c].detach()
    assert expected.abs().max() > 0.1
    assert (ours(x)[0] - expected).abs().max() < 1e-12


def test_numbers_beyond_the_mirrors_are_their_images_and_pull_the_other_way():
    ours = convolution(planned([2], [1], 5)[0], nodes=3, segments=3).double()
    torch.manual_seed(0)
    x = torch.rand(N, 5, I, dtype=torch.float64) * 1.9 - 0.95
    pulls, answers = [], []
    for image in (x, x + 4, x - 8, 2 - x, -2 - x):
        image = image.clone().requires_grad_()
        answers.append(ours(image))
        pulls.append(gradients(answers[-1], 1, image)[0])
    for answer, pull, sign in zip(answers, pulls, (1, 1, 1, -1, -1), strict=True):
        assert (answer - answers[0]).abs().max() < 1e-12
        assert (pull - sign * pulls[0]).abs().max() < 1e-9
    assert pulls[0].abs().min() > 0


@pytest.mark.parametrize(("nodes", "segments"), [(2, 2), (3, 2), (2, 16)])
def test_gradients_are_those_of_differences(nodes, segments):
    ours = convolution(planned([2], [1], 4)[0], nodes=nodes, segments=segments).double()
    torch.manual_seed(0)
    x = (2.5 * torch.randn(2, 4, I, dtype=torch.float64)).requires_grad_()

    def said(x, weight):
        return torch.func.functional_call(ours, {"map.weight": weight}, (x,))

    assert torch.autograd.gradcheck(said, (x, ours.map.weight))


@pytest.mark.parametrize("form", ["continuous", "discontinuous"])
def test_symbols_say_what_their_numbers_say(form):
    symbols = torch.randint(7, (40, 9), generator=torch.Generator().manual_seed(0))
    numbers = (2 * torch.arange(7, dtype=torch.float64) - 6) / 7
    ours = convolution(planned([4], [2], 9)[0], form=form, segments=7, inputs=1).double()
    for rows in (symbols, symbols[:1]):  # as a table, and one by one
        y, direct = ours.of_symbols(rows, numbers), ours(numbers[rows].unsqueeze(-1))
        assert y.shape == (len(rows), 3, O) and (y - direct).abs().max() < 1e-12
        one, other = (gradients(answer, torch.ones(O), ours.map.weight)[0] for answer in (y, direct))
        assert (one - other).abs().max() < 1e-9
    dense = Convolution(Builder("file").projector(Component(kind="dense")), "x", 1, O, planned([4], [2], 9)[0]).double()
    assert torch.equal(dense.of_symbols(symbols, numbers), dense(numbers[symbols].unsqueeze(-1)))
    assert dense.symbol_flops() == dense.flops()


def test_what_each_output_sees():
    x = torch.arange(10).view(1, 10, 1)
    rows = {
        (3, 3): [[1, 2, 3], [4, 5, 6], [7, 8, 9]],
        (4, 2): [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [6, 7, 8, 9]],
        (4, 3): [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]],
        (6, 4): [[0, 1, 2, 3, 4, 5], [4, 5, 6, 7, 8, 9]],
        (10, 1): [list(range(10))],
        (99, 7): [list(range(10))],
    }
    for (kernel, stride), seen in rows.items():
        [place] = planned([kernel], [stride], 10)
        assert unfolded(x, place)[0].tolist() == seen
    [place] = planned([3], [3], 10)
    assert unfolded(x, place, from_newest=False)[0].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    pairs = torch.arange(12).view(1, 6, 2)
    assert unfolded(pairs, planned([2], [1], 6)[0])[0, 1].tolist() == [2, 3, 4, 5]


def test_the_geometry_of_the_authors():
    conv = planned([10, 10, 10], [10, 10, 10], 10_000)
    assert [place.outputs for place in conv] == [1000, 100, 10] and reached(conv, [0, 0, 0]) == 10_000
    tail = planned([16, 2, 16], [8, 1, 8], 256)
    assert [place.outputs for place in tail] == [31, 30, 2]
    assert [place.inputs - place.used for place in tail] == [0, 0, 6]
    assert reached(tail, [0, 0, 16]) == 16 * 8 + 80 == 208  # 24 of 30 places, 25 of 31
    assert reached(tail, [0, 0, 30]) == reached(tail, [0, 31, 0]) == reached(tail, [256, 0, 0]) == 256
    assert planned([8, 2, 4], [4, 1, 2], 6) == [Place(6, 4, 6, 1), Place(1, 1, 1, 1), Place(1, 2, 1, 1)]


@pytest.mark.parametrize(("nodes", "segments"), [(2, 2), (3, 2), (2, 64)])
def test_operations_are_those_of_its_map_at_each_place(nodes, segments):
    ours = convolution(planned([3], [2], 9)[0], nodes=nodes, segments=segments)
    counter = FlopCounterMode(display=False)
    with counter:
        ours(torch.rand(N, 9, I))
    assert ours.flops().matrix * N == counter.get_total_flops()
    assert ours.flops().other == 5 * 9 * I + 4 * ours.map.flops().other
