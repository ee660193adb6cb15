"""Operations that torch counts, beside those that a network declares.

Torch sees matrix products and convolutions, and of attention only the form that is made of products; the rest (scans, look-ups,
elementwise work) is declared alone. So the part in matrices can be compared, and must be equal to the last operation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from nnn_bench.models.flops import Flops


@dataclass(frozen=True)
class Work:
    """Operations that were declared for so many tokens, and those that were counted when they were done."""

    declared: Flops
    counted: int
    tokens: int

    @property
    def plain(self) -> dict[str, float]:
        """Per token: `declared` in all, and the part of it that is comparable with `counted`."""
        return {
            "declared": self.declared.total / self.tokens,
            "counted": self.counted / self.tokens,
            "matrix_declared": self.declared.matrix / self.tokens,
        }


def counted(call: Callable[[], object]) -> int:
    """Operations in matrix products and convolutions that `call` does."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:  # in inference mode the counter fails
        call()
    return int(counter.get_total_flops())
