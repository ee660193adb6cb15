"""Which precision computes what, for functions that autograd and autocast leave to themselves."""

from __future__ import annotations

import torch
from torch import Tensor


def wide(x: Tensor) -> Tensor:
    """`x` in float32 at least: states, gates, places and sums of many terms need more digits than half precision has."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def compiled(x: Tensor) -> bool:
    """Whether a compiled loop of our own takes `x`: on a CPU, in float32 or float64."""
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)


def product_dtype(factor: Tensor) -> torch.dtype:
    """What autocast would make of the factors of a product."""
    kind = factor.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else factor.dtype
