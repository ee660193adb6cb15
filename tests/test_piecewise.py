"""The piecewise map: all its algorithms are one function, the published layer's, with known special cases."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnn_bench.config.component import Component
from nnn_bench.config.errors import UserError
from nnn_bench.models import piecewise_rows, piecewise_spread
from nnn_bench.models.build import Builder
from nnn_bench.models.parts import Port
from nnn_bench.models.pieces import Pieces, mirrored
from nnn_bench.models.projections.piecewise import Piecewise
from tests.models import spread

I, O = 5, 7  # noqa: E741
GRID = [
    (form, n, S)
    for form, n, S in itertools.product(("continuous", "discontinuous"), (1, 2, 3, 4, 5), (2, 8, 64, 128))
    if form == "discontinuous" or n > 1  # the published continuous layer has no single node
]


def made(inputs: int = I, outputs: int = O, **options: Any) -> Piecewise:
    component = Component.model_validate({"kind": "piecewise", **options})
    layer = Builder("test").projector(component)(Port("map", inputs, outputs))
    assert isinstance(layer, Piecewise)
    return layer


def twins(form: str, n: int, S: int, dtype: torch.dtype = torch.float64) -> dict[str, Piecewise]:
    """The same map by every algorithm that can compute it."""
    torch.manual_seed(0)
    names = ["dense_basis", "bag"] + (["closed_form"] if (form, n, S) == ("continuous", 2, 2) else [])
    layers = {name: made(form=form, nodes=n, segments=S, algorithm=name).to(dtype) for name in names}
    for layer in layers.values():
        layer.load_state_dict(layers["bag"].state_dict())
    return layers


def answers(layer: nn.Module, weight: Tensor, x: Tensor, upstream: Tensor) -> list[Tensor]:
    """Output, and the gradients of weights and input."""
    x = x.detach().requires_grad_()
    y = layer(x)
    found = torch.autograd.grad(y, [weight, x], upstream, allow_unused=True)
    return [
        y.detach(),
        *(torch.zeros_like(like) if g is None else g for g, like in zip(found, [weight, x], strict=True)),
    ]


def inputs(
    rows: int = 40, dtype: torch.dtype = torch.float64, seed: int = 0, inside: bool = False
) -> tuple[Tensor, Tensor]:
    """Numbers, about one in five beyond the domain unless all are to lie `inside`, and an upstream gradient."""
    dice = torch.Generator().manual_seed(seed)
    x = torch.rand(rows, I, generator=dice, dtype=torch.float64) * 2 - 1
    if not inside:
        x *= 1.25
        x[0] = torch.tensor([-3.0, 3.0, -1.0, 1.0, 0.25])
    return x.to(dtype), torch.randn(rows, O, generator=dice, dtype=torch.float64).to(dtype)


def apart(found: list[Tensor], expected: list[Tensor]) -> float:
    """The largest difference, as a share of the largest number in its row (in its node, for weights) or of 1: outside the domain
    values grow like t^(n-1), and must not excuse those inside."""
    shares = []
    for a, b in zip(found, expected, strict=True):
        largest = b.abs().flatten(1).amax(dim=1).clamp(min=1.0)
        shares.append(((a - b).abs().flatten(1).amax(dim=1) / largest).max().item())
    return max(shares)


def reference(pieces: Pieces, weight: Tensor, x: Tensor, upstream: Tensor) -> list[Tensor]:
    """By autograd, from the equation as it stands, one link at a time."""
    weight, x = weight.detach().requires_grad_(), x.detach().requires_grad_()
    S, n, X = pieces.segments, pieces.nodes, pieces.segment_nodes
    total = []
    for row, i in itertools.product(range(len(x)), range(x.shape[1])):
        k = min(max(int((x[row, i].item() + 1) / 2 * S), 0), S - 1)
        t = S * (x[row, i] + 1) - 2 * k - 1
        basis = [
            torch.stack([(t - X[m]) / (X[j] - X[m]) for m in range(n) if m != j] or [torch.ones_like(t)]).prod()
            for j in range(n)
        ]
        total.append(sum(basis[j] * weight[k * pieces.stride + j, i] for j in range(n)))
    y = torch.stack(total).view(*x.shape, -1).sum(1)
    of_weight, of_x = torch.autograd.grad(y, [weight, x], upstream, allow_unused=True)
    return [y.detach(), of_weight, torch.zeros_like(x) if of_x is None else of_x]


@pytest.fixture(scope="module")
def published():
    """A maker of layers of the public package. It keeps nodes in float32, whose last bit would grow like t^(n-1) beyond the
    domain: it is given the same ones in float64."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from high_order_layers_torch.layers import high_order_fc_layers

    def make(form: str, n: int, S: int, weight: Tensor) -> nn.Module:
        layer = high_order_fc_layers(
            layer_type=form, n=n, in_features=weight.shape[1], out_features=weight.shape[2], segments=S
        ).double()
        basis = layer._poly.basis
        if n > 1:
            nodes = torch.tensor(Pieces(form, n, S).segment_nodes, dtype=torch.float64)
            assert (basis.X - nodes).abs().max() < 1e-7
            apart_by = nodes.unsqueeze(1) - nodes + torch.eye(n, dtype=torch.float64)
            assert (basis.denominators - apart_by).abs().max() < 1e-6
            basis.X, basis.denominators = nodes, apart_by
        layer.w = nn.Parameter(weight.detach().permute(2, 1, 0).contiguous())
        return layer

    return make


