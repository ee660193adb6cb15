"""The node cascade in its forms: equations written plainly, what it shows on request, and what the published one loses."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from nnn_bench.config.errors import UserError
from nnn_bench.models.published.cascade import rounded
from tests.models import CONTEXT, VOCABULARY, shake, small, stepped, tokens, with_options

SEQUENTIAL = [
    {},
    {"layers_per_node": 2},
    {"local_share": "learned", "global_share": "learned"},
    {"local_share": 0.3, "global_share": 0.7},
    {"local_share": 0.0, "global_share": 1.0},
    {"cross_attention": False},
    {"depth_attention": False},
    {"local_share": 1.0, "cross_attention": False, "depth_attention": False},
    {"nodes": 2, "heads": 2, "norm": "rms", "positions": "none", "tied_head": False},
]
PARALLEL = [
    {},
    {"split": True},
    {"layers_per_node": 2, "stages": 1, "nodes": 3},
    {"local_share": "learned", "global_share": "learned"},
    {"local_share": 0.0, "global_share": 1.0},
    {"node_attention": False},
    {"norm": "rms", "positions": "none", "tied_head": False},
]


def made(name, **options):
    """A network of float64 whose gains, biases and shares are no longer what they were born as."""
    model = with_options(name, "topology", **options).double()
    shake(model)
    return model


# --- the equations, written with loops over positions and nodes and nothing of the package but its weights ---


def normalised(x, module):
    if isinstance(module, torch.nn.RMSNorm):
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * module.weight
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * module.weight + module.bias


def mapped(x, module):
    return x @ module.weight.T + module.bias


def attended(q, k, v, heads):
    """Outputs `(B, T, C)` and head-averaged weights `(B, T, T)` of causal attention."""
    B, T, C = q.shape
    D = C // heads
    outputs, weights = torch.zeros_like(q), q.new_zeros(B, T, T)
    for b in range(B):
        for h in range(heads):
            part = slice(h * D, (h + 1) * D)
            for t in range(T):
                scores = torch.stack([q[b, t, part] @ k[b, s, part] / math.sqrt(D) for s in range(t + 1)])
                shares = scores.exp() / scores.exp().sum()
                weights[b, t, : t + 1] += shares / heads
                outputs[b, t, part] = sum(shares[s] * v[b, s, part] for s in range(t + 1))
    return outputs, weights


def block_output(x, block):
    mixer, channels = block.time_mixer, block.channel_mixer
    q, k, v = mapped(normalised(x, block.time_norm), mixer.query_key_value).split(x.shape[-1], dim=-1)
    x = x + mapped(attended(q, k, v, mixer.heads)[0], mixer.out)
    h = mapped(normalised(x, block.channel_norm), channels.up)
    h = 0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
    return x + mapped(h, channels.down)


def node_output(seen, node):
    for block in node.blocks:
        seen = block_output(seen, block)
    return seen


def recalled(query, keys, values):
    """Attention over nodes at each position by itself."""
    result = torch.zeros_like(query)
    for b in range(query.shape[0]):
        for t in range(query.shape[1]):
            scores = [(query[b, t] @ key[b, t] / math.sqrt(query.shape[-1])).exp() for key in keys]
            result[b, t] = sum(score / sum(scores) * value[b, t] for score, value in zip(scores, values, strict=True))
    return result


def embedded(model, ids):
    z = model.embedding[ids]
    return z if model.positions is None else z + model.positions[: ids.shape[1]]


def to_vocabulary(model, z):
    return normalised(z, model.norm) @ (model.embedding if model.head is None else model.head).T


def plain_cascade(model, ids, cross=True, depth=True, local=0.4, everywhere=0.5):
    """Logits and attention maps of the sequential cascade."""
    z, keys, values, maps = embedded(model, ids), [], [], []
    for n, node in enumerate(model.nodes):
        seen = normalised(z, node.norm)
        if n == 0 and depth:
            keys.append(mapped(seen, model.embedding_memory.key))
            values.append(mapped(seen, model.embedding_memory.value))
        u = node_output(seen, node)
        heard = torch.zeros_like(z)
        if n > 0 and cross:
            crossing = model.crossings[n - 1]
            k, v = mapped(seen, crossing.key_value).split(z.shape[-1], dim=-1)
            c, weights = attended(mapped(normalised(u, node.output_norm), crossing.query), k, v, crossing.heads)
            heard = heard + mapped(c, crossing.out)
            maps.append(weights)
        if n > 0 and depth:
            heard = heard + recalled(mapped(normalised(u, node.output_norm), node.query), keys, values)
        if n + 1 < len(model.nodes) and depth:
            keys.append(mapped(normalised(u, node.output_norm), node.memory.key))
            values.append(mapped(normalised(u, node.output_norm), node.memory.value))
        a = node.local_share if local == "learned" else local
        g = node.global_share if everywhere == "learned" else everywhere
        z = z + a * u + g * heard
    return to_vocabulary(model, z), maps


def plain_parallel(model, ids, split=False, attention=True, local=0.4, everywhere=0.5):
    z_0 = embedded(model, ids)
    count = len(model.node_stages[0])
    width = z_0.shape[-1] // (count if split else 1)
    streams = [z_0[..., p * width : (p + 1) * width] if split else z_0 for p in range(count)]
    for nodes in model.node_stages:
        u = [node_output(normalised(z, node.norm), node) for node, z in zip(nodes, streams, strict=True)]
        after = []
        for p, node in enumerate(nodes):
            g = torch.zeros_like(streams[p])
            if attention:
                said = [normalised(u[r], nodes[r].output_norm) for r in range(count)]
                keys = [mapped(said[r], nodes[r].memory.key) for r in range(count)]
                values = [mapped(said[r], nodes[r].memory.value) for r in range(count)]
                g = recalled(mapped(said[p], node.query), keys, values)
            a = node.local_share if local == "learned" else local
            b = node.global_share if everywhere == "learned" else everywhere
            after.append(streams[p] + a * u[p] + b * g)
        streams = after
    if split:
        return to_vocabulary(model, torch.cat(streams, -1))
    query = model.pool_query.expand_as(z_0)
    return to_vocabulary(model, recalled(query, [normalised(z, model.norm) for z in streams], streams))


@pytest.mark.parametrize("options", SEQUENTIAL, ids=str)
def test_the_cascade_equals_its_equations_written_plainly(options):
    model, ids = made("node_cascade", **options), tokens(2, 5)
    with torch.no_grad():
        expected, maps = plain_cascade(
            model,
            ids,
            cross=options.get("cross_attention", True),
            depth=options.get("depth_attention", True),
            local=options.get("local_share", 0.4),
            everywhere=options.get("global_share", 0.5),
        )
        assert torch.allclose(model(ids), expected, atol=1e-10)
        if maps:
            logits, found = model.attention_maps(ids)
            assert torch.equal(logits, model(ids))
            assert len(found) == len(model.nodes) - 1
            for one, other in zip(found, maps, strict=True):
                assert torch.allclose(one, other, atol=1e-10)


@pytest.mark.parametrize("options", PARALLEL, ids=str)
def test_the_parallel_cascade_equals_its_equations_written_plainly(options):
    model, ids = made("node_cascade_parallel", **options), tokens(2, 5)
    with torch.no_grad():
        expected = plain_parallel(
            model,
            ids,
            split=options.get("split", False),
            attention=options.get("node_attention", True),
            local=options.get("local_share", 0.4),
            everywhere=options.get("global_share", 0.5),
        )
        assert torch.allclose(model(ids), expected, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *(("node_cascade", one) for one in SEQUENTIAL),
        *(("node_cascade_parallel", one) for one in PARALLEL),
        ("node_cascade_matmul_free", {"layers_per_node": 2, "local_share": "learned"}),
        ("node_cascade_matmul_free", {"cross_projection": "ternary"}),
    ],
    ids=str,
)
def test_steps_gradients_and_less_memory_say_the_same_for_every_option(name, options):
    model, ids = made(name, **options), tokens(3)
    with torch.no_grad():
        assert (stepped(model, ids) - model(ids)).abs().max().item() < 1e-9

    F.cross_entropy(model(ids).flatten(0, 1), tokens(3, seed=2).flatten()).backward()
    kept = {key: parameter.grad.clone() for key, parameter in model.named_parameters()}
    assert all(gradient.abs().max() > 1e-9 for gradient in kept.values())

    model.zero_grad()
    model.recompute_activations = True
    F.cross_entropy(model(ids).flatten(0, 1), tokens(3, seed=2).flatten()).backward()
    assert all(torch.equal(parameter.grad, kept[key]) for key, parameter in model.named_parameters())


def test_attention_maps_are_shares_of_the_past():
    model = made("node_cascade")
    with torch.no_grad():
        _, maps = model.attention_maps(tokens())
    assert [one.shape for one in maps] == [(3, CONTEXT, CONTEXT)] * 3
    for one in maps:
        assert torch.allclose(one.sum(-1), torch.ones(3, CONTEXT, dtype=torch.float64), atol=1e-12)
        assert (one.triu(1) == 0).all()
        assert (one.tril() > 0).sum() == 3 * CONTEXT * (CONTEXT + 1) // 2


def test_a_cascade_without_crossings_has_no_maps_to_show():
    with pytest.raises(TypeError, match="no cross-node attention"):
        made("node_cascade", cross_attention=False).attention_maps(tokens())


def test_learned_shares_are_born_at_their_defaults_one_of_each_a_node_that_uses_it():
    model = with_options("node_cascade", "topology", local_share="learned", global_share="learned")
    shares = {key: value.item() for key, value in model.named_parameters() if key.endswith("share")}
    assert shares == pytest.approx(
        {f"nodes.{n}.local_share": 0.4 for n in range(4)} | {f"nodes.{n}.global_share": 0.5 for n in (1, 2, 3)}
    )


def test_nodes_share_one_set_of_forget_bounds_over_all_blocks_in_depth():
    model = with_options("node_cascade_matmul_free", "topology", layers_per_node=2)
    assert model.shared.logits.shape == (8, model.width)
    assert [block.time_mixer.layer for node in model.nodes for block in node.blocks] == list(range(8))


# --- sizes and operations by hand ---


def gpt2_block(d, f):
    return 4 * d * d + 2 * d * f + 9 * d + f


def test_body_parameters_follow_the_formulas():
    model = small("node_cascade")
    N, d, f = 4, model.width, model.nodes[0].blocks[0].channel_mixer.hidden
    nodes = N * (gpt2_block(d, f) + 2 * d)  # with the norm of the input
    crossings = (N - 1) * (4 * d * d + 4 * d)
    # queries of nodes 2..N; two maps for each memory 0..N-1; a norm of every output, for all are read
    depth = (N - 1) * (d * d + d) + N * 2 * (d * d + d) + N * 2 * d
    assert model.parameter_count().body == nodes + crossings + depth + 2 * d

    model = small("node_cascade_parallel")
    S, P, d, f = 2, 2, model.width, model.node_stages[0][0].blocks[0].channel_mixer.hidden
    node = gpt2_block(d, f) + 2 * d + 2 * d + 3 * (d * d + d)
    assert model.parameter_count().body == S * P * node + d + 2 * d  # the pool's query, the last norm

    model = small("node_cascade_matmul_free")
    N, d, m = 4, model.width, model.nodes[0].blocks[0].channel_mixer.hidden
    block = 4 * d * d + 3 * d * m + 8 * d + m + d  # with its row of the forget bounds
    crossings = (N - 1) * (4 * d * d + 4 * d)
    depth = (N - 1) * (d * d + d) + N * 2 * (d * d + d)
    assert model.parameter_count().body == N * (block + 2 * d) + crossings + depth + d

    model = small("node_cascade_published")
    N, d, h = 4, model.width, model.nodes[0].hidden
    node = 3 * d * d + 3 * d + 3 * d * h + 2 * h + d
    assert model.parameter_count().body == N * node + (N - 1) * (4 * d * d + 4 * d) + 2 * d


def test_splitting_the_width_makes_nodes_of_a_part_of_it():
    model = with_options("node_cascade_parallel", "topology", split=True, nodes=2)
    assert {node.site.width for nodes in model.node_stages for node in nodes} == {model.width // 2}
    assert model.pool_query is None


def test_other_flops_of_two_nodes_are_counted_by_hand():
    model = with_options("node_cascade", "topology", nodes=2, width=8, heads=2)
    d, T, f, heads = 8, 16, model.nodes[0].blocks[0].channel_mixer.hidden, model.nodes[0].blocks[0].time_mixer.heads
    # two norms; biases of q, k, v and out; scale and softmax of T scores a head; two sums; biases and GELU of the mlp
    block = 2 * 7 * d + 4 * d + 6 * heads * T + 2 * d + (f + d) + 9 * f
    writer = 2 * d  # two biases
    first = 7 * d + block + 7 * d + writer + 2 * d  # both norms; its share of u
    crossing = 4 * d + 6 * 2 * T
    recall = d + 2 * (2 * d + 6 + 2 * d)  # the query's bias; two memories
    second = 7 * d + block + 7 * d + 2 * d + recall + crossing + d + 2 * d  # c + G; its share
    ends = d + 7 * d
    assert model.window_flops(T).other == (ends + writer + first + second) * T
    assert model.inference_flops(T).other == ends + writer + first + second


def test_other_flops_of_a_parallel_stage_are_counted_by_hand():
    model = with_options("node_cascade_parallel", "topology", stages=1, nodes=3, width=8)
    d, T = 8, 16
    block = model.node_stages[0][0].blocks[0]
    f, heads = block.channel_mixer.hidden, block.time_mixer.heads
    inside = 2 * 7 * d + 4 * d + 6 * heads * T + 2 * d + (f + d) + 9 * f
    recall = 3 * (4 * d + 6)
    node = 7 * d + inside + 7 * d + 3 * d + recall + 2 * d + 2 * d  # norms, block, three biases, recall, both shares
    pool = 3 * 7 * d + recall
    assert model.window_flops(T).other == (d + 7 * d + 3 * node + pool) * T


# --- what is refused ---


@pytest.mark.parametrize(
    ("name", "options", "key", "message"),
    [
        ("node_cascade", {"nodes": 1}, "nodes", "greater than or equal to 2"),
        ("node_cascade", {"width": 12, "heads": 5}, "heads", "does not divide the width 12"),
        ("node_cascade", {"local_share": "learnt"}, "local_share", "must be 'learned' or a number of at least 0"),
        ("node_cascade", {"global_share": -0.5}, "global_share", "must be 'learned' or a number of at least 0"),
        ("node_cascade", {"global_share": 0}, "global_share", "must be above 0; switch off"),
        ("node_cascade", {"local_share": 0, "depth_attention": False}, "local_share", "nothing would hear node 1"),
        ("node_cascade_parallel", {"global_share": 0}, "global_share", "must be above 0; switch off"),
        ("node_cascade_parallel", {"split": True, "nodes": 3, "width": 16}, "nodes", "does not divide the width 16"),
        ("node_cascade_parallel", {"local_share": 0, "node_attention": False}, "local_share", "would hear"),
        ("node_cascade_published", {"width": 12, "heads": 5}, "heads", "does not divide the width 12"),
    ],
)
def test_what_cannot_work_is_refused_with_its_key(name, options, key, message):
    with pytest.raises(UserError, match=message) as caught:
        with_options(name, "topology", **options)
    assert caught.value.key == f"model.topology.{key}"


# --- the published control ---


def plain_published(model, ids):
    """The published network as its program runs it: the recurrence position by position, everything else on whole tensors."""

    def centred(x):
        return (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-8).sqrt()

    def quantised(x):
        scale = x.abs().max() / 127
        return (x / scale).round().clamp(-128, 127) * scale

    def mapped_by_sign(x, module):
        return quantised(x) @ module.weight.sign().T + module.bias

    def node(x, part):
        h, outputs = torch.zeros_like(x[:, 0]), []
        for t in range(x.shape[1]):
            f, c, g = mapped_by_sign(centred(x[:, t]), part.forget_new_gate).split(x.shape[-1], dim=-1)
            h = torch.sigmoid(f) * h + (1 - torch.sigmoid(f)) * c * torch.sigmoid(c)
            outputs.append(torch.sigmoid(g) * h)
        a, v = mapped_by_sign(quantised(centred(torch.stack(outputs, 1))), part.gate_and_value).split(part.hidden, -1)
        return quantised(centred(mapped_by_sign(a * torch.sigmoid(a) * v, part.down)))

    z = node(model.embedding[ids], model.nodes[0])
    for part, crossing in zip(model.nodes[1:], model.crossings, strict=True):
        k, v = mapped(z, crossing.key_value).split(z.shape[-1], dim=-1)
        z = z + mapped(attended(mapped(node(z, part), crossing.query), k, v, crossing.heads)[0], crossing.out)
    return to_vocabulary(model, z)


def test_the_published_cascade_equals_its_program():
    model, ids = small("node_cascade_published", dtype=torch.float64), tokens(2, 6)
    with torch.no_grad():
        assert torch.allclose(model(ids), plain_published(model, ids), atol=1e-10)


def test_published_rounding_passes_the_gradient_to_the_greatest_element_alone():
    x = torch.tensor([[0.3, -2.0], [1.1, 0.7]], dtype=torch.float64, requires_grad=True)
    upstream = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    y = rounded(x)
    (y * upstream).sum().backward()
    expected = (upstream * y).sum().item() / -2.0  # y is proportional to the greatest magnitude
    assert x.grad.tolist() == [[0.0, pytest.approx(expected)], [0.0, 0.0]]
    assert rounded(torch.zeros(2, 3)).tolist() == [[0.0] * 3] * 2


ADAM_EPSILON = 1e-8  # a gradient far below it moves nothing, in AdamW here as in the Adam of the published program


def gradient_shares(name):
    """Shares of elements, of all parameters and of the nodes' own, with a gradient at all and with one AdamW can feel;
    embedding rows with any; gradient norm of the nodes.
    """
    model = small(name)
    F.cross_entropy(model(tokens(16)).flatten(0, 1), tokens(16, seed=2).flatten()).backward()
    everything = torch.cat([p.grad.flatten() for p in model.parameters()]).abs()
    nodes = torch.cat([p.grad.flatten() for p in model.nodes.parameters()]).abs()
    return {
        "any": (everything > 0).double().mean().item(),
        "felt": (everything > ADAM_EPSILON).double().mean().item(),
        "nodes_felt": (nodes > ADAM_EPSILON).double().mean().item(),
        "nodes_norm": nodes.norm().item(),
        "rows": int((model.embedding.grad.abs().sum(-1) > 0).sum()),
    }


def test_hardly_anything_of_the_published_cascade_is_trained_and_all_of_the_repaired_one():
    published, repaired = gradient_shares("node_cascade_published"), gradient_shares("node_cascade_matmul_free")
    print(f"\npublished {published}\nrepaired  {repaired}")
    assert published["nodes_felt"] < 0.05
    assert repaired["nodes_felt"] > 0.95
    assert published["rows"] <= 5
    assert repaired["rows"] == VOCABULARY
    assert published["any"] < 0.9 < 0.99 < repaired["any"]
    assert published["felt"] < 0.5 < 0.95 < repaired["felt"]
    assert published["nodes_norm"] < 1e-4 * repaired["nodes_norm"]


def test_the_published_cascade_sees_the_future_and_couples_the_rows_of_a_batch():
    model, ids = small("node_cascade_published", dtype=torch.float64), tokens()
    repaired = small("node_cascade_matmul_free", dtype=torch.float64)
    seen, coupled, clean = [], [], []
    with torch.no_grad():
        plain, clean_plain = model(ids), repaired(ids)
        for position in range(1, CONTEXT):
            changed, other = ids.clone(), ids.clone()
            changed[:, position:] = (changed[:, position:] + 7) % VOCABULARY
            other[1:, position:] = (other[1:, position:] + 7) % VOCABULARY
            seen.append((model(changed) - plain)[:, :position].abs().max().item())
            coupled.append((model(other) - plain)[0].abs().max().item())
            clean.append((repaired(changed) - clean_plain)[:, :position].abs().max().item())
    assert max(seen) > 1e-3
    assert max(coupled) > 1e-3
    assert max(clean) < 1e-9


def test_one_position_alone_rounds_the_published_cascade_otherwise():
    model = small("node_cascade_published", dtype=torch.float64)
    with torch.no_grad():
        assert (stepped(model, tokens()) - model(tokens())).abs().max().item() > 1e-3
        # a window of one position is all a step sees
        assert torch.allclose(stepped(model, tokens(3, 1)), model(tokens(3, 1)), atol=1e-9)


def test_the_variants_have_four_nodes_each():
    for name in ("node_cascade", "node_cascade_matmul_free", "node_cascade_published"):
        assert len(small(name).nodes) == 4
    assert sum(len(nodes) for nodes in small("node_cascade_parallel").node_stages) == 4
