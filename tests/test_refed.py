"""Refeeding: passes against explicit loops, what is back-propagated, drawn numbers of passes, and halting by hand."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from nnn_bench.audit.static import audit_fresh
from nnn_bench.config.errors import UserError
from nnn_bench.models.build import build
from nnn_bench.models.topologies.refed import Halting, HaltingOptions
from tests.models import CONTEXT, VOCABULARY, adding, shake, stepped, tokens


def refed(*, mixer=None, dtype=torch.float64, moved=True, **options):
    """Two blocks of width 12, fed three times unless told otherwise; moved a little, so that norms and biases count."""
    topology = {
        "kind": "refed",
        "width": 12,
        "layers": 2,
        "passes": 3,
        "mixer": mixer or {"kind": "attention", "heads": 2, "projection": "dense"},
        "channel_mixer": {"kind": "mlp", "hidden": 20, "projection": "dense"},
        **options,
    }
    torch.manual_seed(0)
    model = build({"topology": topology}, vocabulary=VOCABULARY, context=CONTEXT).to(dtype)
    if moved:
        shake(model)
    return model


def looped(model, ids, passes, *, detached=0):
    """Logits by the definition; what the first `detached` passes give is a constant."""
    x = first = model.embed(ids)
    for k in range(passes):
        x = x + first if model.inject and k else x
        for block in model.blocks:
            x = block(x, model.shared)
        x = x.detach() if k < detached else x
    return model.unembed(x)


def gradients(model, logits):
    model.zero_grad()
    (logits * torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype).view_as(logits)).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


MLGRU = {"kind": "mlgru", "projection": "dense"}


@pytest.mark.parametrize("inject", [False, True])
@pytest.mark.parametrize("mixer", [None, MLGRU], ids=["attention", "mlgru"])
def test_passes_and_their_gradients_equal_an_explicit_loop(inject, mixer):
    model = refed(inject=inject, mixer=mixer)
    ids = tokens()
    assert torch.equal(model(ids), looped(model, ids, 3))
    found, expected = gradients(model, model(ids)), gradients(model, looped(model, ids, 3))
    assert all(torch.allclose(found[name], expected[name], atol=1e-12) for name in expected)
    with torch.no_grad():
        assert (stepped(model, ids) - model(ids)).abs().max() < 1e-12
        assert (looped(model, ids, 2) - model(ids)).abs().max() > 1e-3


def test_one_pass_is_a_stack_and_what_a_mixer_owns_is_per_block():
    one = refed(passes=1, mixer=MLGRU)
    tree = {
        "kind": "stack",
        "width": 12,
        "layers": 2,
        "mixer": MLGRU,
        "channel_mixer": {"kind": "mlp", "hidden": 20, "projection": "dense"},
    }
    stack = build({"topology": tree}, vocabulary=VOCABULARY, context=CONTEXT).double()
    stack.load_state_dict(one.state_dict())
    assert torch.equal(stack(tokens()), one(tokens()))
    assert one.window_flops(CONTEXT) == stack.window_flops(CONTEXT)
    three = refed(mixer=MLGRU)
    assert three.shared.logits.shape == (2, 12) and three.parameter_count() == stack.parameter_count()


@pytest.mark.parametrize("last", [1, 2])
def test_only_the_last_passes_are_back_propagated(last):
    model, ids = refed(passes=4, inject=True, backward_through=last), tokens()
    found = gradients(model, model(ids))
    expected = gradients(model, looped(model, ids, 4, detached=4 - last))
    whole = gradients(model, looped(model, ids, 4))
    assert all(torch.allclose(found[name], expected[name], atol=1e-12) for name in expected)
    assert not torch.allclose(found["blocks.0.time_mixer.out.weight"], whole["blocks.0.time_mixer.out.weight"])
    assert torch.equal(model(ids), looped(model, ids, 4))


def test_the_last_pass_is_trained_under_autocast_too():
    model, ids = refed(passes=2, inject=True, backward_through=1, dtype=torch.float32), tokens()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(ids)
    found = gradients(model, logits.float())
    assert all(gradient.abs().max() > 0 for gradient in found.values())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"inject": True, "backward_through": 1},
        {"inject": True, "backward_through": 2},
        {"halting": {}},
        {"drawn": True},
    ],
    ids=str,
)
def test_declared_matrix_flops_equal_the_counted_ones(options):
    model, ids = refed(dtype=torch.float32, **options).train(), tokens(2)
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:
        loss = model(ids).sum()
        assert model.window_flops(CONTEXT).matrix * 2 == counter.get_total_flops()
        loss.backward()
    assert model.window_flops(CONTEXT).with_backward.matrix * 2 == counter.get_total_flops()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        model.step(ids[:1, 0], model.initial_state(1))
    assert model.inference_flops(1).matrix == counter.get_total_flops()


def test_the_number_of_passes_is_drawn_in_training_alone_and_only_once_told():
    model, ids = refed(passes=4, drawn=True), tokens(1)
    [listener] = [part for part in model.mixers_and_maps() if part.hears_progress]
    answers = [looped(model, ids, k) for k in range(1, 5)]

    def passes_of(logits):
        [number] = [k for k, answer in enumerate(answers, start=1) if torch.equal(answer, logits)]
        return number

    with torch.no_grad():
        answers = [answer.detach() for answer in answers]
        model.train()
        assert {passes_of(model(ids)) for _ in range(8)} == {4}  # never told
        listener.progressed(0.3)
        torch.manual_seed(0)
        drawn = [passes_of(model(ids)) for _ in range(400)]
        assert all(drawn.count(k) == pytest.approx(100, abs=35) for k in (1, 2, 3, 4))
        torch.manual_seed(0)
        assert [passes_of(model(ids)) for _ in range(20)] == drawn[:20]
        assert (stepped(model, ids) - answers[3]).abs().max() < 1e-12
        model.eval()
        assert {passes_of(model(ids)) for _ in range(8)} == {4}
        model.train()
        listener.progressed(1.0)
        assert {passes_of(model(ids)) for _ in range(8)} == {4}


def logit(probability):
    return math.log(probability / (1 - probability))


def test_halting_by_hand():
    """States of one feature: at pass k a position's state is its entry of `told[k]`, and so is its halting logit."""
    unit = Halting(HaltingOptions(epsilon=0.01, ponder=0.5), 1, 3).double().train()
    with torch.no_grad():
        unit.unit.weight.fill_(1.0)
        unit.unit.bias.zero_()
    p = [[0.995, 0.3, 0.2], [0.9, 0.695, 0.3], [0.9, 0.9, 0.9]]
    told = torch.tensor([[logit(one) for one in row] for row in p], dtype=torch.float64).unsqueeze(-1)
    asked = []

    def fed(k, x):
        asked.append(x.flatten().tolist())
        return told[k]

    answer, [ponder] = adding(unit, torch.zeros(3, 1, dtype=torch.float64), fed)
    answer = answer.flatten()
    first = told[0, 0]  # 0.995 > 0.99: halts at once, with all the weight
    second = 0.3 * told[0, 1] + 0.7 * told[1, 1]  # 0.3 + 0.695 > 0.99
    third = 0.2 * told[0, 2] + 0.3 * told[1, 2] + 0.5 * told[2, 2]  # never beyond it: the last pass takes the rest
    assert torch.allclose(answer, torch.cat([first, second, third]), atol=1e-12)
    assert ponder.item() == pytest.approx(0.5 * ((1 + 1) + (2 + 0.7) + (3 + 0.5)) / 3)
    # who has halted shows its last state to those who run
    assert asked[2] == pytest.approx([told[0, 0].item(), told[1, 1].item(), told[1, 2].item()])
    assert adding(unit.eval(), torch.zeros(3, 1, dtype=torch.float64), fed)[1] == []


