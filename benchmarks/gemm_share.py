"""Which share of the machine's rate of matrix products a whole training step of GPT-2 reaches at widths of 256 and 512.

The rate is that of one large product, measured in turns with the steps. `share` = FLOPs of the step's products, forward and
backward, counted by torch, over that rate times the step. `limit` is the share that is left when all else moves through memory
at the rate of a large copy and the products run at full rate: bytes of activations, gradients and optimizer over that rate.
"""

from __future__ import annotations

import statistics
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.nanogpt import VOCABULARY, our_step, ours
from benchmarks.timing import arguments, interleaved, publish, row

SHAPES = [
    {"layers": 4, "heads": 4, "width": 256, "context": 128, "batch": 8},
    {"layers": 2, "heads": 8, "width": 512, "context": 128, "batch": 4},
]
SIZE, COPIED = 1024, 1 << 24


def moved_bytes(shape: dict[str, int], parameters: int) -> int:
    """What is read and written outside products at least once: see the terms."""
    tokens, C = shape["batch"] * shape["context"], shape["width"]
    # per layer and token: two norms (read, write; twice that backward), two sums and theirs, GELU on 4 C with its slope
    layer = C * (2 * (2 + 4) + 2 * (3 + 2)) + 4 * C * (3 + 3)
    logits = VOCABULARY * 4  # softmax and its gradient
    return 4 * (
        tokens * (shape["layers"] * layer + logits) + parameters * (2 + 7)
    )  # clipping; AdamW: 4 reads, 3 writes


def measured(shape: dict[str, int], rounds: int) -> dict[str, Any]:
    sizes = {key: value for key, value in shape.items() if key != "batch"}
    ids = torch.randint(VOCABULARY, (shape["batch"], shape["context"] + 1))
    model = ours(**sizes)
    step = our_step(model, ids)
    with FlopCounterMode(display=False) as counted, sdpa_kernel(SDPBackend.MATH):
        step()
    left, right = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)
    source, target = torch.ones(COPIED), torch.empty(COPIED)
    contenders = {"step": step, "product": lambda: left @ right, "copy": lambda: target.copy_(source)}
    seconds = interleaved(contenders, rounds=rounds)
    found = row("L {layers} d {width} T {context} B {batch}".format(**shape), seconds)
    flops = counted.get_total_flops()
    shares = [
        flops / 2 / SIZE**3 * product / step for product, step in zip(seconds["product"], seconds["step"], strict=True)
    ]
    product, copy = (statistics.median(seconds[name]) for name in ("product", "copy"))
    products = flops / 2 / SIZE**3 * product
    moving = moved_bytes(shape, sum(p.numel() for p in model.parameters())) / (8 * COPIED / copy)
    found |= {
        "flops": flops,
        "gemm_flops_per_second": 2 * SIZE**3 / product,
        "copy_bytes_per_second": 8 * COPIED / copy,
        "share": statistics.median(shares),
        "limit": products / (products + moving),
    }
    print(f"{found['case']}: {found['share']:.2f} of the GEMM rate; at most {found['limit']:.2f} by bytes and FLOPs")
    return found


def main() -> None:
    chosen = arguments(__doc__ or "")
    torch.manual_seed(chosen.seed)
    rows = [measured(shape, chosen.rounds) for shape in SHAPES]
    publish("gemm_share", rows, chosen.threads, "FLOPs of a step's products / (GEMM rate * seconds); target >= 0.75")


if __name__ == "__main__":
    main()
