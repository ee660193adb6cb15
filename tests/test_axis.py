"""Multidimensional maps: against Kronecker products and loops, their counts, their grids, and growth that keeps the function."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nnn_bench.config.errors import UserError
from nnn_bench.config.recipe import AdamW
from nnn_bench.config.validation import validate
from nnn_bench.models.axes import Grid, balanced, factorings, given
from nnn_bench.models.build import Builder
from nnn_bench.models.growth import Origin
from nnn_bench.models.parts import Initial, Port
from nnn_bench.models.projections.axis import Axis, Options
from nnn_bench.training.optimizers import carry_state, make_optimizer


def made(inputs, outputs, seed=0, std=0.02, **options):
    torch.manual_seed(seed)
    checked = validate(Options, options, file="test", key="projection")
    return Axis(checked, Builder("test", "projection"), Port("up", inputs, outputs, Initial(std))).double()


def numbers(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dense(part):
    """The matrix (inputs, outputs) of a map."""
    return part(torch.eye(part.inputs, dtype=torch.float64)).detach()


def kronecker(part, head):
    """The product of the shared maps of all axes."""
    matrix = torch.ones(1, 1, dtype=torch.float64)
    for axis in range(part.grid.axes):
        matrix = torch.kron(matrix, part.weights[0 if part.options.sharing == "all_shared" else axis][head].detach())
    return matrix


def mixed_by_loops(part, x, axis, head, sizes):
    """Axis `axis` of `x (sizes)` by the definition, for either sharing; a halved axis by its two halves."""
    grid, weight = part.grid, part.weights[0 if part.options.sharing == "all_shared" else axis].detach()
    new = [*sizes[:axis], grid.outputs[axis], *sizes[axis + 1 :]]
    y = torch.zeros(new, dtype=torch.float64)
    rows, columns = weight.shape[-2:]
    for place in itertools.product(*(range(size) for size in new)):
        for i in range(sizes[axis]):
            if i // rows != place[axis] // columns:
                continue  # in the other half
            source = (*place[:axis], i, *place[axis + 1 :])
            if part.options.sharing == "separate":
                after, before = place[axis + 1 :], place[:axis]
                behind = sum(p * math.prod(sizes[axis + 2 + k :]) for k, p in enumerate(after))
                ahead = sum(p * math.prod(new[k + 1 : axis]) for k, p in enumerate(before))
                own = weight[behind, head, ahead]
            else:
                own = weight[head]
            y[place] += own[i % rows, place[axis] % columns] * x[source]
    return y


def by_loops(part, x):
    """The whole map of one vector by the definition."""
    total = torch.zeros(part.outputs, dtype=torch.float64)
    for head in range(part.options.heads):
        y = x.reshape(part.grid.inputs)
        for axis in range(part.grid.axes):
            if part.options.order == "parallel":
                y = x.reshape(part.grid.inputs)
            y = mixed_by_loops(part, y, axis, head, list(y.shape))
            if part.options.order == "parallel":
                total += y.flatten()
        if part.options.order == "sequential":
            total += y.flatten()
    return total


@pytest.mark.parametrize(
    ("inputs", "outputs", "axes", "heads"), [(12, 12, 2, 1), (12, 30, 2, 3), (24, 12, 3, 2), (7, 5, 1, 1)]
)
def test_shared_axes_in_sequence_are_a_sum_of_kronecker_products(inputs, outputs, axes, heads):
    part = made(inputs, outputs, sharing="shared", axes=axes, heads=heads)
    expected = sum(kronecker(part, head) for head in range(heads))
    x = numbers(2, 3, inputs)
    assert torch.allclose(part(x), x @ expected, atol=1e-12)
    assert part(x).shape == (2, 3, outputs)


def test_all_shared_is_the_kronecker_power_and_parallel_the_kronecker_sum():
    part = made(27, 27, sharing="all_shared", axes=3)
    assert len(part.weights) == 1 and torch.allclose(dense(part), kronecker(part, 0), atol=1e-12)
    part = made(12, 12, sharing="shared", axes=2, order="parallel")
    a, b = (weight[0].detach() for weight in part.weights)
    eye = [torch.eye(size, dtype=torch.float64) for size in part.grid.inputs]
    assert torch.allclose(dense(part), torch.kron(a, eye[1]) + torch.kron(eye[0], b), atol=1e-12)


CASES = [
    {"inputs": 24, "outputs": 24, "sharing": "separate", "axes": 3, "heads": 2},
    {"inputs": 24, "outputs": 36, "sharing": "separate", "axes": 3, "heads": 2},
    {"inputs": 20, "outputs": 8, "sharing": "separate", "axes": 2},
    {"inputs": 24, "outputs": 24, "sharing": "separate", "axes": 3, "order": "parallel"},
    {"inputs": 8, "outputs": 8, "sharing": "all_shared", "axes": 3, "order": "parallel"},
    {"inputs": 24, "outputs": 48, "sharing": "separate", "axes": 2, "heads": 2, "born_halved": True},
    {"inputs": 48, "outputs": 24, "sharing": "shared", "axes": 2, "heads": 2, "born_halved": True},
    {"inputs": 24, "outputs": 24, "sharing": "shared", "axes": 3, "order": "parallel", "born_halved": True},
    {"inputs": 12, "outputs": 24, "sharing": "separate", "sizes": [3, None, 2], "heads": 2},
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_form_is_what_its_definition_says(case):
    part = made(**case, bias=True)
    with torch.no_grad():
        part.bias.normal_()
    x = numbers(2, case["inputs"])
    expected = torch.stack([by_loops(part, row) for row in x]) + part.bias.detach()
    assert torch.allclose(part(x), expected, atol=1e-12)
    assert torch.allclose(part(x[0]), expected[0], atol=1e-12)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_declared_flops_equal_the_counted_ones_before_and_after_growing(case):
    part = made(**case)
    counted = []
    for _ in range(1 + part.growths):
        counter = FlopCounterMode(display=False)
        with counter:
            y = part(numbers(5, case["inputs"]).requires_grad_())
            assert part.flops().matrix * 5 == counter.get_total_flops()
            y.sum().backward()
        assert part.flops().with_backward.matrix * 5 == counter.get_total_flops()
        counted.append(part.flops().matrix)
        if part.growths:
            part.grow()
    assert counted == sorted(set(counted))


def test_ten_by_ten_has_the_counts_of_the_source():
    def count(**options):
        return sum(p.numel() for p in made(100, 100, **options).parameters())

    assert count(axes=1, sharing="shared") == 10_000
    assert count(axes=2, sharing="separate") == 2_000
    assert count(axes=2, sharing="shared") == 200
    assert count(axes=2, sharing="all_shared") == 100
    assert count(axes=2, sharing="shared", heads=3, bias=True) == 700
    assert count(sizes=[5, 20], sharing="shared") == 425
    # axes of two points: twice N log2 N
    assert sum(p.numel() for p in made(64, 64, axes=6, sharing="separate").parameters()) == 2 * 64 * 6


def test_flops_of_an_element_are_twice_the_sum_of_lengths():
    for sharing in ("separate", "shared", "all_shared"):
        assert made(100, 100, axes=2, sharing=sharing).flops().matrix == 100 * 2 * (10 + 10)


@pytest.mark.parametrize(
    "options",
    [
        {"sharing": "shared", "axes": 2},
        {"sharing": "separate", "axes": 3, "heads": 4},
        {"sharing": "separate", "axes": 2, "order": "parallel"},
        {"sharing": "separate", "axes": 2, "heads": 2, "born_halved": True},
    ],
    ids=str,
)
def test_fresh_outputs_vary_as_those_of_a_dense_map(options):
    outputs = 256 if options.get("order") == "parallel" else 1024
    x = numbers(64, 256)
    # over networks: the few weights of a shared map make one of them a poor sample
    variances = [made(256, outputs, seed=seed, std=0.05, **options)(x).square().mean().item() for seed in range(40)]
    assert sum(variances) / 40 == pytest.approx(256 * 0.05**2, rel=0.1)


def test_grids_are_the_most_balanced_and_resize_one_axis_at_the_smaller_end():
    assert factorings(24, 3) == ((2, 2, 6), (2, 3, 4)) and factorings(7, 2) == () and factorings(1, 0) == ((),)
    assert balanced(64, 64, 2) == Grid((8, 8), (8, 8)) and balanced(96, 96, 2) == Grid((8, 12), (8, 12))
    # a sum of 16 + 4 + 16 + 16, where 8 x 8 -> 8 x 32 has 56 and more weights
    assert balanced(64, 256, 2) == Grid((16, 4), (16, 16)) and balanced(256, 64, 2) == Grid((16, 16), (4, 16))
    assert balanced(64, 128, 2) == Grid((8, 8), (8, 16))
    assert balanced(10, 15, 2) == Grid((5, 2), (5, 3)) and balanced(35, 64, 2) is None and balanced(7, 14, 2) is None
    assert balanced(12, 12, 2) == Grid((3, 4), (3, 4)) and balanced(18, 18, 2, even=True).inputs[-1] % 2 == 0
    assert given(24, 48, [3, None]) == Grid((3, 8), (3, 16)) and given(24, 25, [3, None]) is None
    assert given(24, 48, [4, 6]) == Grid((4, 6), (4, 12)) and given(24, 12, [4, 6]) == Grid((4, 6), (2, 6))
    assert given(24, 24, [4, 5]) is None and given(24, 7, [4, 6]) is None
    grid = balanced(64, 256, 3)
    assert math.prod(grid.inputs) == 64 and math.prod(grid.outputs) == 256 and grid.resized == 2
    assert balanced(256, 64, 3).resized == 0


@pytest.mark.parametrize("sharing", ["shared", "separate"])
@pytest.mark.parametrize(("inputs", "outputs"), [(24, 24), (24, 96), (96, 24)])
@pytest.mark.parametrize("heads", [1, 2])
def test_growing_keeps_the_function_and_frees_the_blocks_off_the_diagonal(sharing, inputs, outputs, heads):
    part = made(inputs, outputs, axes=2, sharing=sharing, heads=heads, born_halved=True)
    axis, full = part.grid.resized, sum(p.numel() for p in part.parameters())
    half = part.weights[axis].detach().clone()
    optimizer = make_optimizer(part, AdamW(), 1e-3)
    x, target = numbers(6, inputs), numbers(6, outputs, seed=2)

    def loss():
        return (part(x) - target).square().mean()

    for _ in range(3):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    half, parameters = part.weights[axis].detach().clone(), dict(part.named_parameters())
    state = {key: value.clone() for key, value in optimizer.state[part.weights[axis]].items()}
    before = part(x).detach()
    origins = part.grow()
    assert torch.allclose(part(x), before, atol=1e-12) and part.halved is None
    grown = part.weights[axis]
    assert sum(p.numel() for p in part.parameters()) == full + 3 * half.numel()
    n, m = half.shape[-2:]
    assert torch.equal(grown[..., :n, :m], half) and torch.equal(grown[..., n:, m:], half)
    assert not grown[..., :n, m:].any() and not grown[..., n:, :m].any()

    assert origins.keys() == {f"weights.{axis}"} and origins[f"weights.{axis}"].gradient_share == 0.5
    new = make_optimizer(part, AdamW(), 1e-3)
    carry_state(optimizer, parameters, new, part, {f"weights.{1 - axis}": Origin(f"weights.{1 - axis}"), **origins})
    carried = new.state[grown]
    assert torch.equal(carried["exp_avg"][..., :n, :m], 0.5 * state["exp_avg"])
    assert torch.equal(carried["exp_avg_sq"][..., n:, m:], 0.25 * state["exp_avg_sq"])
    assert not carried["exp_avg"][..., :n, m:].any() and carried["step"] == 3

    loss().backward()
    off = grown.grad[..., :n, m:]
    assert off.abs().max() > 0
    new.step()
    assert grown[..., :n, m:].abs().max() > 0 and not torch.equal(grown[..., :n, :m], grown[..., n:, m:])


REFUSALS = [
    (
        (35, 64),
        {"axes": 2, "sharing": "shared"},
        r"projection\.axes: map 'up' takes 35 features to 64.*multiples of 4 will do",
    ),
    ((64, 29), {"axes": 2, "sharing": "separate"}, r"projection\.axes: .*29"),
    ((20, 20), {"axes": 2, "sharing": "all_shared"}, r"projection\.sharing: .*as 16 or 25"),
    ((16, 32), {"axes": 2, "sharing": "all_shared"}, r"projection\.sharing: .*as many outputs as inputs"),
    ((16, 32), {"axes": 2, "sharing": "shared", "order": "parallel"}, r"projection\.order: .*use sequential"),
    ((24, 24), {"sizes": [4, 5], "sharing": "shared"}, r"projection\.sizes: .*product must be the number of inputs"),
    (
        (24, 24),
        {"sizes": [8, 3], "sharing": "shared", "born_halved": True},
        r"projection\.born_halved: .*axis 2 has an odd",
    ),
    ((16, 16), {"axes": 2, "sizes": [4, 4], "sharing": "shared"}, r"projection\.axes: must be given, or else sizes"),
    ((16, 16), {"sharing": "shared"}, r"projection\.axes: must be given, or else sizes"),
    ((16, 16), {"sizes": [None, None], "sharing": "shared"}, r"projection\.sizes: may leave one axis open"),
    ((16, 16), {"axes": 2, "order": "parallel", "heads": 2, "sharing": "shared"}, r"projection\.heads: must be 1"),
    ((16, 16), {"axes": 2, "sharing": "all_shared", "born_halved": True}, r"projection\.born_halved: must be false"),
    ((16, 16), {"axes": 2, "sharing": "shred"}, r"projection\.sharing: "),
    ((16, 16), {"axis": 2, "sharing": "shared"}, r"projection\.axis: unknown key; did you mean 'axes'"),
]


@pytest.mark.parametrize(("port", "options", "says"), REFUSALS, ids=[says[:40] for _, _, says in REFUSALS])
def test_what_cannot_work_is_refused_in_one_line_that_says_the_mend(port, options, says):
    with pytest.raises(UserError, match=says) as found:
        made(*port, **options)
    assert "\n" not in str(found.value)
