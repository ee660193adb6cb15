"""Convolution attention: the causal form against its equations, past and future, and the published form, which leaks."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from nnn_bench.config.errors import UserError
from nnn_bench.models.build import build
from tests.models import VOCABULARY, small, solved, stepped, tokens

DENSE = {"kind": "dense", "bias": True}


def hourglass(
    *, kind="hourglass", width=8, context=64, heads=2, hidden=None, vocabulary=VOCABULARY, fresh=False, **options
):
    """A network in float64 whose widest level has four times its width hidden; with biases away from 0 unless `fresh`."""
    levels = options.get("crossings", len(options.get("blocks", [0])) - 1)
    mixer = {"kind": "attention", "heads": heads, "projection": DENSE}
    channel_mixer = {"kind": "mlp", "hidden": hidden or 4 * (width << levels), "projection": DENSE}
    tree = {"kind": kind, "width": width, "mixer": mixer, "channel_mixer": channel_mixer, **options}
    if kind == "hourglass":
        tree["crossing_projection"] = DENSE
    torch.manual_seed(0)
    model = build({"topology": tree}, vocabulary=vocabulary, context=context)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") and not fresh:
                parameter.normal_(0, 0.1)
    return model.double()


def seen(model, length=64):
    """`(T, T)`: whether the logits of row t depend on the vector at column s, by gradient."""
    x = model.embed(tokens(1, length)).detach().requires_grad_()
    logits = model.predict(x)
    rows = []
    for t in range(length):
        [gradient] = torch.autograd.grad(logits[0, t].cos().sum(), x, retain_graph=True)
        rows.append(gradient[0].abs().amax(-1))
    return torch.stack(rows)


FORMS = [
    {"blocks": [2, 2, 1]},
    {"blocks": [1, 1, 2, 1]},
    {"blocks": [2, 1], "factor": 3, "kernel": 5},
    {"blocks": [1, 1, 1], "factor": 2, "kernel": 4},
]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_position_sees_its_whole_past_and_nothing_else(form):
    found = seen(hourglass(**form))
    past = torch.ones(64, 64).tril().bool()
    assert (found[~past] == 0).all()
    assert (found[past] > 0).all()


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("length", [64, 63, 17, 1])
def test_step_says_the_same_as_forward_at_any_length(form, length):
    model = hourglass(**form)
    with torch.no_grad():
        assert (stepped(model, tokens(2, length)) - model(tokens(2, length))).abs().max() < 1e-10


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_shorter_window_is_the_start_of_a_longer_one(form):
    model = hourglass(**form)
    with torch.no_grad():
        assert (model(tokens(2, 64))[:, :50] - model(tokens(2, 64)[:, :50])).abs().max() < 1e-10


def by_the_equations(model, ids):
    """The docstring's equations with loops over positions; blocks are taken as they are."""
    s = model.factor

    def through(level, x):
        here = model.levels[level]
        for block in here.before:
            x = block(x)
        if here.down is not None:
            m, T = here.kernel, x.shape[1]
            normed = F.layer_norm(x, x.shape[-1:], here.down_norm.weight, here.down_norm.bias)
            weight = here.down.weight.view(-1, m, here.width)  # (2C, m, C)
            coarse = []
            for i in range(-(-T // s)):
                z = here.down.bias.expand(x.shape[0], -1).clone()
                for k in range(m):
                    place = s * i - (m - 1) + k
                    if place >= 0:
                        z = z + normed[:, place] @ weight[:, k].T
                coarse.append(z)
            z = through(level + 1, torch.stack(coarse, 1))
            z = F.layer_norm(z, z.shape[-1:], here.up_norm.weight, here.up_norm.bias)
            rows = []
            for t in range(T):
                i, r = divmod(t, s)
                A = here.up.weight.view(s, here.width, -1)[r]
                rows.append(x[:, t] + z[:, i] @ A.T + here.up.bias.view(s, -1)[r])
            x = torch.stack(rows, 1)
        for block in here.after:
            x = block(x)
        return x

    x = model.embedding[ids] + model.positions[: ids.shape[1]]
    x = through(0, x)
    return F.layer_norm(x, x.shape[-1:], model.norm.weight, model.norm.bias) @ model.embedding.T


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_it_follows_its_equations(form):
    model = hourglass(**form)
    with torch.no_grad():
        assert (model(tokens(2, 30)) - by_the_equations(model, tokens(2, 30))).abs().max() < 1e-12


def test_parameters_and_flops_follow_the_formulas():
    d, s, V, T, blocks = 8, 4, VOCABULARY, 64, (2, 3, 1)
    model = hourglass(blocks=list(blocks), width=d)
    body, flops = 2 * d, 2 * V * d * T
    for level, n in enumerate(blocks):
        w, length = d * 2**level, T // s**level
        body += n * (12 * w * w + 13 * w)
        flops += length * n * (24 * w * w + 4 * w * length)
        if level + 1 < len(blocks):
            body += (s * w * 2 * w + 2 * w + 2 * w) + (s * 2 * w * w + s * w + 2 * 2 * w)
            flops += (length // s) * 2 * (2 * s * w * 2 * w)
    assert model.parameter_count().body == body
    assert model.window_flops(T).matrix == flops


def test_a_step_costs_the_whole_stack_only_when_all_levels_turn():
    model = hourglass(blocks=[1, 1, 1])
    costs = [model.inference_flops(position + 1).matrix for position in range(64)]
    by_turn = {turn: [costs[t] for t in range(1, 64) if turn == (t % 4 == 0) + (t % 16 == 0)] for turn in (0, 1, 2)}
    assert max(by_turn[0]) < min(by_turn[1]) < min(by_turn[2])


def test_the_block_form_sees_to_the_end_of_its_block_and_never_its_target():
    model = small("conv_attention_ahead", dtype=torch.float64)
    assert model.ahead == 16
    model = hourglass(blocks=[2, 4, 2], alignment="block", skip=False)
    found = seen(model) > 0
    for t in range(64):
        end = t - t % 16 + 16
        assert found[t, :end].all() and not found[t, end:].any()
    with pytest.raises(TypeError, match="token by token"):
        model.step(tokens(1)[:, 0], model.initial_state(1))


def test_the_published_layout_has_its_published_parameters():
    with torch.device("meta"):
        model = hourglass(kind="published/hourglass", width=48, heads=6, crossings=3, context=1024, vocabulary=50257)
    assert model.parameter_count().total == 9_244_080
    blocks = sum(p.numel() for block, _ in model._block_lengths for p in block.parameters())
    assert blocks == 5_832_288
    named = {name: sum(p.numel() for p in part.parameters()) for name, part in model.parts.named_children()}
    crossings = [named[str(index)] for index in range(1, 18, 3)]
    assert (sum(crossings[:3]), sum(crossings[3:])) == (388_416, 561_792)


def test_every_output_of_the_published_form_sees_every_input():
    found = seen(hourglass(kind="published/hourglass", crossings=2))
    assert (found > 0).all()


def test_random_tokens_stay_random_to_the_honest_forms():
    """i.i.d. tokens cannot be predicted: the honest forms stay at ln V. (The leak learns them: test_audit.py.)"""
    V, T, ends = 2, 64, {}
    for name, ahead, form in (
        ("causal", 1, {"blocks": [2, 2, 1]}),
        ("block", 16, {"blocks": [2, 4, 2], "alignment": "block", "skip": False}),
    ):
        model = hourglass(width=18, context=T, vocabulary=V, fresh=True, **form).float()
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, betas=(0.9, 0.99), weight_decay=0.0)
        draw, losses = torch.Generator().manual_seed(0), []
        for step in range(200):
            for group in optimizer.param_groups:  # without a warm-up the leak is not found
                group["lr"] = 5e-3 * min(1, (step + 1) / 50)
            stream = torch.randint(V, (16, T + ahead), generator=draw)
            loss = F.cross_entropy(model(stream[:, :T]).flatten(0, 1), stream[:, ahead:].flatten())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
        ends[name] = sum(losses[-20:]) / 20 / math.log(V)
    assert ends["causal"] == pytest.approx(1, abs=0.02) and ends["block"] == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kernel": 3}, "model.topology.kernel: is 3, below the factor 4"),
        ({"skip": False}, "model.topology.skip: is false"),
        ({"blocks": [2]}, "model.topology.blocks: "),
        ({"factor": 1}, "model.topology.factor: "),
    ],
)
def test_a_form_that_cannot_be_is_refused_in_one_line(change, says):
    tree = copy.deepcopy(solved("conv_attention").model)
    tree["topology"] |= change
    with pytest.raises(UserError) as found:
        build(tree, vocabulary=VOCABULARY, context=16, file="v.yaml")
    assert str(found.value).startswith(f"v.yaml: {says}")


def test_a_context_the_published_form_cannot_tile_is_refused():
    tree = copy.deepcopy(solved("conv_attention_published").model)
    with pytest.raises(
        UserError, match=r"v\.yaml: model\.topology\.crossings: is 2: the context 24 is no multiple of 4\^2"
    ):
        build(tree, vocabulary=VOCABULARY, context=24, file="v.yaml")
