"""The baseline against an independent implementation, and its formulas against the published counts."""

from __future__ import annotations

import pytest
import torch

from nnn_bench.config.errors import UserError
from nnn_bench.models.build import build


def gpt2(vocabulary: int, context: int, layers: int, heads: int, width: int):
    dense = {"kind": "dense", "bias": True}
    stack = {
        "kind": "stack",
        "layers": layers,
        "width": width,
        "norm": "layer",
        "positions": "learned",
        "tied_head": True,
        "mixer": {"kind": "attention", "heads": heads, "projection": dense},
        "channel_mixer": {"kind": "mlp", "hidden": 4 * width, "activation": "gelu", "projection": dense},
    }
    return build({"topology": stack}, vocabulary=vocabulary, context=context)


def test_logits_equal_those_of_transformers_on_the_same_weights():
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    ours = gpt2(vocabulary=61, context=32, layers=3, heads=4, width=48)
    with torch.no_grad():
        for parameter in ours.parameters():  # biases and gains too, so that each is really compared
            parameter.add_(0.05 * torch.randn_like(parameter))
    shape = GPT2Config(
        vocab_size=61, n_positions=32, n_embd=48, n_layer=3, n_head=4, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0
    )
    theirs = GPT2LMHeadModel(shape).eval()
    names = {
        "time_norm": "ln_1",
        "channel_norm": "ln_2",
        "time_mixer.query_key_value": "attn.c_attn",
        "time_mixer.out": "attn.c_proj",
        "channel_mixer.up": "mlp.c_fc",
        "channel_mixer.down": "mlp.c_proj",
    }
    weights = {
        "transformer.wte.weight": ours.embedding,
        "transformer.wpe.weight": ours.positions,
        "lm_head.weight": ours.embedding,
    }
    weights |= {f"transformer.ln_f.{kind}": getattr(ours.norm, kind) for kind in ("weight", "bias")}
    for layer, block in enumerate(ours.blocks):
        for mine, its in names.items():
            module = block.get_submodule(mine)
            is_map = "norm" not in mine  # transformers stores its maps transposed
            weights[f"transformer.h.{layer}.{its}.weight"] = module.weight.T if is_map else module.weight
            weights[f"transformer.h.{layer}.{its}.bias"] = module.bias
    missing = theirs.load_state_dict(weights, strict=False)
    assert not missing.unexpected_keys and not [key for key in missing.missing_keys if "attn.bias" not in key]
    ids = torch.randint(61, (2, 32), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert (ours(ids) - theirs(ids).logits).abs().max().item() < 1e-5


@pytest.mark.parametrize(
    ("shape", "total", "body"),
    [
        ({"vocabulary": 50304, "context": 1024, "layers": 12, "heads": 12, "width": 768}, 124_475_904, None),
        ({"vocabulary": 50257, "context": 256, "layers": 12, "heads": 6, "width": 192}, 15_037_248, 5_338_368),
    ],
)
def test_parameter_counts_are_the_published_ones(shape, total, body):
    with torch.device("meta"):
        count = gpt2(**shape).parameter_count()
    assert count.total == total
    L, d = shape["layers"], shape["width"]
    assert count.body == L * (12 * d * d + 13 * d) + 2 * d
    if body:
        assert count.body == body + 2 * d  # the source counts the last norm apart


def test_flops_follow_the_formula():
    L, d, T, V = 3, 48, 32, 61
    model = gpt2(vocabulary=V, context=T, layers=L, heads=4, width=d)
    assert model.window_flops(T).matrix == T * (L * (24 * d * d + 4 * d * T) + 2 * V * d)


def test_other_flops_are_counted_by_hand():
    # One layer, width 4, one head, hidden 16, T = 2, per token:
    # position 4; three norms of 7 x 4; two residual sums 2 x 4; biases 12 + 4 + 16 + 4; scores 1 head x 2 past x 6; GELU 16 x 9
    model = gpt2(vocabulary=5, context=2, layers=1, heads=1, width=4)
    assert model.window_flops(2).other == 2 * (4 + 3 * 28 + 8 + 36 + 12 + 144)


def test_fresh_weights_have_the_spread_of_gpt2():
    torch.manual_seed(0)
    model = gpt2(vocabulary=500, context=64, layers=2, heads=4, width=128)
    mixer = model.blocks[0].time_mixer
    assert model.embedding.std().item() == pytest.approx(0.02, rel=0.02)
    assert mixer.query_key_value.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert mixer.out.weight.std().item() == pytest.approx(0.02 / 2, rel=0.05)
    assert mixer.out.bias.abs().max().item() == 0


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(
        UserError, match=r"^model: model\.topology\.mixer\.heads: is 3, which does not divide the width 16$"
    ):
        gpt2(vocabulary=5, context=4, layers=1, heads=3, width=16)


def test_recomputed_activations_change_no_gradient():
    torch.manual_seed(0)
    model = gpt2(vocabulary=13, context=8, layers=2, heads=2, width=16)
    ids = torch.arange(8).view(1, 8)
    model(ids).square().sum().backward()
    plain = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    model.recompute_activations = True
    model(ids).square().sum().backward()
    assert all(torch.equal(p.grad, before) for p, before in zip(model.parameters(), plain, strict=True))
