"""How much of each value a network's ternary matrices hold.

For one matrix with codes c in {-1, 0, +1}: `minus`, `zero` and `plus` are their shares, `weights` is how many there are, and
`entropy` = -sum p log2 p is the bits that one code carries if nothing but the shares is known: at most log2 3 = 1.58, and the least
that any packing of independent codes can need. Zeros are additions that need not be done. The same for all matrices together.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


def occupancy(codes: Tensor) -> dict[str, Any]:
    """Shares, count and entropy (bits) of `codes` of any shape."""
    return _shares(_counts(codes))


@torch.no_grad()
def model_occupancy(model: nn.Module) -> dict[str, Any]:
    """`all` and, by name, `matrices`: the occupancy of every ternary map of `model`; empty for a network without any."""
    counts = {name: _counts(module.codes()) for name, module in model.named_modules() if _is_ternary(module)}
    if not counts:
        return {}
    total = [sum(of) for of in zip(*counts.values(), strict=True)]
    return {"all": _shares(total), "matrices": {name: _shares(found) for name, found in counts.items()}}


def _is_ternary(module: nn.Module) -> bool:
    return callable(getattr(module, "codes", None))


def _counts(codes: Tensor) -> list[int]:
    """How many are -1, 0 and +1."""
    found: list[int] = torch.bincount(codes.flatten().long() + 1, minlength=3).tolist()
    return found


def _shares(counts: list[int]) -> dict[str, Any]:
    weights = sum(counts)
    shares = [count / weights for count in counts]
    entropy = sum(-share * math.log2(share) for share in shares if share)
    return {**dict(zip(("minus", "zero", "plus"), shares, strict=True)), "weights": weights, "entropy": entropy}
