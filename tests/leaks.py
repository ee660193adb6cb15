"""Small networks, each with exactly one defect, to see that an audit finds it and calls it by its name."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nnn_bench.models.build import build
from nnn_bench.models.growth import Growth, Origin
from nnn_bench.models.language_model import LanguageModel
from nnn_bench.models.projections.selection import Selection
from nnn_bench.models.selection_kernels import select_in_blocks
from nnn_bench.models.selection_of_two import select_of_two

VOCABULARY, CONTEXT = 11, 12
DENSE = {"kind": "dense", "bias": True}


def honest(vocabulary: int = VOCABULARY, context: int = CONTEXT) -> LanguageModel:
    """Two blocks of GPT-2."""
    torch.manual_seed(0)
    mixer = {"kind": "attention", "heads": 2, "projection": DENSE}
    channel_mixer = {"kind": "mlp", "hidden": 24, "projection": DENSE}
    tree = {"kind": "stack", "layers": 2, "width": 12, "mixer": mixer, "channel_mixer": channel_mixer}
    return build({"topology": tree}, vocabulary=vocabulary, context=context)


class Spoiled(LanguageModel):
    """An honest network that is given `spoiled` vectors in place of those it embedded. It has no step, unless it says so."""

    streams = False

    def __init__(self, inner: LanguageModel):
        super().__init__()
        self.vocabulary, self.context = inner.vocabulary, inner.context
        self.inner = inner

    def spoiled(self, x: Tensor) -> Tensor:
        return x

    def embed(self, tokens):
        return self.inner.embed(tokens)

    def predict(self, x):
        return self.inner.predict(self.spoiled(x))

    def initial_state(self, batch):
        return self.inner.initial_state(batch)

    def step(self, token, state):
        return self.inner.step(token, state)

    def table_parameters(self):
        return self.inner.table_parameters()


class BlockMeans(Spoiled):
    """Every position hears the mean of its block of four, the coming ones included."""

    def spoiled(self, x):
        blocks = x.unflatten(1, (-1, 4))
        return (blocks + blocks.mean(dim=2, keepdim=True)).flatten(1, 2)


class TensorScale(Spoiled):
    """Rounded to 8 bits by one scale for all rows and positions; no gradient goes through the scale."""

    decides = True

    def spoiled(self, x):
        scale = 127 / x.detach().abs().amax()
        return x + ((x * scale).round() / scale - x).detach()


class RowMeans(Spoiled):
    """Each row loses part of the mean over rows: nothing to see in a batch of one."""

    def spoiled(self, x):
        return x - 0.3 * x.mean(dim=0)


class BatchNormed(Spoiled):
    def __init__(self, inner):
        super().__init__(inner)
        self.norm = nn.BatchNorm1d(12, affine=False)

    def spoiled(self, x):
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


class PeeksOnce(Spoiled):
    """Position 5 hears position 6, no other position anything it should not."""

    def heard(self, x):
        return x[:, 6]

    def spoiled(self, x):
        return torch.cat([x[:, :5], x[:, 5:6] + self.heard(x).unsqueeze(1), x[:, 6:]], dim=1)


class PeeksUnseen(PeeksOnce):
    """The same, hidden from the gradient."""

    def heard(self, x):
        return x[:, 6].detach()


class Copies(Spoiled):
    """Every position hears the next one, which is its target."""

    def spoiled(self, x):
        return x + torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], dim=1)


class Blind(Spoiled):
    """Nobody sees position 2 but by its place."""

    def spoiled(self, x):
        return torch.cat([x[:, :2], torch.zeros_like(x[:, :1]), x[:, 3:]], dim=1)


class NoNumber(Spoiled):
    def spoiled(self, x):
        return x / 0


class Unused(Spoiled):
    """Has a parameter that nothing reads."""

    def __init__(self, inner):
        super().__init__(inner)
        self.unused = nn.Parameter(torch.ones(3))


class Undeclared(Spoiled):
    """Keeps a parameter from being trained and does not say so."""

    def __init__(self, inner):
        super().__init__(inner)
        self.inner.blocks[0].channel_mixer.up.requires_grad_(False)


class Declared(Undeclared):
    """The same, and says so: no defect."""

    def frozen_parameters(self):
        return self.inner.blocks[0].channel_mixer.up.parameters()


class Faint(Spoiled):
    """Most of it gets next to no gradient."""

    def predict(self, x):
        return self.inner.unembed(x + 1e-9 * self.inner.predict(x).sum(dim=-1, keepdim=True))


class Dropping(Spoiled):
    def spoiled(self, x):
        return nn.functional.dropout(x, 0.1, self.training)


class OtherStep(Spoiled):
    """From position 7 on, step says something else, by 1e-6."""

    streams = True

    def step(self, token, state):
        logits, state = self.inner.step(token, state)
        return logits + 1e-6 * (state.position > 7), state


class Grows(Spoiled):
    """Grows once and stays what it was: no defect."""

    growth, stages = Growth(at=[0.5]), 2

    def grow(self):
        self.stage = 1
        return {name: Origin(name) for name, _ in self.named_parameters()}


class Jumps(Grows):
    """Claims to keep its function and does not."""

    def grow(self):
        with torch.no_grad():
            self.inner.norm.weight.mul_(1.5)
        return super().grow()


class JumpsHonestly(Jumps):
    preserves_function = False


class Forgets(Grows):
    """Loses what the optimizer knows of a parameter that lives on."""

    def grow(self):
        return {name: origin for name, origin in super().grow().items() if name != "inner.embedding"}


class Confuses(Grows):
    """Takes one parameter's past for that of another of a different shape."""

    def grow(self):
        return super().grow() | {"inner.embedding": Origin("inner.positions")}


class SoftSelection(Selection):
    """Gives the chosen value, and its gradient to all values."""

    def forward(self, x):
        K = self.weight.shape[0]
        soft = nn.functional.linear(x, self.weight.flatten(0, 1), self.bias).unflatten(-1, (K, -1)).mean(dim=-2)
        return super().forward(x) + soft - soft.detach()


def softened(model: LanguageModel) -> LanguageModel:
    """`model` with the gradient of its selections spread over all computations."""
    for module in model.modules():
        if isinstance(module, Selection):
            module.__class__ = SoftSelection
    return model


class ContrarySelection(Selection):
    """Selectors that learn the opposite of what they are told."""

    def _selected(self, x, how):
        weight, bias = (2 * p.detach() - p for p in (self.selector_weight, self.selector_bias))
        select = select_of_two if self.computations == 2 else select_in_blocks
        return select(x, self.weight, self.bias, weight, bias, how)


def contrary(model: LanguageModel) -> LanguageModel:
    """`model` with the gradients of its selectors turned round."""
    for module in model.modules():
        if isinstance(module, Selection):
            module.__class__ = ContrarySelection
    return model
