"""The high-order transformers: by their equations in plain torch, by their sizes, and each published defect by its value."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from nnn_bench.audit.static import audit_fresh
from nnn_bench.config.errors import UserError
from nnn_bench.models.build import Builder, build
from nnn_bench.models.mixers.attention import Attention
from nnn_bench.models.mixers.attention import Options as AttentionOptions
from nnn_bench.models.parts import Site
from nnn_bench.models.pieces import Pieces
from nnn_bench.models.scaling import scaled
from tests.models import small, spread, stepped

LINEAR = {"kind": "piecewise", "nodes": 2, "segments": 2}
DENSE = {"kind": "dense"}
V, T, C, H = 7, 6, 4, 2

REPAIRED = ("high_order_transformer", "high_order_input_transformer")
PUBLISHED = tuple(f"{name}_published" for name in REPAIRED)


def topology(kind, *, dense=False, mixed=None, layers=2, heads=H, **options):
    """The tree of either network, all maps piecewise or dense behind the embedding."""
    one = DENSE if dense else LINEAR
    out = {"kind": "chain", "maps": 3, "input_scale": "layer", "projection": one, **(mixed or {})}
    tree = {"kind": kind, "layers": layers, "width": C, "projection": one, "embedding_projection": LINEAR, **options}
    if dense:
        out["activation"], tree["activation"] = "gelu", "relu"
    else:
        tree["vocabulary_projection"] = one
    if kind.startswith("published"):
        return {"topology": {**tree, "heads": heads, "mixer_projection": one, "out_projection": out}}
    mixer = {"kind": "attention", "heads": heads, "head_width": "width", "projection": one, "out_projection": out}
    return {"topology": {**tree, "mixer": mixer, "channel_mixer": None}}


def network(kind, *, vocabulary=V, context=T, seed=0, **options):
    torch.manual_seed(seed)
    model = build(topology(kind, **options), vocabulary=vocabulary, context=context).double()
    with torch.no_grad():  # of a size at which nothing is lost in what stands beside it
        for parameter in model.parameters():
            parameter.normal_(0, 0.5)
    return model


def normal(x):
    """Zero mean and unit variance, no gain."""
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()


def applied(one, x):
    """A map by its weights: two nodes on two segments are a dense map of relu(x), relu(-x) and one."""
    if one.weight.dim() == 2:
        return x @ one.weight.T + one.bias
    left, middle, right = one.weight
    return middle.sum(0) + x.relu() @ (right - middle) + (-x).relu() @ (left - middle)


def reference(model, tokens, *, dense, over_heads=False, mean=False):
    """Logits `(B, T, V)` by the equations, position by position."""

    def bent(x, function):
        return function(x) if dense else x

    def gelu(x):
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    e = (model.embedding[tokens] + model.embedding[tokens + 1]) / 2  # two nodes, neighbours share one
    for one in model.embedding_maps.maps:
        e = applied(one, normal(e))
    rows = []
    for row, x in enumerate(e):
        if over_heads:
            angles = [row / 10000 ** (2 * (i // 2) / C) for i in range(C)]
            place = [math.cos(angle) if i % 2 else math.sin(angle) for i, angle in enumerate(angles)]
            x = 2 * x + torch.tensor(place, dtype=x.dtype)
        else:
            x = x + model.positions[: len(x)]
        for number, block in enumerate(model.blocks):
            mixer = block if over_heads else block.time_mixer
            s = normal(x)
            q, k, v = applied(mixer.query_key_value, s).view(-1, 3, H, C).unbind(1)  # (T, H, C)
            said = torch.zeros_like(v)
            for t in range(len(x)):
                for h in range(H):
                    keys, values = (k[t], v[t]) if over_heads else (k[: t + 1, h], v[: t + 1, h])
                    said[t, h] = (keys @ q[t, h] / math.sqrt(C)).softmax(0) @ values
            r = normal(said.flatten(1))
            for index, one in enumerate(mixer.out.maps):
                r = applied(one, bent(r, gelu) if index else r)
            x = r if over_heads and number == 0 else r + s
        if mean:
            x = torch.stack([x[: t + 1].mean(0) for t in range(len(x))])
        first, second = model.answer_maps.maps
        x = bent(normal(applied(second, bent(normal(applied(first, x)), torch.relu))), torch.relu)
        x = x @ model.head.T if dense else applied(model.head, x)
        rows.append(normal(x) if over_heads else x)
    return torch.stack(rows)


@pytest.mark.parametrize("readout", ["position", "mean"])
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("kind", ["high_order_transformer", "published/high_order_transformer"])
def test_the_network_is_its_equations(kind, dense, readout):
    model = network(kind, dense=dense, readout=readout)
    ids = torch.randint(V, (3, T))
    with torch.no_grad():
        expected = reference(model, ids, dense=dense, over_heads="published" in kind, mean=readout == "mean")
        assert expected.std() > 0.1
        assert (model(ids) - expected).abs().max() < 1e-9
        if model.streams:
            assert (stepped(model, ids) - expected).abs().max() < 1e-9


@pytest.mark.parametrize(("form", "nodes"), [("continuous", 2), ("continuous", 3), ("discontinuous", 2)])
def test_a_character_is_a_number_in_the_middle_of_its_segment(form, nodes):
    model = network("high_order_transformer", input_form=form, input_nodes=nodes)
    numbers = torch.tensor([-6 / 7, -4 / 7, -2 / 7, 0, 2 / 7, 4 / 7, 6 / 7], dtype=torch.float64)
    pieces = Pieces(form, nodes, V)
    first, t = pieces.located(numbers)
    assert first.tolist() == [c * pieces.stride for c in range(V)] and t.abs().max() < 1e-12
    with torch.no_grad():
        expected = model.embedding_maps(scaled("layer", spread(pieces, numbers) @ model.embedding))
        assert (model.vectors(torch.arange(V)) - expected).abs().max() < 1e-9


def size(model):
    count = model.parameter_count()
    assert count.total == sum(p.numel() for p in model.parameters())
    return count


@pytest.mark.parametrize("kind", ["high_order_transformer", "published/high_order_transformer"])
def test_the_authors_sizes(kind):
    author = {"width": 8, "layers": 3, "heads": 4, "answer_hidden": 100, "mixed": {"hidden": 128}}
    with torch.device("meta"):
        whole = build(topology(kind, **author), vocabulary=128, context=9)
        half = build(topology(kind, dense=True, **author), vocabulary=128, context=9)
    placed = 0 if "published" in kind else 9 * 8  # a table of positions in place of sinusoids
    norms = 2 * (16 + 16 + 8 + 3 * (32 + 8) + 100 + 100 + 128)  # gains and biases that nothing ever trained
    assert norms == 976
    assert size(whole).total - placed == 275_440 - norms == 274_464
    assert (size(whole).tables - placed, size(whole).head) == (129 * 16, 0)  # a piecewise head is body
    # the embedding as above; dense maps with biases, but for the head, whose 128 the author counts too
    dense = 3 * (8 * 96 + 96 + 32 * 128 + 128 + 128 * 128 + 128 + 128 * 8 + 8) + 8 * 100 + 100 + 100 * 100 + 100
    assert size(half).body == dense + 3 * (16 * 16 + 16 * 8) and size(half).head == 128 * 100
    assert size(half).total - placed + 128 + norms == 96_016


def test_heads_as_wide_as_the_whole_attend_over_time_and_the_published_ones_over_each_other():
    """Queries and keys zero: all weights alike. Values: head h says (h + 1) x; out sums the heads' first features apart."""
    attention = Attention(
        AttentionOptions(heads=2, head_width="width", projection=DENSE), Builder("file"), Site(2, 4, 0, 1)
    )
    heads = network("published/high_order_transformer", dense=True, layers=1).float().blocks[0]
    heads.heads, heads.width, heads.out = 2, 2, torch.nn.Identity()
    assert attention.query_key_value.weight.shape == (12, 2) and attention.out.weight.shape == (2, 4)
    values = torch.tensor(
        [[0.0, 0], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0], [1, 0], [0, 1], [2, 0], [0, 2]]
    )
    with torch.no_grad():
        attention.query_key_value.weight.copy_(values)
        attention.out.weight.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0]]))
        heads.query_key_value.weight = torch.nn.Parameter(values)
        heads.query_key_value.bias = torch.nn.Parameter(torch.zeros(12))
        x = torch.tensor([[[1.0, 5], [3, 7], [8, 0]]])
        over_time = torch.tensor([[[1.0, 2], [2, 4], [4, 8]]])  # running means of 1, 3, 8, once and twice
        assert torch.allclose(attention(x), over_time)
        state, told = attention.initial_state(1), []
        for t in range(3):
            one, state = attention.step(x[:, t], state)
            told.append(one)
        assert torch.allclose(torch.stack(told, dim=1), over_time)
        assert torch.allclose(heads(x), 1.5 * x.repeat(1, 1, 2))  # the mean of once and twice, of the position's own


