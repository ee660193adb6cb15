"""One training step of our GPT-2 against nanoGPT's (`nanogpt.py`), eager, the same weights, shapes and threads.

`plain` is the same step with all our settings (fused AdamW, GELU in its tanh form) and none of our composition: it says what
composing costs and what our compiled activation brings.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from benchmarks.nanogpt import VOCABULARY, PlainGPT2, our_step, ours, plain_step, same_weights
from benchmarks.timing import arguments, interleaved, publish, row

SHAPES = [  # the first is that of suite laptop, 200,000 body parameters
    {"layers": 4, "heads": 4, "width": 64, "context": 64, "batch": 8},
    {"layers": 4, "heads": 4, "width": 64, "context": 128, "batch": 16},
    {"layers": 4, "heads": 4, "width": 128, "context": 64, "batch": 12},
    {"layers": 4, "heads": 4, "width": 256, "context": 128, "batch": 8},
]


def measured(shape: dict[str, int], rounds: int) -> dict[str, Any]:
    sizes = {key: value for key, value in shape.items() if key != "batch"}
    ids = torch.randint(VOCABULARY, (shape["batch"], shape["context"] + 1))
    mine, plain, nano = ours(**sizes), PlainGPT2(**sizes, tanh=True), PlainGPT2(**sizes)
    same_weights(mine, plain)
    same_weights(mine, nano)
    contenders = {
        "ours": our_step(mine, ids),
        "plain": plain_step(plain, ids, fused=True),
        "nanogpt": plain_step(nano, ids),
    }
    first = {name: call().item() for name, call in contenders.items()}
    assert math.isclose(first["ours"], first["plain"], rel_tol=1e-5), first
    case = "L {layers} d {width} T {context} B {batch}".format(**shape)
    return row(case, interleaved(contenders, rounds=rounds, calls=2))


def main() -> None:
    chosen = arguments(__doc__ or "")
    torch.manual_seed(chosen.seed)
    rows = [measured(shape, chosen.rounds) for shape in SHAPES]
    publish("gpt2_step", rows, chosen.threads, "one training step of GPT-2, eager; target: nanogpt / ours >= 1")


if __name__ == "__main__":
    main()