def test_halting_is_born_as_an_even_mean_and_its_cost_has_a_gradient():
    model, ids = refed(passes=4, halting={"ponder": 0.1}, moved=False), tokens()
    with torch.no_grad():
        model.halting.unit.weight.zero_()
    states, x = [], model.embed(ids)
    for _ in range(4):
        for block in model.blocks:
            x = block(x, model.shared)
        states.append(x)
    assert torch.allclose(model(ids), model.unembed(sum(states) / 4), atol=1e-12)
    _, [ponder] = adding(model.train(), ids)
    assert ponder.item() == pytest.approx(0.1 * (4 + 1 / 4))
    ponder.backward()
    assert model.halting.unit.bias.grad.item() < 0  # a step against it halts sooner


def test_a_block_that_is_passed_four_times_adds_what_it_adds_four_times():
    balanced = {"kind": "selection", "balance": 1.0}
    model, ids = refed(passes=4, channel_mixer={"kind": "glu", "hidden": 8, "projection": balanced}).train(), tokens()
    maps = [module for module in model.modules() if hasattr(module, "watch")]
    _, added = adding(model, ids)
    assert len(added) == 4 * len(maps)
    assert len({term.item() for term in added}) == len(added)  # each pass has choices of its own


def test_positions_halt_apart_and_do_not_look_ahead():
    model, ids = refed(passes=4, halting={}), tokens(8)
    with torch.no_grad():
        model.halting.unit.weight.normal_(0, 60)
        told = []
        hook = model.halting.unit.register_forward_hook(lambda _part, _inputs, out: told.append(out.sigmoid()))
        plain = model(ids)
        hook.remove()
        halted_at_once = (told[0] > 0.99).double().mean().item()
        assert 0.02 < halted_at_once < 0.98
        for position in range(1, CONTEXT):
            changed = ids.clone()
            changed[:, position] = (changed[:, position] + 3) % VOCABULARY
            assert (model(changed) - plain)[:, :position].abs().max() < 1e-12
        assert (stepped(model, ids) - plain).abs().max() < 1e-12


