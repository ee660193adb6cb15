"""Selection layers: the equations of each estimator, exact zeros, noise, balance, memory and growth."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from nnn_bench.config.errors import UserError
from nnn_bench.measure.selection import selection_statistics
from nnn_bench.models import selection_kernels, selection_of_two
from nnn_bench.models.build import Builder, build
from nnn_bench.models.growth import Origin
from nnn_bench.models.parts import Port
from nnn_bench.models.projections.selection import Options, Selection
from tests.models import adding, small, solved, with_options

ESTIMATORS = ["straight_through", "identical_look", "switch"]


def layer(K: int, *, inputs: int = 7, outputs: int = 5, **options: Any) -> Selection:
    torch.manual_seed(K)
    made = Selection(Options(computations=K, **options), Builder("test"), Port("map", inputs, outputs))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_()
    return made.double()


def plain_form(made: Selection, x: torch.Tensor, swapped: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """The layer through autograd: onehot - stop(p) + p as the source writes it, or y p / stop(p). Also K sum_k f_k P_k."""
    K = made.computations
    values = torch.einsum("...i,koi->...ko", x, made.weight) + made.bias.view(K, -1)
    seen = x.detach() if made.estimator == "identical_look" else x
    shares = (torch.einsum("...i,koi->...ko", seen, made.selector_weight) + made.selector_bias.view(K, -1)).softmax(-2)
    choice = shares.argsort(-2, descending=True)[..., int(swapped), :].unsqueeze(-2)
    hard = torch.zeros_like(shares).scatter(-2, choice, 1.0)
    balance = K * (hard.flatten(0, -3).mean((0, 2)) * shares.flatten(0, -3).mean((0, 2))).sum()
    if made.estimator == "switch":
        taken = shares.gather(-2, choice)
        return (values.gather(-2, choice) * taken / taken.detach()).squeeze(-2), balance
    return ((hard - shares.detach() + shares) * values).sum(-2), balance


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of three tokens, so that a few tokens make several, the last one incomplete."""
    monkeypatch.setattr(selection_kernels, "_BLOCK", 1)
    monkeypatch.setattr(selection_kernels, "_LEAST_ROWS", 3)


