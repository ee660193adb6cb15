"""One training step of GPT-2 at 200,000 body parameters, ours and nanoGPT's each in its best setting: eager or compiled.

Two threads, the same weights and shapes. Compiling a network takes its time once, which is told apart.
"""

from __future__ import annotations

import time
from typing import Any

import torch

from benchmarks.nanogpt import VOCABULARY, PlainGPT2, our_step, ours, plain_step, same_weights
from benchmarks.timing import arguments, interleaved, publish, ratio_of, row

SHAPES = [
    {"layers": 4, "heads": 4, "width": 64, "context": 64, "batch": 8},
    {"layers": 4, "heads": 4, "width": 64, "context": 128, "batch": 16},
]


def measured(shape: dict[str, int], rounds: int) -> dict[str, Any]:
    sizes = {key: value for key, value in shape.items() if key != "batch"}
    ids = torch.randint(VOCABULARY, (shape["batch"], shape["context"] + 1))
    mine, plain = [ours(**sizes) for _ in range(2)], [PlainGPT2(**sizes) for _ in range(2)]
    for one in plain:
        same_weights(mine[0], one)
    contenders = {
        "ours eager": our_step(mine[0], ids),
        "ours compiled": our_step(mine[1], ids, compiled=True),
        "nanogpt eager": plain_step(plain[0], ids),
        "nanogpt compiled": plain_step(plain[1], ids, compiled=True),
    }
    first = {}
    for name, call in contenders.items():
        start = time.perf_counter()
        call()
        first[name] = time.perf_counter() - start
    seconds = interleaved(contenders, rounds=rounds, calls=3)
    found = row("L {layers} d {width} T {context} B {batch}".format(**shape), seconds)
    best = [min((f"{who} eager", f"{who} compiled"), key=lambda name: found["ms"][name]) for who in ("ours", "nanogpt")]
    found["best"] = best
    found["best_ratio"] = ratio_of(*(seconds[name] for name in best))
    found["first_step_seconds"] = {name: first[name] for name in first if name.endswith("compiled")}
    print(f"{found['case']}: {best[1]} takes {found['best_ratio']['median']:.2f} times {best[0]}")
    return found


def main() -> None:
    chosen = arguments(__doc__ or "", threads=2)
    torch.manual_seed(chosen.seed)
    rows = [measured(shape, chosen.rounds) for shape in SHAPES]
    publish("best_setting", rows, chosen.threads, "GPT-2, the best setting of each; target: nanogpt / ours >= 1.15")


if __name__ == "__main__":
    main()