@pytest.mark.parametrize(
    "options", [{"drawn": True}, {"halting": {}}, {"inject": True, "backward_through": 1}], ids=str
)
def test_forms_that_no_variant_has_pass_the_audits(options):
    findings = audit_fresh(refed(dtype=torch.float32, moved=False, **options))
    assert [one.test for one in findings if one.passed is False] == []


def test_recomputing_activations_changes_nothing():
    model, ids = refed(inject=True, backward_through=2), tokens()
    plain = gradients(model.train(), model(ids))
    twin = copy.deepcopy(model)
    twin.recompute_activations = True
    again = gradients(twin, twin(ids))
    assert all(torch.allclose(plain[name], again[name], atol=1e-12) for name in plain)


def test_what_is_seen_through_a_pass_is_composed_over_passes():
    class HalfBlind(torch.nn.Module):
        def sees(self, context):
            return torch.eye(context, dtype=torch.bool) | torch.eye(context, dtype=torch.bool).roll(1, 0).tril()

    model = refed(layers=1, passes=3)
    model.blocks[0].time_mixer = HalfBlind()
    expected = torch.ones(8, 8, dtype=torch.bool).tril().triu(-3)
    assert torch.equal(model.visible(8), expected)
    assert torch.equal(refed().visible(8), torch.ones(8, 8, dtype=torch.bool).tril())


REFUSALS = [
    ({"backward_through": 3}, r"topology\.backward_through: must be below passes, 3"),
    ({"backward_through": 1}, r"topology\.inject: must be true with backward_through"),
    ({"passes": 1, "drawn": True}, r"topology\.passes: must be at least 2 with drawn"),
    ({"passes": 1, "halting": {}}, r"topology\.passes: must be at least 2 with halting"),
    ({"drawn": True, "halting": {}}, r"topology\.halting: goes with neither drawn nor backward_through"),
    ({"halting": {"pondering": 1}}, r"topology\.halting\.pondering: unknown key; did you mean 'ponder'"),
    ({"passes": 0}, r"topology\.passes: "),
]


@pytest.mark.parametrize(("options", "says"), REFUSALS, ids=[says[:50] for _, says in REFUSALS])
def test_what_cannot_work_is_refused_in_one_line(options, says):
    with pytest.raises(UserError, match=says) as found:
        refed(**options)
    assert "\n" not in str(found.value)


def test_a_fed_network_learns_a_batch_by_heart_when_passes_are_drawn():
    model, ids, targets = refed(dtype=torch.float32, drawn=True), tokens(2), tokens(2, seed=2)
    model.train().draw.progressed(0.5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        F.cross_entropy(model(ids).flatten(0, 1), targets.flatten()).backward()
        optimizer.step()
    with torch.no_grad():
        losses = [F.cross_entropy(looped(model, ids, k).flatten(0, 1), targets.flatten()).item() for k in (1, 2, 3)]
    assert max(losses) < 0.5  # every number of passes answers