@pytest.mark.parametrize("K", [2, 3, 5])
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("swapped", [False, True])
def test_values_gradients_and_balance_equal_the_plain_form(K, estimator, swapped, small_blocks):
    made = layer(K, estimator=estimator, balance=0.3)
    made.swapped = swapped
    x = torch.randn(4, 5, 7, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(4, 5, 5, dtype=torch.float64)

    def run(function):
        y, balance = function(x)
        gradients = torch.autograd.grad((y * upstream).sum() + balance, [x, *made.parameters()])
        return [y.detach(), balance.detach(), *gradients]

    def ours(x):
        y, [balance] = adding(made, x)
        return y, balance

    def plain(x):
        y, balance = plain_form(made, x, swapped)
        return y, 0.3 * balance

    for found, expected in zip(run(ours), run(plain), strict=True):
        assert torch.allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("balance", [0.0, 0.3])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_torch_form_of_two_computations_is_the_compiled_one(estimator, balance, monkeypatch):
    made = layer(2, estimator=estimator, balance=balance)
    x = torch.randn(20, 7, dtype=torch.float64, requires_grad=True)

    def run():
        y, added = adding(made, x)
        assert len(added) == (balance > 0)
        return [y, *torch.autograd.grad(y.square().sum() + sum(added), [x, *made.parameters()])]

    compiled = run()
    monkeypatch.setattr(selection_of_two, "compiled", lambda x: False)
    assert all(torch.allclose(one, other, atol=1e-12) for one, other in zip(compiled, run(), strict=True))


@pytest.mark.parametrize("K", [2, 3, 5])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_three_identities_of_one_token(K, estimator):
    made = layer(K, estimator=estimator)
    x = torch.randn(1, 7, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(1, 5, dtype=torch.float64)
    made.watch = []
    made(x).backward(upstream)
    [logits] = made.watch
    chosen = logits.argmax(-2)[0]  # (O,)
    p, values = logits.softmax(-2)[0], made.logits_and_values(x.detach())[1][0]  # (K, O)
    onehot = torch.nn.functional.one_hot(chosen, K).T

    # the computation that was chosen gets the gradient of the plain linear map; the others exactly nothing
    expected = torch.einsum("ko,i->koi", onehot * upstream, x[0].detach())
    assert torch.allclose(made.weight.grad, expected, atol=1e-12)
    moved = made.weight.grad.abs().sum(-1) + made.bias.grad.view(K, -1).abs()
    assert torch.equal(moved > 0, onehot == 1)

    # each logit gets what the estimator says
    if estimator == "switch":
        to_logits = (onehot - p) * values.gather(0, chosen.unsqueeze(0)) * upstream
    else:
        to_logits = p * (values - (p * values).sum(0)) * upstream
    assert torch.allclose(made.selector_bias.grad.view(K, -1), to_logits, atol=1e-12)

    # the input gets the chosen rows, and what the selector adds unless that is hidden
    rows = made.weight[chosen, torch.arange(5)]  # (O, I)
    added = torch.einsum("ko,koi->i", to_logits, made.selector_weight)
    look = upstream @ rows + (0 if estimator == "identical_look" else added)
    assert torch.allclose(x.grad, look, atol=1e-12)


def test_a_computation_that_no_token_selects_gets_exactly_nothing():
    made = layer(3)
    made.watch = []
    with torch.no_grad():
        made.selector_bias.view(3, -1)[1] = -50.0
    made(torch.randn(40, 7, dtype=torch.float64)).sum().backward()
    assert set(made.watch[0].argmax(-2).flatten().tolist()) == {0, 2}
    assert not made.weight.grad[1].any() and not made.bias.grad.view(3, -1)[1].any()
    assert made.weight.grad[0].any() and made.weight.grad[2].any()


def kept_bytes(made: torch.nn.Module, x: torch.Tensor) -> int:
    """Of the output and of all that is kept for the backward pass, but for parameters; none twice."""
    own = {p.untyped_storage().data_ptr() for p in made.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        keep(made(x))
    return sum(kept.values())


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_what_is_kept_does_not_grow_with_the_number_of_computations(estimator):
    x = torch.randn(512, 32, requires_grad=True)
    dense = kept_bytes(torch.nn.Linear(32, 32), x)
    assert dense == 2 * 512 * 32 * 4
    port = Port("map", 32, 32)
    few, many = (
        kept_bytes(Selection(Options(computations=K, estimator=estimator), Builder("test"), port), x) for K in (3, 75)
    )
    assert few == many <= 1.2 * dense


def test_noise_falls_to_nothing_and_touches_the_choice_in_training_alone():
    made = layer(4, exploration=0.25)
    made.watch = []
    x = torch.randn(400, 7, dtype=torch.float64)
    plain = plain_form(made, x)[0]
    assert torch.equal(made(x), made.eval()(x))  # one that was never told behaves as at the end
    made.train()
    shares = []
    for done in (0.0, 0.125, 0.2, 0.25, 1.0):
        made.progressed(done)
        assert made.temperature.item() == pytest.approx(max(0.0, 1 - 4 * done))
        shares.append((made(x) - plain).abs().gt(1e-9).double().mean().item())
    assert 1 > shares[0] > shares[1] > shares[2] > shares[3] == shares[4] == 0
    assert all(torch.equal(logits, made.watch[0]) for logits in made.watch)  # the logits stay as they are
    made.progressed(0.0)
    assert torch.allclose(made.eval()(x), plain, atol=1e-12)
    assert "temperature" not in made.state_dict()


@pytest.mark.parametrize("K", [2, 3])
def test_at_temperature_one_the_choice_is_a_draw_from_the_softmax(K):
    made = layer(K, outputs=1, exploration=1.0)
    made.progressed(0.0)
    with torch.no_grad():
        made.selector_weight.zero_()
        made.weight.zero_()
        made.bias.copy_(torch.arange(K))
        p = made.selector_bias.softmax(0)
        drawn = made(torch.zeros(20_000, 7, dtype=torch.float64)).flatten().long()
    assert torch.allclose(drawn.bincount(minlength=K) / 20_000, p.float(), atol=0.015)  # four standard errors


def test_balance_of_a_hand_worked_case():
    made = layer(2, outputs=1, balance=0.5)
    with torch.no_grad():
        made.selector_weight.zero_()
        made.selector_weight[1, 0, 0] = 1.0
        made.selector_bias.zero_()
    x = torch.zeros(4, 7, dtype=torch.float64)
    x[:, 0] = torch.tensor([math.log(3), math.log(3), math.log(3), -math.log(3)])  # p of the second: 3/4 x 3, 1/4
    _, [added] = adding(made, x)
    # f = (1/4, 3/4), P = (3/8, 5/8)
    assert added.item() == pytest.approx(0.5 * 2 * (1 / 4 * 3 / 8 + 3 / 4 * 5 / 8))
    assert adding(made.eval(), x)[1] == adding(layer(2), x)[1] == []


def heirs(made: Selection, state: dict[str, torch.Tensor], origins: dict[str, Origin]) -> dict[str, torch.Tensor]:
    assert all(origin.name == name and origin.gradient_share == 1.0 for name, origin in origins.items())
    return {name: origin.heir(state[name]) for name, origin in origins.items()}


@pytest.mark.parametrize("K", [1, 2, 3])
def test_growing_clones_a_computation_and_keeps_function_and_state(K):
    made = layer(K, clones=2)
    x = torch.randn(50, 7, dtype=torch.float64)
    for ancestor, count in ((0, K + 1), (1 if K > 1 else 0, K + 2)):
        state = {name: torch.randn_like(p) for name, p in made.named_parameters()}
        old = {name: p.detach().clone() for name, p in made.named_parameters()}
        y = made(x)
        origins = made.grow()
        assert torch.equal(made(x), y) or torch.allclose(made(x), y, atol=1e-14, rtol=0)
        assert made.computations == count == made.weight.shape[0]
        assert torch.equal(made.weight[: count - 1], old["weight"])
        change = made.weight[-1] - old["weight"][ancestor]
        assert change.std().item() == pytest.approx(1e-3 * old["weight"][ancestor].std().item(), rel=0.5)
        assert torch.equal(made.bias.view(count, -1)[-1], old["bias"].view(count - 1, -1)[ancestor])
        assert torch.equal(made.selector_weight[-1], made.selector_weight[ancestor])
        for name, moment in heirs(made, state, origins).items():
            rows = moment.view(count, -1)
            assert torch.equal(rows[:-1], state[name].view(count - 1, -1))
            assert torch.equal(rows[-1], state[name].view(count - 1, -1)[ancestor])
        fresh = set() if count > 2 else {"selector_weight", "selector_bias"}
        assert {name for name, _ in made.named_parameters()} - fresh == set(origins)
        made(x).sum().backward()  # both selectors of the pair learn, if only by what tells the two apart
        assert all(p.grad is not None and p.grad.any() for name, p in made.named_parameters() if "selector" in name)


def test_a_clone_comes_to_be_used():
    torch.manual_seed(0)
    made = Selection(Options(computations=1, clones=1), Builder("test"), Port("map", 7, 5))
    x = torch.randn(256, 7)
    target = torch.where(x[:, :1] > 0, x[:, 1:6], -x[:, 1:6])
    made.grow()
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-2)
    for _ in range(300):
        loss = (made(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.4  # one linear map: 1, as the halves cancel
    made.watch = []
    made(x)
    frequency = selection_statistics(made.watch[0])["frequency"]
    assert min(frequency) > 0.4


def test_budgets_count_the_clones_and_a_growth_that_is_not_scheduled_is_refused():
    grown = small("selection_growing")
    assert grown.stages == 2 and {m.computations for m in grown.modules() if isinstance(m, Selection)} == {1}
    tree = copy.deepcopy(solved("selection_growing").model)
    del tree["topology"]["growth"]
    with pytest.raises(UserError, match=r"selection grows 1 times and stack has no growth"):
        build(tree, vocabulary=29, context=16)


def test_one_computation_is_a_plain_linear_map():
    made = layer(1)
    x = torch.randn(3, 7, dtype=torch.float64)
    assert torch.allclose(made(x), x @ made.weight[0].T + made.bias)
    assert {name for name, _ in made.named_parameters()} == {"weight", "bias"}


@pytest.mark.parametrize("K", [2, 3])
def test_parameters_and_fresh_spread(K):
    torch.manual_seed(0)
    made = Selection(Options(computations=K), Builder("test"), Port("map", 256, 256))
    assert sum(p.numel() for p in made.parameters()) == 2 * K * (256 * 256 + 256)
    for k in range(K):  # each (O, I) slice by itself: Xavier for 256 x 256 is 0.0625
        assert made.selector_weight[k].std().item() == pytest.approx(0.0625, rel=0.02)
        assert made.weight[k].std().item() == pytest.approx(0.02, rel=0.02)


def test_options_reach_the_layers_of_a_network():
    model = with_options(
        "selection_transformer", "topology.mixer", projection={"kind": "selection", "estimator": "identical_look"}
    )
    assert model.blocks[0].time_mixer.out.estimator == "identical_look"
    assert model.blocks[0].channel_mixer.up.estimator == "straight_through"


WRONG = [
    ({"estimator": "straight"}, "estimator"),
    ({"detached_selector": True}, "detached_selector: unknown key"),
    ({"exploration": 1.5}, "less than or equal to 1"),
    ({"balance": -1.0}, "greater than or equal to 0"),
    ({"clone_noise": 0.0}, "greater than 0"),
]


@pytest.mark.parametrize(("options", "says"), WRONG)
def test_wrong_options_are_refused_in_one_line(options, says):
    with pytest.raises(UserError, match=says):
        with_options("selection_transformer", "topology.mixer", projection={"kind": "selection", **options})


def test_a_head_may_select():
    head = {"kind": "selection", "computations": 3}
    model = with_options("gpt2", "topology", tied_head=False, head_projection=head)
    body = small("gpt2").parameter_count().body
    assert model.parameter_count().body == body
    assert model.parameter_count().head == 2 * 3 * (model.width + 1) * 29
    ids = torch.zeros(2, 16, dtype=torch.long)
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:
        model(ids).sum().backward()
    assert model.window_flops(16).with_backward.matrix * 2 == counter.get_total_flops()


def test_autocast_halves_the_products_and_not_the_shares():
    for K in (2, 3):
        made = layer(K).float()
        x = torch.randn(40, 7, requires_grad=True)
        exact = torch.autograd.grad(made(x).square().sum(), [x, *made.parameters()])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = made(x)
        assert y.dtype == torch.bfloat16
        half = torch.autograd.grad(y.float().square().sum(), [x, *made.parameters()])
        for one, other in zip(half, exact, strict=True):
            assert one.dtype == torch.float32
            assert torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.97