def test_heads_of_a_given_width_need_not_divide_the_whole():
    made = Attention(AttentionOptions(heads=3, head_width=5, projection=DENSE), Builder("file"), Site(4, 8, 0, 1))
    assert made.query_key_value.weight.shape == (45, 4) and made.out.weight.shape == (4, 15)
    assert made.step_flops(8).matrix == 2 * 45 * 4 + 4 * 15 * 8 + 2 * 4 * 15
    with pytest.raises(UserError, match="heads: is 3, which does not divide the width 4"):
        Attention(AttentionOptions(heads=3, projection=DENSE), Builder("file"), Site(4, 8, 0, 1))


def swapped(ids, *places):
    order = list(range(ids.shape[1]))
    order[places[0]], order[places[1]] = places[1], places[0]
    return ids[:, order], order


def test_the_order_of_characters_tells_in_the_repaired_network_alone():
    ids = torch.tensor([[0, 1, 2, 3, 4, 5]])
    other, order = swapped(ids, 1, 3)
    moved = {}
    for kind in ("high_order_transformer", "published/high_order_transformer"):
        model = network(kind)
        with torch.no_grad():
            moved[kind] = (
                (model(other) - model(ids))[0].abs().amax(-1),
                (model(other) - model(ids)[:, order]).abs().max(),
            )
    by_place, _ = moved["high_order_transformer"]
    assert by_place[0] == 0 and by_place[1:].min() > 1e-3
    by_place, following = moved["published/high_order_transformer"]
    assert following < 1e-12  # each answer goes with its own character, wherever that stands
    assert by_place[[0, 2, 4, 5]].max() < 1e-12 < 1e-3 < by_place[[1, 3]].min()