@pytest.mark.parametrize("inside", [True, False], ids=["inside", "beyond"])
@pytest.mark.parametrize(("form", "n", "S"), GRID)
def test_every_algorithm_answers_as_the_published_layer(published, form, n, S, inside):
    x, upstream = inputs(inside=inside)
    layers = twins(form, n, S)
    weight = layers["bag"].weight
    assert weight.shape == (((n - 1) * S + 1) if form == "continuous" else n * S, I, O)
    theirs = published(form, n, S, weight)
    y, of_w, of_x = answers(theirs, theirs.w, x, upstream)
    expected = [y, of_w.permute(2, 1, 0), of_x]
    for name, layer in layers.items():
        assert apart(answers(layer, layer.weight, x, upstream), expected) < 1e-9, name
    single = {
        name: answers(one, one.weight, *inputs(dtype=torch.float32, inside=inside))
        for name, one in twins(form, n, S, torch.float32).items()
    }
    for (
        name,
        found,
    ) in single.items():  # beyond the domain, sums of large terms lose digits in each algorithm's own order
        assert apart(found, single["bag"]) < (1e-5 if inside else 1e-4), name


@pytest.mark.parametrize(("form", "n", "S"), [case for case in GRID if case[2] in (2, 8)] + [("continuous", 1, 3)])
def test_every_algorithm_is_the_equation_to_the_last_digits(form, n, S):
    x, upstream = inputs(3)
    layers = twins(form, n, S)
    expected = reference(layers["bag"].pieces, layers["bag"].weight, x, upstream)
    for name, layer in layers.items():
        assert apart(answers(layer, layer.weight, x, upstream), expected) < 1e-12, name
        y, of_weight, of_x = answers(layer, layer.weight, x.view(3, 1, I), upstream.view(3, 1, O))
        assert y.shape == (3, 1, O) and apart([y.view(3, O), of_weight, of_x.view(3, I)], expected) < 1e-12, name
    basis = spread(layers["bag"].pieces, x)
    assert apart([torch.einsum("biv,vio->bo", basis, layers["bag"].weight)], expected[:1]) < 1e-12
    assert torch.allclose(basis.sum(-1), torch.ones(3, I, dtype=torch.float64))
    if n == 1:
        assert expected[2].abs().max() == 0


@pytest.mark.parametrize(("form", "n", "S"), [("continuous", 2, 2), ("continuous", 3, 2), ("discontinuous", 2, 16)])
def test_what_other_devices_run_says_the_same(monkeypatch, form, n, S):
    x, upstream = inputs()
    symbols, numbers = torch.randint(6, (30, I)), torch.rand(6, dtype=torch.float64) * 2 - 1
    layers = twins(form, n, S)

    def everything() -> list[Tensor]:
        found = [one for layer in layers.values() for one in answers(layer, layer.weight, x, upstream)]
        for rows in (symbols, symbols[:3]):
            y = layers["bag"].of_symbols(rows, numbers)
            found += [y.detach(), *torch.autograd.grad(y.square().sum(), layers["bag"].weight)]
        return found

    compiled = everything()
    for module in (piecewise_rows, piecewise_spread):
        monkeypatch.setattr(module, "compiled", lambda x: False)
    monkeypatch.setattr(piecewise_rows, "_BLOCK", 100)
    assert apart(everything(), compiled) < 1e-12


def test_rows_in_blocks_say_the_same_as_all_at_once(monkeypatch):
    from nnn_bench.models import piecewise_products

    x, upstream = inputs(300)
    layer = made(nodes=3, segments=2, algorithm="dense_basis").double()
    whole = answers(layer, layer.weight, x, upstream)
    monkeypatch.setattr(piecewise_products, "_BLOCK", 1)
    assert apart(answers(layer, layer.weight, x, upstream), whole) < 1e-12


