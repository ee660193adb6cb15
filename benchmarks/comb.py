"""The comb and axial attention against GPT-2's attention at the same width, forward and backward."""

from __future__ import annotations

import torch

from benchmarks.timing import arguments, interleaved, publish, row
from nnn_bench.config.component import Component
from nnn_bench.models.build import Builder
from nnn_bench.models.parts import Site

SHAPES = [(16, 64, 64), (16, 128, 64), (16, 256, 64), (8, 64, 256), (8, 128, 256), (8, 256, 256)]
DENSE = {"kind": "dense", "bias": True}
COMB = {"kind": "comb", "axes": 2, "groups": 4, "activation": "melu", "partial_activation": True, "projection": DENSE}
MIXERS = {
    "attention": {"kind": "attention", "heads": 4, "projection": DENSE},
    "comb": COMB,
    "one group": COMB | {"groups": 1},
    "separate": COMB | {"sharing": "separate"},
    "three axes": COMB | {"axes": 3},
    "axial": {"kind": "axial_attention", "heads": 4, "projection": DENSE},
}


def main() -> None:
    chosen = arguments(__doc__ or "")
    torch.manual_seed(chosen.seed)
    rows = []
    for B, T, C in SHAPES:
        x, upstream = torch.randn(B, T, C, requires_grad=True), torch.randn(B, T, C)
        mixers = {
            name: Builder("benchmark").time_mixer(Component.model_validate(tree), Site(C, T, 0, 4))
            for name, tree in MIXERS.items()
        }

        def both(mixer, x=x, upstream=upstream):  # type: ignore[no-untyped-def]
            x.grad = None
            mixer.zero_grad(set_to_none=True)
            mixer(x).backward(upstream)

        contenders = {name: lambda mixer=mixer, both=both: both(mixer) for name, mixer in mixers.items()}
        rows.append(row(f"B {B} T {T} C {C}", interleaved(contenders, rounds=chosen.rounds, calls=3)))
    publish("comb", rows, chosen.threads, "forward + backward of one mixer, its maps included")


if __name__ == "__main__":
    main()
