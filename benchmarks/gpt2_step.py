"""One training step of our GPT-2 against the same step written plainly (one class, no composition), the same weights."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.timing import arguments, interleaved, publish, row
from nnn_bench.models.build import build

SHAPES = [
    {"layers": 4, "heads": 4, "width": 64, "context": 128, "batch": 16},
    {"layers": 4, "heads": 4, "width": 128, "context": 64, "batch": 12},
    {"layers": 4, "heads": 4, "width": 256, "context": 128, "batch": 8},
]
VOCABULARY = 82


class PlainGPT2(nn.Module):
    """GPT-2 in the shortest eager form."""

    def __init__(self, layers: int, heads: int, width: int, context: int):
        super().__init__()
        self.heads = heads
        self.tokens, self.positions = nn.Embedding(VOCABULARY, width), nn.Embedding(context, width)
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm_1": nn.LayerNorm(width),
                    "attention": nn.Linear(width, 3 * width),
                    "out": nn.Linear(width, width),
                    "norm_2": nn.LayerNorm(width),
                    "up": nn.Linear(width, 4 * width),
                    "down": nn.Linear(4 * width, width),
                }
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, ids: Tensor) -> Tensor:
        B, T = ids.shape
        x = self.tokens(ids) + self.positions(torch.arange(T))
        for layer in self.layers:
            q, k, v = layer["attention"](layer["norm_1"](x)).split(x.shape[-1], dim=2)
            q, k, v = (part.view(B, T, self.heads, -1).transpose(1, 2) for part in (q, k, v))  # (B, H, T, D)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + layer["out"](y.transpose(1, 2).contiguous().view(B, T, -1))
            x = x + layer["down"](F.gelu(layer["up"](layer["norm_2"](x)), approximate="tanh"))
        return F.linear(self.norm(x), self.tokens.weight)


def ours(layers: int, heads: int, width: int, context: int) -> nn.Module:
    stack = {
        "kind": "stack",
        "layers": layers,
        "width": width,
        "mixer": {"kind": "attention", "heads": heads, "projection": "dense"},
        "channel_mixer": {"kind": "mlp", "hidden": 4 * width, "projection": "dense"},
    }
    return build({"topology": stack}, vocabulary=VOCABULARY, context=context)


def stepper(model: nn.Module, ids: Tensor):  # type: ignore[no-untyped-def]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step


def main() -> None:
    chosen = arguments(__doc__ or "")
    rows = []
    for shape in SHAPES:
        sizes = {key: value for key, value in shape.items() if key != "batch"}
        ids = torch.randint(VOCABULARY, (shape["batch"], shape["context"] + 1))
        mine, plain = ours(**sizes), PlainGPT2(**sizes)
        with torch.no_grad():  # the same weights in the same order
            for target, source in zip(plain.parameters(), mine.parameters(), strict=True):
                target.copy_(source)
        contenders = {"ours": stepper(mine, ids), "plain": stepper(plain, ids)}
        first = {name: call() for name, call in contenders.items()}
        assert math.isclose(first["ours"], first["plain"], rel_tol=1e-5), first
        case = "L {layers} d {width} T {context} B {batch}".format(**shape)
        rows.append(row(case, interleaved(contenders, rounds=chosen.rounds)))
    publish(
        "gpt2_step", rows, chosen.threads, "one training step of GPT-2, eager; target: plain / ours >= 1 within noise"
    )


if __name__ == "__main__":
    main()
