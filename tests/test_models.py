"""What holds for every variant of the registry: a new YAML file is tested the moment it exists."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from nnn_bench.budget.solver import TOLERANCE, meta_model
from tests.models import CONTEXT, HONEST, VARIANTS, VOCABULARY, shake, shallow, small, solved, stages, stepped, tokens

STREAMING = [name for name in HONEST if shallow(name).streams]


@pytest.mark.parametrize("name", VARIANTS)
def test_forward_gives_finite_float_logits_of_the_right_shape(name):
    for length in (1, CONTEXT - 3, CONTEXT):
        logits = small(name)(tokens(2, length))
        assert logits.shape == (2, length, VOCABULARY)
        assert logits.dtype == torch.float32
        assert torch.isfinite(logits).all()


#: Controls that scale their logits to standard deviation one, half a nat above a guess: asserted in their own file.
SCALED_LOGITS = {"high_order_transformer_published", "high_order_input_transformer_published"}


@pytest.mark.parametrize("name", [name for name in VARIANTS if name not in SCALED_LOGITS])
def test_fresh_network_is_about_as_unsure_as_a_uniform_guess(name):
    loss = F.cross_entropy(small(name)(tokens(64)).flatten(0, 1), tokens(64, seed=2).flatten()).item()
    assert loss == pytest.approx(torch.tensor(float(VOCABULARY)).log().item(), abs=0.15)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_seed_gives_the_same_network_and_another_seed_another(name):
    first, again, other = small(name, seed=3), small(name, seed=3), small(name, seed=4)
    assert torch.equal(first(tokens()), again(tokens()))
    assert not torch.equal(first(tokens()), other(tokens()))


@pytest.mark.parametrize("name", STREAMING)
def test_step_says_the_same_as_forward_at_every_stage(name):
    # In float64, where a rounding (ternary) or a choice (selection) does not flip on the last bit. Fresh ternary maps make
    # whole multiples of few numbers, which may lie exactly half way between two roundings: moved a little, they do not.
    for model in stages(name, dtype=torch.float64):
        shake(model)
        with torch.no_grad():
            assert (stepped(model, tokens()) - model(tokens())).abs().max().item() < 1e-9


@pytest.mark.parametrize("name", STREAMING)
def test_step_in_single_precision_departs_at_few_places_if_at_all(name):
    model = shallow(name)
    decides = any(getattr(module, "decides", False) for module in model.modules())
    with torch.no_grad():
        difference = (stepped(model, tokens(8)) - model(tokens(8))).abs().amax(dim=-1)
    # a rounding or a choice may flip on the last bit and then shows; a network without either has no excuse
    assert (difference > 1e-4).double().mean().item() <= (0.2 if decides else 0.0)


@pytest.mark.parametrize("name", HONEST)
def test_replacing_what_may_not_be_seen_changes_nothing(name):
    for model in stages(name, dtype=torch.float64):
        ids, hidden = tokens(), model.hidden(CONTEXT)
        with torch.no_grad():
            plain = model(ids)
            # All places side by side, (T * rows, T): rows do not touch each other, as the next test shows.
            place = torch.arange(CONTEXT)
            for changed, still in (
                (place == place[:, None], hidden.T),
                (place >= place[:, None], hidden.T.flip(0).cummin(dim=0).values.flip(0)),
            ):
                for shift in (1, 7):
                    moved = (ids + shift * changed[:, None]) % VOCABULARY  # (T, rows, T)
                    found = model(moved.flatten(0, 1)).unflatten(0, moved.shape[:2])
                    difference = (found - plain).abs().amax(dim=(1, 3))  # (T, T): by place replaced, by answer
                    assert (difference[still] < 1e-9).all()
                    assert (difference.masked_fill(still, 0).amax(dim=1) > 1e-9).all()


@pytest.mark.parametrize("name", HONEST)
def test_rows_of_a_batch_do_not_touch_each_other(name):
    model = shallow(name, dtype=torch.float64)
    ids = tokens()
    changed = ids.clone()
    changed[1:] = (changed[1:] + 5) % VOCABULARY
    with torch.no_grad():
        assert (model(ids)[0] - model(changed)[0]).abs().max().item() < 1e-9


@pytest.mark.parametrize("name", HONEST)
def test_every_parameter_gets_a_gradient_unless_it_is_frozen_on_purpose(name):
    for model in stages(name):
        frozen = {id(parameter) for parameter in model.frozen_parameters()}
        F.cross_entropy(model(tokens(16)).flatten(0, 1), tokens(16, seed=2).flatten()).backward()
        got = {key for key, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        assert got == {key for key, p in model.named_parameters() if id(p) not in frozen}
        assert all(p.requires_grad == (id(p) not in frozen) for p in model.parameters())
        model.zero_grad()


@pytest.mark.parametrize("name", HONEST)
def test_one_batch_can_be_learned_by_heart(name):
    model = shallow(name)
    ids, targets = tokens(2), tokens(2, seed=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(250):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten())
        if loss.item() < 0.3:
            return
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    pytest.fail(f"still at {loss.item():.2f} nats")


@pytest.mark.parametrize("name", VARIANTS)
def test_weights_survive_a_round_trip_at_every_stage(name):
    for model, other in zip(stages(name, seed=1), stages(name, seed=2), strict=True):
        other.load_state_dict(model.state_dict())
        assert torch.equal(model(tokens()), other(tokens()))


@pytest.mark.parametrize("name", STREAMING)
def test_state_survives_a_round_trip(name):
    """A state may be put aside and taken up again: what follows does not depend on what was done in between."""
    model, ids = small(name), tokens()
    with torch.no_grad():
        _, state = model.step(ids[:, 0], model.initial_state(3))
        kept = copy.deepcopy(state)
        first, _ = model.step(ids[:, 1], state)
        model.step(ids[:, 2], model.initial_state(3))
        again, _ = model.step(ids[:, 1], kept)
    assert torch.equal(first, again)


@pytest.mark.parametrize("name", VARIANTS)
def test_declared_matrix_flops_equal_the_counted_ones_at_every_stage(name):
    ids = torch.zeros(2, CONTEXT, dtype=torch.long)
    declared = []
    for model in stages(name):
        model.train()
        counter = FlopCounterMode(display=False)
        with sdpa_kernel(SDPBackend.MATH), counter:
            loss = model(ids).float().sum()
            forward = counter.get_total_flops()
            loss.backward()
        assert model.window_flops(CONTEXT).matrix * len(ids) == forward
        assert model.window_flops(CONTEXT).with_backward.matrix * len(ids) == counter.get_total_flops()
        declared.append(model.window_flops(CONTEXT))
    assert model.stage_flops(CONTEXT) == declared


@pytest.mark.parametrize("name", VARIANTS)
def test_training_flops_go_through_the_stages_as_they_are_scheduled(name):
    model = small(name)
    windows = 3000
    found = model.training_flops(windows * CONTEXT, CONTEXT)
    ends = [*(model.growth.steps(windows) if model.growth else []), windows]
    expected, first = 0, 0
    for flops, last in zip(model.stage_flops(CONTEXT), ends, strict=True):
        expected += flops.with_backward.total * (last - first)
        first = last
    assert found.total == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", STREAMING)
def test_declared_matrix_flops_of_a_step_equal_the_counted_ones(name):
    for model in stages(name):
        state = model.initial_state(1)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            before = 0
            with FlopCounterMode(display=False) as counter:
                for position in range(CONTEXT):
                    _, state = model.step(tokens(1)[:, position], state)
                    after = counter.get_total_flops()
                    assert model.inference_flops(position + 1).matrix == after - before
                    before = after


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("target", [20_000, 1_000_000])
def test_body_parameters_meet_the_budget(name, target):
    solution = solved(name, target)
    model = meta_model(solution.model, vocabulary=VOCABULARY, context=CONTEXT, file=name)
    assert abs(model.parameter_count().body - target) / target <= TOLERANCE
    assert model.parameter_count().total == sum(p.numel() for p in model.parameters())
