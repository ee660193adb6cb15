"""What the tests of an audit share: a copy to poke at, random windows, and how far apart two answers are.

Everything is done in float64 on a copy in which nothing is trained, with unit-scale pokes; beyond `TOLERANCE` two logits differ.
Every forward pass starts from the same random numbers, so that a network that draws some is compared with itself.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from nnn_bench.models.language_model import LanguageModel

TOLERANCE = 1e-9

#: Networks that round or pick may turn the other way on a last bit, at no more than this share of positions.
FLIPS = 0.05


def frozen_copy(model: LanguageModel, *, training: bool = False) -> LanguageModel:
    """A copy in float64 whose parameters take no gradient, in evaluation or training mode."""
    twin = copy.deepcopy(model).double().train(training)
    twin.requires_grad_(False)
    twin.recompute_activations = False
    return twin


def shaken_copy(model: LanguageModel, generator: torch.Generator) -> LanguageModel:
    """A copy with every trainable parameter moved a little, as training would: nothing born zero stays unseen."""
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.parameters():
            if parameter.requires_grad:
                moved = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.add_(moved.to(parameter.dtype), alpha=0.02)
    return twin


def dice(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def windows(model: LanguageModel, rows: int, generator: torch.Generator) -> Tensor:
    """Uniform random tokens `(rows, context)`."""
    return torch.randint(model.vocabulary, (rows, model.context), generator=generator)


def others(tokens: Tensor, vocabulary: int, generator: torch.Generator) -> Tensor:
    """Tokens of the same shape, each another than the one in its place."""
    return (tokens + torch.randint(1, vocabulary, tokens.shape, generator=generator)) % vocabulary


def noise(x: Tensor, generator: torch.Generator) -> Tensor:
    """`x` with unit-scale noise added: larger than any embedding at birth, so that it moves scales and maxima."""
    return x + torch.randn(x.shape, generator=generator, dtype=x.dtype)


@torch.no_grad()
def answer(model: LanguageModel, tokens: Tensor) -> Tensor:
    """Logits `(B, T, V)` of tokens `(B, T)`."""
    torch.manual_seed(0)
    logits: Tensor = model(tokens)
    return logits


@torch.no_grad()
def embedded(model: LanguageModel, tokens: Tensor) -> Tensor:
    """Vectors `(B, T, C)` of tokens `(B, T)`."""
    torch.manual_seed(0)
    return model.embed(tokens)


@torch.no_grad()
def answer_to(model: LanguageModel, x: Tensor) -> Tensor:
    """Logits `(B, T, V)` of embedded vectors `(B, T, C)`."""
    torch.manual_seed(0)
    return model.predict(x)


def distance(one: Tensor, other: Tensor) -> Tensor:
    """Largest difference of logits at each position, `(..., T)`; what is no number counts as infinitely far."""
    return (one - other).abs().nan_to_num(nan=torch.inf).amax(dim=-1)


def decides(model: LanguageModel) -> bool:
    """Whether some part of `model` rounds or picks."""
    return any(getattr(module, "decides", False) for module in model.modules())


def same(distances: Tensor, model: LanguageModel) -> bool:
    """Whether `distances (trials, T)` between answers that may be computed in different order are rounding alone.

    A network that decides may flip here and there, but not at one position more often than not.
    """
    apart = distances > TOLERANCE
    if not decides(model):
        return not bool(apart.any())
    shares = apart.double()
    return shares.mean().item() <= FLIPS and shares.mean(dim=0).max().item() <= 0.5