def test_published_answers_depend_on_the_row():
    model, ids = network("published/high_order_transformer"), torch.randint(V, (2, T))
    with torch.no_grad():
        assert (model(ids.flip(0)).flip(0) - model(ids)).abs().max() > 1e-3
        assert (model(ids[:1]) - model(ids)[:1]).abs().max() < 1e-12  # the first row is the first row
    model = network("high_order_transformer")
    with torch.no_grad():
        assert (model(ids.flip(0)).flip(0) - model(ids)).abs().max() < 1e-12


def test_the_published_mean_makes_it_a_bag_of_characters():
    model = network("published/high_order_transformer", readout="mean")
    ids, order = torch.tensor([[0, 1, 2, 3, 4, 5]]), [3, 0, 4, 2, 1, 5]
    with torch.no_grad():
        plain, permuted, other = model(ids)[0, -1], model(ids[:, order])[0, -1], model((ids + 1) % V)[0, -1]
    assert (permuted - plain).abs().max() < 1e-12 and (other - plain).abs().max() > 1e-3
    assert failed(model) == {"batch_rows"}  # every answer sees all of its past, in no order


def test_published_logits_are_scaled_and_never_sure():
    with torch.no_grad():
        logits = network("published/high_order_transformer")(torch.randint(V, (2, T)))
    assert logits.mean(-1).abs().max() < 1e-9
    assert (logits.std(-1, unbiased=False) - 1).abs().max() < 1e-3
    best = 1e6 * F.one_hot(torch.tensor([3]), 128).double()
    floors = {kind: F.cross_entropy(scaled(kind, best), torch.tensor([3])).item() for kind in ("layer", "maxabs")}
    assert floors["layer"] == pytest.approx(math.log(1 + 127 * math.exp(-128 / math.sqrt(127))), rel=1e-4)
    assert floors["layer"] == pytest.approx(0.0015, abs=5e-5)
    worst = F.cross_entropy(
        2 * best.clamp(max=1) - 1, torch.tensor([3])
    ).item()  # within [-1, 1], as `maxabs` leaves it
    assert worst == pytest.approx(math.log(1 + 127 * math.exp(-2)), rel=1e-6) and floors["maxabs"] > worst > 2.89


def failed(model):
    return {finding.test for finding in audit_fresh(model) if finding.passed is False}


@pytest.mark.parametrize("name", PUBLISHED)
def test_controls_fail_for_mixing_no_positions_and_for_placing_rows(name):
    model = small(name)
    assert failed(model) == {"past_coverage", "batch_rows"}
    found = {finding.test: finding for finding in audit_fresh(model)}["past_coverage"]
    assert found.numbers["unseen"] == model.context * (model.context - 1) / 2  # all pairs but a position with itself


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_fresh_control_is_half_a_nat_worse_than_a_guess(name):
    """Logits of standard deviation one cost half a nat where nothing is known: log E exp(z) of a normal z."""
    ids = torch.randint(29, (64, 16), generator=torch.Generator().manual_seed(1))
    targets = torch.randint(29, (64, 16), generator=torch.Generator().manual_seed(2))
    loss = F.cross_entropy(small(name)(ids).flatten(0, 1), targets.flatten()).item()
    assert 0.3 < loss - math.log(29) < 0.7


@pytest.mark.parametrize("name", REPAIRED)
def test_where_the_map_to_the_vocabulary_counts(name):
    count, model = small(name).parameter_count(), small(name)
    dense = name == "high_order_input_transformer"
    assert isinstance(model.head, torch.nn.Parameter) == dense
    assert count.head == (model.head.numel() if dense else 0)
    assert count.tables == model.embedding.numel() + model.positions.numel()
