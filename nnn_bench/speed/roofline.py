"""What the machine could do at best, measured on the spot, and how near to it a network comes.

compute = FLOPs / (rate of a large matrix product * seconds)        memory = bytes / (rate of a large copy * seconds)

The larger of the two is the share of the roofline. FLOPs are the declared ones, all of them, and bytes are those that must move
at least once: weights and state. Both rates are the best of several repeats, since a disturbance only makes one slower. A
small network whose weights stay in the processor's cache may read faster than a large copy does; its share is then above 1.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from nnn_bench.models.language_model import LanguageModel

_REPEATS = 5


@dataclass(frozen=True)
class Roofline:
    """Rates of a float32 product of two square matrices of `matrix_size`, and of a copy of `copy_bytes`, read and written."""

    matrix_flops_per_second: float
    copy_bytes_per_second: float
    matrix_size: int
    copy_bytes: int

    def compute(self, flops: float, seconds: float) -> float:
        """Share of the arithmetic that the machine could have done in `seconds`."""
        return flops / (self.matrix_flops_per_second * seconds)

    def memory(self, touched: float, seconds: float) -> float:
        """Share of the bytes that the machine could have moved in `seconds`."""
        return touched / (self.copy_bytes_per_second * seconds)

    def share(self, flops: float, touched: float, seconds: float) -> float:
        """Least time that the two rates allow, over the time that was taken."""
        return max(self.compute(flops, seconds), self.memory(touched, seconds))


def measure_roofline(device: torch.device) -> Roofline:
    """Time both on `device`, with as many threads as torch has been given."""
    size, length = (8192, 1 << 30) if device.type == "cuda" else (1024, 1 << 26)
    left, right = (torch.ones(size, size, device=device) for _ in range(2))
    product = torch.empty_like(left)
    seconds = _best(lambda: torch.mm(left, right, out=product), device)
    source = torch.ones(length, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copying = _best(lambda: target.copy_(source), device)
    return Roofline(2 * size**3 / seconds, 2 * length / copying, size, length)


def synchronize(device: torch.device) -> None:
    """Wait for `device`, so that a clock read next to this call means what it says."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def weight_bytes(model: LanguageModel, batch: int) -> int:
    """Bytes of weights that one step of `batch` texts reads: all, but of a table that only looks up, one row a text.

    A table of tokens is read whole where it is the map to the vocabulary too. An upper bound: a map that picks among its weights
    by its input is taken to read them all.
    """
    tied = model.parameter_count().head == 0
    total = sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])
    for table in model.table_parameters():
        if not (tied and len(table) == model.vocabulary):
            total += min(0, batch * table.nbytes // len(table) - table.nbytes)
    return total


def _best(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of the quickest of several calls, after one that is not timed."""
    call()
    found = []
    for _ in range(_REPEATS):
        synchronize(device)
        start = time.perf_counter()
        call()
        synchronize(device)
        found.append(time.perf_counter() - start)
    return min(found)