@pytest.mark.parametrize(
    ("form", "n"), [("continuous", 2), ("continuous", 3), ("discontinuous", 2), ("discontinuous", 3)]
)
@pytest.mark.parametrize("clamp", [False, True])
def test_known_symbols_are_looked_up_as_their_numbers_are_computed(form, n, clamp):
    layer = made(form=form, nodes=n, segments=9, clamp=clamp).double()
    numbers = torch.linspace(-1.3, 1.3, 11, dtype=torch.float64)
    for rows in (4, 60):  # by nodes, and by table
        symbols = torch.randint(11, (rows, I), generator=torch.Generator().manual_seed(rows))
        upstream = inputs(rows)[1]
        x = numbers[symbols].requires_grad_()
        expected = [layer(x), *torch.autograd.grad(layer(x), layer.weight, upstream)]
        y = layer.of_symbols(symbols, numbers)
        assert apart([y, *torch.autograd.grad(y, layer.weight, upstream)], expected) < 1e-12
        assert torch.equal(layer.of_symbols(symbols.T.contiguous().T, numbers), y)
    with pytest.raises(IndexError, match="symbols from 0 to 11, of which 11 are known"):
        layer.of_symbols(torch.arange(12).repeat(5, 1).T, numbers)
    scaled = made(scale="maxabs", segments=9).double()
    assert torch.equal(scaled.of_symbols(symbols, numbers), scaled(numbers[symbols]))


@pytest.mark.parametrize("S", [128, 30])
@pytest.mark.parametrize(
    ("form", "n"), [("continuous", 2), ("discontinuous", 2), ("continuous", 3), ("discontinuous", 5)]
)
def test_symbols_in_the_middle_of_their_segments_are_embeddings(form, n, S):
    layer = made(form=form, nodes=n, segments=S)
    numbers = (2 * torch.arange(S) + 1 - S).float() / S
    rows = 2 * S if n == 3 else 6 * S  # by nodes, and by table
    symbols = torch.randint(S, (rows, I), generator=torch.Generator().manual_seed(1))
    w, c = layer.weight.detach(), torch.arange(S)
    middle = layer.pieces.stride * c + n // 2
    embedding = {1: w[middle], 0: (w[middle - 1] + w[middle]) / 2}[n % 2]  # (S, I, O)
    y = layer.of_symbols(symbols, numbers)
    assert torch.allclose(y, embedding[symbols, torch.arange(I)].sum(1), atol=1e-6)
    y.square().sum().backward()
    touched = layer.weight.grad.abs().sum((1, 2)) > 0
    heard = torch.zeros(layer.pieces.weights, dtype=torch.bool)
    heard[middle if n % 2 else torch.cat([middle - 1, middle])] = True
    assert torch.equal(touched, heard)
    if S == 128:  # where the numbers have no rounding, a float says the same
        assert torch.allclose(layer(numbers[symbols]), y, atol=1e-6)
    if form == "discontinuous" and n == 2:  # both nodes of a symbol move alike for ever
        assert torch.equal(layer.weight.grad[0::2], layer.weight.grad[1::2])


def test_two_linear_pieces_are_trained_as_a_crelu_layer():
    torch.manual_seed(0)
    ours, x, target = made(nodes=2, segments=2).double(), inputs()[0] * 2, inputs(seed=1)[1]
    w = nn.Parameter(ours.weight.detach().clone())

    def crelu() -> Tensor:
        return F.relu(x) @ (w[2] - w[1]) + F.relu(-x) @ (w[0] - w[1]) + w[1].sum(0)

    optimizers = [torch.optim.AdamW([p], lr=0.03) for p in (ours.weight, w)]
    losses = []
    for _ in range(20):
        pair = [F.mse_loss(ours(x), target), F.mse_loss(crelu(), target)]
        for loss, optimizer in zip(pair, optimizers, strict=True):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert pair[0].item() == pytest.approx(pair[1].item(), rel=1e-9)
        losses.append(pair[0].item())
    assert ours.algorithm == "closed_form" and losses[-1] < 0.8 * losses[0]
    assert torch.allclose(ours.weight, w, atol=1e-9)


