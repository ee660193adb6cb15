"""The peer of our GPT-2: the network and the training step of nanoGPT in their sums and settings, written anew and plainly.

One class, fused attention, GELU in its exact form, tied head; AdamW in two groups, which is the fused one on CUDA alone, clipping
at 1 and gradients set to None. `tanh` takes the other form of GELU and the fused AdamW: then all sums are those of ours.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnn_bench.config.component import Component
from nnn_bench.config.recipe import Training
from nnn_bench.models.build import build
from nnn_bench.models.language_model import LanguageModel
from nnn_bench.training.environment import set_up
from nnn_bench.training.loop import Stepper
from nnn_bench.training.optimizers import make_optimizer

VOCABULARY = 82
RATE = 1e-3
SETTINGS = Training()

Step = Callable[[], Tensor]


class PlainGPT2(nn.Module):
    """GPT-2 in the shortest eager form."""

    def __init__(self, layers: int, heads: int, width: int, context: int, *, tanh: bool = False):
        super().__init__()
        self.heads, self.form = heads, "tanh" if tanh else "none"
        self.tokens, self.positions = nn.Embedding(VOCABULARY, width), nn.Embedding(context, width)
        self.norm = nn.LayerNorm(width)
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

    def forward(self, ids: Tensor) -> Tensor:
        B, T = ids.shape
        x = self.tokens(ids) + self.positions(torch.arange(T))
        for layer in self.layers:
            q, k, v = layer["attention"](layer["norm_1"](x)).split(x.shape[-1], dim=2)  # type: ignore[index]
            q, k, v = (part.view(B, T, self.heads, -1).transpose(1, 2) for part in (q, k, v))  # (B, H, T, D)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + layer["out"](y.transpose(1, 2).contiguous().view(B, T, -1))  # type: ignore[index]
            x = x + layer["down"](F.gelu(layer["up"](layer["norm_2"](x)), approximate=self.form))  # type: ignore[index]
        return F.linear(self.norm(x), self.tokens.weight)


class Same:
    """One batch for every step."""

    def __init__(self, ids: Tensor):
        self.inputs, self.targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()

    def batch_at(self, step: int) -> tuple[Tensor, Tensor]:
        return self.inputs, self.targets


def ours(layers: int, heads: int, width: int, context: int) -> LanguageModel:
    mixer = {"kind": "attention", "heads": heads, "projection": "dense"}
    channels = {"kind": "mlp", "hidden": 4 * width, "projection": "dense"}
    stack = {"kind": "stack", "layers": layers, "width": width, "mixer": mixer, "channel_mixer": channels}
    return build({"topology": Component.model_validate(stack)}, vocabulary=VOCABULARY, context=context)


def same_weights(mine: nn.Module, plain: nn.Module) -> None:
    """Both list their parameters in the same order."""
    with torch.no_grad():
        for target, source in zip(plain.parameters(), mine.parameters(), strict=True):
            target.copy_(source)


def our_step(model: LanguageModel, ids: Tensor, *, compiled: bool = False) -> Step:
    """The step of every run: `training/loop.py`, at a rate that stays."""
    environment = set_up("cpu", "float32", torch.get_num_threads(), False)
    network = torch.compile(model) if compiled else model
    optimizer = make_optimizer(model, SETTINGS.optimizer, RATE)
    stepper = Stepper(model, network, optimizer, Same(ids), SETTINGS, environment, RATE, 1 << 20)  # type: ignore[arg-type]
    model.train()
    return lambda: stepper.step(1 << 17)[0]  # after the warm-up


def plain_step(model: PlainGPT2, ids: Tensor, *, compiled: bool = False, fused: bool = False) -> Step:
    network = torch.compile(model) if compiled else model
    batch = Same(ids)
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.95), fused=True if fused else None)

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(network(batch.inputs).flatten(0, 1), batch.targets.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        return loss.detach()

    return step
