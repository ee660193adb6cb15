"""How much of each value a network's ternary matrices hold.

For one matrix with codes in {-1, 0, +1}: `minus`, `zero` and `plus` are their shares, `weights` is how many there are, and
`entropy` = -sum p log2 p the bits that one code carries where nothing but the shares is known: at most log2 3 = 1.58, and the
least that a packing of independent codes can need. A zero is an addition that need not be done.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


def occupancy(codes: Tensor) -> dict[str, Any]:
    """Shares, count and entropy (bits) of `codes` of any shape."""
    return _shares(_counts(codes), codes.numel())


@torch.no_grad()
def model_occupancy(model: nn.Module) -> dict[str, Any]:
    """`all` and, by name, `matrices`: the occupancy of every ternary map of `model`; empty for a network without any."""
    codes = {name: module.codes() for name, module in model.named_modules() if _is_ternary(module)}
    if not codes:
        return {}
    total = [sum(of) for of in zip(*map(_counts, codes.values()), strict=True)]
    return {
        "all": _shares(total, sum(matrix.numel() for matrix in codes.values())),
        "matrices": {name: occupancy(matrix) for name, matrix in codes.items()},
    }


def _is_ternary(module: nn.Module) -> bool:
    return callable(getattr(module, "codes", None))


def _counts(codes: Tensor) -> list[int]:
    """How many are -1, 0 and +1: not all, where a network has diverged."""
    return [int((codes == value).sum()) for value in (-1, 0, 1)]


def _shares(counts: list[int], weights: int) -> dict[str, Any]:
    shares = [count / weights for count in counts]
    entropy = sum(-share * math.log2(share) for share in shares if share)
    return {**dict(zip(("minus", "zero", "plus"), shares, strict=True)), "weights": weights, "entropy": entropy}