def test_a_constant_start_answers_the_same_to_everything_and_teaches_nothing_below():
    layer = made(nodes=3, segments=4, initial="constant")
    assert layer.weight.min() >= 0 and layer.weight.max() <= 1 / I
    assert torch.equal(layer.weight[0], layer.weight[-1])
    x = inputs(dtype=torch.float32)[0].clamp(-1, 1).requires_grad_()
    y = layer(x)
    assert torch.allclose(y, layer.weight[0].sum(0).expand_as(y), atol=1e-6)
    for algorithm, nodes in (("closed_form", 2), ("dense_basis", 2), ("dense_basis", 3), ("bag", 2), ("bag", 4)):
        two = made(initial="constant", algorithm=algorithm, nodes=nodes)
        of_x = torch.autograd.grad(two(x).square().sum(), x)[0]
        assert torch.equal(of_x, torch.zeros_like(x)), algorithm
    linear = made(nodes=3, segments=4, initial="linear")
    slope, middle = linear.weight[-1] - linear.weight[0], linear.weight[4]
    x = x.detach()
    assert torch.allclose(linear(x), x @ (slope / 2) + middle.sum(0), atol=1e-4)
    uniform = made(64, 64, initial="uniform").weight
    assert uniform.abs().max() <= 1 / 64 and uniform.std().item() == pytest.approx(1 / 64 / 3**0.5, rel=0.03)


def test_the_end_segments_extrapolate_steeply():
    for n, total in {2: 3, 3: 17, 4: 99, 5: 577}.items():
        pieces = Pieces("continuous", n, 2)
        first, t = pieces.located(torch.tensor([2.0], dtype=torch.float64))
        assert t.item() == 3 and first.item() == n - 1
        assert pieces.basis(t).abs().sum().item() == pytest.approx(total)


def test_mirrors():
    x = torch.tensor([0.0, 0.5, 1.0, 1.25, 2.0, 3.0, 3.5, 5.0, -1.0, -1.5, -2.0, -3.0, 7.0, 100.25])
    assert mirrored(x).tolist() == [0.0, 0.5, 1.0, 0.75, 0.0, -1.0, -0.5, 1.0, -1.0, -0.5, 0.0, 1.0, -1.0, 0.25]


@pytest.mark.parametrize("algorithm", ["closed_form", "dense_basis", "bag"])
def test_half_precision_no_rows_no_gradient_and_no_number(algorithm):
    layer = made(algorithm=algorithm)
    x, upstream = inputs(dtype=torch.float32)
    expected = answers(layer, layer.weight, x, upstream)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
        found = answers(layer, layer.weight, x, upstream.bfloat16())
        assert layer.of_symbols(torch.zeros(9, I, dtype=torch.long), x[0]).dtype == torch.bfloat16
    assert [one.dtype for one in found] == [torch.bfloat16, torch.float32, torch.float32]
    assert apart([one.float() for one in found], expected) < 0.03
    with torch.no_grad():
        assert torch.equal(layer(x), expected[0])
    layer(x).backward(upstream)  # x needs no gradient
    assert torch.equal(layer.weight.grad, expected[1])
    assert layer(x[:0]).shape == (0, O) and layer(x[:0, None]).shape == (0, 1, O)
    layer(x[:0]).sum().backward()
    assert layer(x.to(torch.float32).expand(3, 2, *x.shape)).shape == (3, 2, 40, O)
    wild = x.clone()
    wild[1, 0], wild[2, 0], wild[3, 0] = torch.nan, torch.inf, 1e30
    y = layer(wild)
    assert y[1].isnan().all() and not y[2].isfinite().any() and y[3].isfinite().all()
    assert torch.equal(y[4:], expected[0][4:])
    frozen = made(algorithm=algorithm).requires_grad_(False)
    x.requires_grad_()
    assert torch.autograd.grad(frozen(x).sum(), x)[0].shape == x.shape


def test_auto_takes_the_quickest_and_what_cannot_be_is_refused():
    taken = {
        (form, n, S): made(form=form, nodes=n, segments=S).algorithm
        for form, n, S in [("continuous", 2, 2), ("discontinuous", 2, 2), ("continuous", 3, 2), ("continuous", 2, 128)]
    }
    assert list(taken.values()) == ["closed_form", "dense_basis", "dense_basis", "bag"]
    with pytest.raises(
        UserError, match=r"projection\.algorithm: closed_form needs form: continuous, nodes: 2, segments: 2"
    ):
        made(nodes=3, segments=2, algorithm="closed_form")


def test_flops_follow_the_algorithm():
    matrix = {name: layer.flops().matrix for name, layer in twins("continuous", 2, 2).items()}
    assert matrix == {"closed_form": 4 * I * O, "dense_basis": 6 * I * O, "bag": 0}
    layer = made(nodes=3, segments=8, algorithm="bag")
    assert layer.flops().other == I * layer.pieces.operations + 6 * I * O
    assert layer.symbol_flops().total == layer.symbol_flops().other == I * O
    scaled = made(scale="layer")
    assert scaled.symbol_flops() == scaled.flops()
