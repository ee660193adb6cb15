"""Window networks of polynomials, of dense maps behind one, and bags of letters: in plain torch, by size, by what they see."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from nnn_bench.audit.static import audit_fresh
from nnn_bench.config.errors import UserError
from nnn_bench.models.build import build
from nnn_bench.models.running_norm import RunningNorm
from tests.models import small, tokens

V, T = 7, 6
DENSE = {"kind": "dense"}


def pieces(short):
    """`c3x2`: continuous, three nodes, two segments; `d2`: the number of segments left open."""
    form, nodes, segments = short[0], int(short[1]), short[3:]
    made = {"kind": "piecewise", "form": {"c": "continuous", "d": "discontinuous"}[form], "nodes": nodes}
    return made | ({"segments": int(segments)} if segments else {})


def tree(kind="high_order", first="c2", maps="c2x2", output=None, **options):
    made = {"kind": kind, "width": 8, "input_projection": pieces(first) if isinstance(first, str) else first, **options}
    made["projection"] = pieces(maps) if isinstance(maps, str) else maps
    if output:
        made["output_projection"] = pieces(output) if isinstance(output, str) else output
    return {"window": made}


def bag(**options):
    return {"window": {"kind": "low_order", "width": 8, "projection": DENSE, **options}}


def network(model, seed=0, vocabulary=V, context=T):
    torch.manual_seed(seed)
    made = build(model, vocabulary=vocabulary, context=context).double()
    with torch.no_grad():  # of a size at which nothing is lost in what stands beside it
        for parameter in made.parameters():
            parameter.normal_(0, 0.5)
    return made


def ids(batch=5, seed=1):
    return torch.randint(V, (batch, T), generator=torch.Generator().manual_seed(seed))


def normal(x):
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()


def windows(rows, reach):
    """Symbols around every position, `(B, T, reach)`, by loops."""
    return torch.tensor(
        [
            [[row[t - back] + 1 if t >= back else 0 for back in reversed(range(reach))] for t in range(len(row))]
            for row in rows.tolist()
        ]
    )


#: As published: what is asked for, width, hidden layers, first map, hidden maps, last map, parameters with 128 outputs.
PUBLISHED = [
    ("one hidden", 200, 1, "c2", "c2x2", "c2x2", 609_600),
    ("two hidden", 250, 2, "c2", "c2x2", "c2x2", 987_000),
    ("one hidden, quadratic output", 250, 1, "c2", "c2x2", "c3x2", 863_500),
    ("three hidden, quadratic output", 250, 3, "c2", "d2x8", "d3x8", 4_284_000),
    ("three hidden, cubic output", 250, 3, "c2", "d2x8", "d4x8", 4_540_000),
    ("one hidden, quartic output", 200, 1, "c2", "c2x2", "c5x2", 763_200),
    ("piecewise constant", 200, 3, "c2", "d2x150", "d1x150", 40_252_800),
    ("small", 10, 2, "c2", "d2x8", "d2x8", 44_320),
]


def on_meta(model):
    """A network of 127 tokens and the blank: 128 symbols go in, as ASCII does, and one fewer come out."""
    with torch.device("meta"):
        return build(model, vocabulary=127, context=16).parameter_count()


@pytest.mark.parametrize(("what", "width", "layers", "first", "maps", "output", "published"), PUBLISHED)
def test_published_sizes_but_for_one_column_of_the_output(what, width, layers, first, maps, output, published):
    count = on_meta(tree(first=first, maps=maps, output=output, width=width, layers=layers))
    links = int(output[1]) * int(output[3:]) if output[0] == "d" else (int(output[1]) - 1) * int(output[3:]) + 1
    assert count.total == published - links * width
    assert (count.tables, count.head) == (129 * 16 * width, 0)


def test_published_sizes_of_the_other_three():
    shallow = on_meta(tree(maps="d2x2", width=250, layers=0))
    assert shallow.total == 644_000 - 4 * 250 and shallow.body == 4 * 250 * 127
    dense = on_meta(tree("high_order_input", first="d2", maps=DENSE, width=1000))
    assert dense.total == 5_225_128 - 1001 and dense.body == 1000 * 1001
    assert (dense.tables, dense.head) == (256 * 16 * 1000, 127 * 1001)
    letters = on_meta(bag(width=1000))
    assert letters.total == 1_257_128 - 1001 and letters.body == 1000 * 1001
    assert (letters.tables, letters.head) == (128 * 1000, 127 * 1001)


def test_every_part_counts_where_capacity_belongs():
    model = network(tree(first=DENSE, output=DENSE, layers=1, hidden=5))
    assert list(model.table_parameters()) == []  # a dense map is no table
    assert model.parameter_count().head == V * 5 + V and model.parameter_count().body == 6 * 8 + 8 + 3 * 8 * 5
    piecewise = network(tree("high_order_input", maps=DENSE, output="c3x2", hidden=5))
    assert piecewise.parameter_count().head == 0 and piecewise.parameter_count().body == 8 * 5 + 5 + 5 * 5 * V
    between = network(tree(layers=3, hidden=5))
    assert [tuple(one.weight.shape) for one in between.hidden_maps] == [(3, 8, 8), (3, 8, 8), (3, 8, 5)]


def test_two_linear_pieces_are_embeddings_by_place_and_dense_maps_of_both_signs():
    model = network(tree(layers=1, reach=4))
    first = model.first.weight  # (V + 2, places, H)
    table = (first[:-1] + first[1:]) / 2
    x = sum(F.embedding(windows(ids(), 4)[..., place], table[:, place]) for place in range(4))
    for one in (model.hidden_maps[0], model.output):
        below, middle, above = one.weight
        x = normal(x)
        x = x.relu() @ (above - middle) + (-x).relu() @ (below - middle) + middle.sum(0)
    assert (model(ids()) - x).abs().max() < 1e-12


def test_dense_maps_behind_a_polynomial_in_plain_torch():
    model = network(tree("high_order_input", first="d2", maps=DENSE, layers=2, hidden=5, reach=4))
    first = model.first.weight.unflatten(0, (V + 1, 2))
    table = first.mean(1)
    z = normal(sum(F.embedding(windows(ids(), 4)[..., place], table[:, place]) for place in range(4)))
    one, two = model.tail.maps
    z = F.linear(z, one.weight, one.bias)  # nothing bends in front of it
    z = F.linear(normal(z).relu(), two.weight, two.bias)
    z = F.linear(normal(z).relu(), model.tail.output.weight, model.tail.output.bias)
    assert (model(ids()) - z).abs().max() < 1e-12


def test_a_bag_of_letters_in_plain_torch():
    model = network(bag(reach=4))
    z = normal(F.embedding(windows(ids(), 4), model.embedding).mean(2))
    [one] = model.tail.maps
    z = F.linear(normal(F.linear(z, one.weight, one.bias)).relu(), model.tail.output.weight, model.tail.output.bias)
    assert (model(ids()) - z).abs().max() < 1e-12


def test_only_a_bag_does_not_care_for_order():
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    letters, ordered = network(bag()), network(tree(layers=1))
    row = torch.tensor([[0, 1, 2, 3, 4, 5]])
    assert (letters(row[:, order])[0, -1] - letters(row)[0, -1]).abs().max() < 1e-12
    assert (letters(row[:, order])[0, -2] - letters(row)[0, -2]).abs().max() > 1e-3  # another letter is missing
    assert (ordered(row[:, order])[0, -1] - ordered(row)[0, -1]).abs().max() > 1e-3


BOTH_WAYS = {
    "a segment for each symbol": tree(layers=1),
    "half as many": tree(first="c2x4", layers=1),
    "quadratic": tree(first="d3", layers=1),
    "constant": tree(first="d1", layers=0),
    "scaled by its neighbours": tree(first={**pieces("c2"), "scale": "maxabs"}, layers=1),
    "dense": tree(first=DENSE, layers=1),
    "behind it dense": tree("high_order_input", maps=DENSE),
    "around": tree("centered", layers=1),
    "around, as published": tree("published/centered", layers=1),
    "in a bag": bag(),
}


@pytest.mark.parametrize("case", BOTH_WAYS)
def test_looked_up_or_weighed_the_answers_and_the_gradients_are_the_same(case):
    model, rows = network(BOTH_WAYS[case]), ids()
    model(rows).square().sum().backward()
    looked_up = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    weighed = model.predict(model.embed(rows))
    assert (weighed - model(rows)).abs().max() < 1e-9
    weighed.square().sum().backward()
    for one, parameter in zip(looked_up, model.parameters(), strict=True):
        assert torch.allclose(one, parameter.grad, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("case", BOTH_WAYS)
def test_matrix_products_are_declared_whatever_the_first_map(case):
    model = build(BOTH_WAYS[case], vocabulary=V, context=T)
    counter = FlopCounterMode(display=False)
    with counter:
        loss = model(ids(2)).sum()
        forward = counter.get_total_flops()
        loss.backward()
    declared = model.window_flops(T)
    assert declared.matrix * 2 == forward > 0 and declared.with_backward.matrix * 2 == counter.get_total_flops()


def test_more_nodes_at_the_input_say_nothing_more():
    """Of three nodes the middle one alone is used; of two, neighbouring symbols share one where the map is continuous."""
    for short, used in (("c3", range(1, 2 * V + 2, 2)), ("d3", range(1, 3 * V + 3, 3)), ("c2", range(V + 2))):
        model = network(tree(first=short, layers=1))
        everything = torch.arange(V).repeat(4).unfold(0, T, 1)
        model(everything).square().sum().backward()
        moved = model.first.weight.grad.abs().sum(dim=(1, 2)) > 0
        assert moved.nonzero().flatten().tolist() == list(used)


def test_a_window_of_16_sees_all_of_a_context_of_16_and_16_of_a_longer_one():
    model = small("high_order_mlp", dtype=torch.float64)
    assert model.visible(16).sum() == 16 * 17 / 2
    plain = model(tokens())
    for position in range(16):
        changed = tokens()
        changed[:, position] = (changed[:, position] + 1) % 29
        moved = (model(changed) - plain).abs().amax(dim=(0, 2)) > 1e-9
        assert moved.tolist() == [False] * position + [True] * (16 - position)
    longer = build(tree(layers=0, reach=16), vocabulary=V, context=40)
    assert longer.visible(40)[-1].tolist() == [False] * 24 + [True] * 16


def failed(model):
    return {finding.test for finding in audit_fresh(model) if finding.passed is False}


def test_a_constant_map_to_the_vocabulary_lets_nothing_before_it_learn():
    torch.manual_seed(0)
    published = build(tree(maps="d2x8", output="d1x8", width=20, layers=2), vocabulary=29, context=16)
    [gradient] = [finding for finding in audit_fresh(published) if finding.test == "gradient"]
    assert failed(published) == {"gradient"}
    assert "without any gradient in 5 steps (first.weight, hidden_maps.0.weight, hidden_maps.1.weight)" in gradient.saw
    torch.manual_seed(0)
    at_the_input = build(tree(first="d1", maps="d2x8", width=20, layers=2), vocabulary=29, context=16)
    assert failed(at_the_input) == set()


def test_the_automaton_sees_five_on_its_left_and_six_on_its_right():
    seen = small("automaton").visible(16)
    assert seen[7].nonzero().flatten().tolist() == [2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13]
    assert failed(small("automaton")) == set()


def test_the_published_automaton_claims_a_right_side_that_it_does_not_see():
    model = small("automaton_published", dtype=torch.float64)
    assert failed(small("automaton_published")) == {"past_coverage"}
    [coverage] = [finding for finding in audit_fresh(model) if finding.test == "past_coverage"]
    assert coverage.numbers["unseen"] == sum(16 - offset for offset in range(1, 7))
    changed = tokens()
    changed[:, 8:] = (changed[:, 8:] + 1) % 29
    assert torch.equal(model(changed)[:, :9], model(tokens())[:, :9])
    # what stands there in place of the text: the first tokens of the vocabulary
    right = torch.cat([torch.zeros(1, 5, dtype=torch.long), torch.arange(1, 7).unsqueeze(0)], dim=1)
    assert torch.allclose(model(tokens())[:1, 0], model.answer_symbols(right), rtol=0, atol=1e-12)


def fresh_loss(maps, scale):
    torch.manual_seed(0)
    model = build(tree(maps=maps, scale=scale, width=60, layers=2), vocabulary=29, context=16)
    return F.cross_entropy(model(tokens(16)).flatten(0, 1), tokens(16, seed=2).flatten()).item()


def test_a_layer_norm_leaves_the_domain_and_a_cubic_is_sure_of_nonsense_at_birth():
    unsure = pytest.approx(math.log(29), abs=0.15)
    assert [fresh_loss(maps, "layer") for maps in ("c2x2", "c3x2", "d2x8")] == [unsure] * 3
    assert fresh_loss("c4x2", "layer") > math.log(29) + 1
    assert [fresh_loss(maps, "maxabs") for maps in ("c4x2", "c5x2")] == [unsure] * 2


REFUSED = [
    (tree(layers=0, hidden=4), "hidden: there is no hidden layer; leave it out, or ask for layers: 1"),
    (tree(layers=0, output="c2x2"), "output_projection: without hidden layers the output is the only map left"),
    (tree(), "layers: is missing; add it"),
    (tree(layers=1, rech=4), "rech: unknown key; did you mean 'reach'?"),
    (tree("centered", layers=1, reach=4), "reach: unknown key"),
    (tree("high_order_input", maps=DENSE, layers=0), "layers: "),
    (tree(layers=1, reach=0), "reach: "),
]


@pytest.mark.parametrize(("model", "says"), REFUSED)
def test_what_cannot_be_is_refused_in_one_line(model, says):
    with pytest.raises(UserError) as found:
        build(model, vocabulary=V, context=T)
    assert f"model: model.window.{says}" in str(found.value) and "\n" not in str(found.value)


@pytest.mark.parametrize("kind", ["high_order", "high_order_input", "low_order"])
def test_a_window_network_may_be_normalised_by_the_batches_before(kind):
    """Nothing moves within a step, whatever else is in the batch; the next one begins with what was seen."""
    tree = {"kind": kind, "width": 12, "layers": 1, "reach": 4, "scale": "batch"}
    tree["projection"] = {"kind": "dense"} if kind != "high_order" else {"kind": "piecewise"}
    tree |= {} if kind == "low_order" else {"input_projection": {"kind": "piecewise"}}
    model = network({"window": tree}).train()
    norms = [module for module in model.modules() if isinstance(module, RunningNorm)]
    assert len(norms) == 2
    for norm in norms:
        norm.progressed(0.0)
    first = model(ids())
    assert torch.equal(model(ids()), first)
    for norm in norms:
        norm.progressed(0.5)
    assert all(norm.updates == 1 and norm.mean.abs().max() > 0 for norm in norms)
    assert not torch.equal(model(ids()), first)
    assert failed(model) == set()
