"""The piecewise map against the published layer (high-order-layers-torch 2.6.0) and a dense map: time, memory, differences.

B = 1000 rows to 250 outputs, forward and backward with the gradient of the input; and a first layer of 16 characters out of 128,
whose input needs none. Time: the process's own (CPU) time, so that neighbours on the machine count as little as may be; medians
over rounds that are interleaved, but for the published layer, which takes seconds and has `PUBLISHED` rounds of its own beside
the dense map. Memory: the most that torch's allocator holds at any moment of both passes beyond what there was before them, the
gradients of parameters and input among it (torch's profiler; compiled loops allocate no more than a row of their own).
Differences: the largest in output, weight gradient and input gradient on 64 rows in float32, as shares of the largest number
in its row (in its node, for weights).
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.selection import both, peak_bytes
from benchmarks.timing import arguments, interleaved, publish, row
from nnn_bench.config.component import Component
from nnn_bench.models.build import Builder
from nnn_bench.models.parts import Port
from nnn_bench.models.projections.piecewise import Piecewise

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from high_order_layers_torch.layers import high_order_fc_layers

B, O, K = 1000, 250, 128  # noqa: E741
PUBLISHED = 2


class Case(NamedTuple):
    form: str
    nodes: int
    segments: int
    inputs: int = 128
    characters: bool = False

    @property
    def name(self) -> str:
        what = "characters" if self.characters else "floats"
        return f"{self.form[:4]} n {self.nodes} S {self.segments}, {self.inputs} {what}"

    @property
    def algorithms(self) -> list[str]:
        """The rule's choice first; the products with 127 segments of zeros are left out."""
        rule = self.made("auto").algorithm
        others = ["dense_basis", "bag"] if self.segments <= 8 else ["bag"]
        return [rule, *(name for name in others if name != rule)]

    def made(self, algorithm: str) -> Piecewise:
        options = {"form": self.form, "nodes": self.nodes, "segments": self.segments, "algorithm": algorithm}
        component = Component.model_validate({"kind": "piecewise", **options})
        layer = Builder("benchmark").projector(component)(Port("map", self.inputs, O))
        assert isinstance(layer, Piecewise)
        return layer


QUICK = [Case("continuous", 2, 2), Case("continuous", 2, 128), Case("continuous", 2, 128, 16, True)]
CASES = [
    *(Case(form, n, S) for S in (2, 128) for n in (2, 3) for form in ("continuous", "discontinuous")),
    Case("continuous", 2, 2, 512),
    Case("discontinuous", 3, 2, 512),
    Case("continuous", 2, 128, 512),
    Case("continuous", 2, 128, 16, True),
    Case("discontinuous", 2, 128, 16, True),
]


def published(case: Case, weight: Tensor) -> nn.Module:
    """Their layer with our weights; theirs are (O, I, V)."""
    layer = high_order_fc_layers(
        layer_type=case.form, n=case.nodes, in_features=case.inputs, out_features=O, segments=case.segments
    )
    layer.w = nn.Parameter(weight.detach().permute(2, 1, 0).contiguous())
    return layer


def worst(case: Case, ours: Callable[[Tensor], Tensor], layer: Piecewise, theirs: nn.Module, x: Tensor) -> list[float]:
    """Largest differences of output, weight gradient and (for floats) input gradient."""
    x = x[:64].detach().requires_grad_(not case.characters)
    upstream = torch.randn(len(x), O)
    found = []
    for function, weight in ((ours, layer.weight), (theirs, theirs.w)):
        y = function(x)
        wanted = [weight] if case.characters else [weight, x]
        found.append([y.detach(), *torch.autograd.grad(y, wanted, upstream)])
    found[1][1] = found[1][1].permute(2, 1, 0)
    return [
        ((a - b).abs().flatten(1).amax(1) / b.abs().flatten(1).amax(1).clamp(min=1)).max().item()
        for a, b in zip(*found, strict=True)
    ]


def measured(case: Case, rounds: int) -> dict[str, Any]:
    if case.characters:
        symbols = torch.randint(K, (B, case.inputs))
        numbers = (2 * torch.arange(K) + 1 - K).float() / K
        x = numbers[symbols]
    else:
        x = torch.randn(B, case.inputs).requires_grad_()
    upstream = torch.randn(B, O)
    dense = nn.Linear(case.inputs, O)
    layers = {name: case.made(name) for name in case.algorithms}
    first = next(iter(layers.values()))
    functions: dict[str, tuple[Callable[[Tensor], Tensor], nn.Module]] = {"linear": (dense, dense)}
    if case.characters:
        functions["table"] = (lambda x: first.of_symbols(symbols[: len(x)], numbers), first)
    functions |= {name: (layer, layer) for name, layer in layers.items()}
    theirs = published(case, first.weight)
    with_theirs = {**functions, "published": (theirs, theirs)}
    contenders = {name: both(*one, x, upstream) for name, one in with_theirs.items()}
    own = {name: contenders[name] for name in functions}
    found = row(case.name, interleaved(own, rounds=rounds, clock=time.process_time))
    beside = row(
        "",
        interleaved(
            {name: contenders[name] for name in ("linear", "published")}, rounds=PUBLISHED, clock=time.process_time
        ),
    )
    ours = list(functions)[1]
    found["ms"]["published"] = beside["ms"]["published"]
    found["ratio"]["published"] = beside["ratio"]["published"]
    found["peak_bytes"] = {name: peak_bytes(contenders[name], layer) for name, (_, layer) in with_theirs.items()}
    found["differences"] = worst(case, functions[ours][0], first, theirs, x)
    found["algorithm"] = ours
    found["times_faster"] = found["ms"]["published"] / found["ms"][ours]
    found["times_less_memory"] = found["peak_bytes"]["published"] / found["peak_bytes"][ours]
    print(
        f"{case.name}: {ours} is {found['times_faster']:.0f} times faster than published and holds "
        f"{found['times_less_memory']:.0f} times less ({found['peak_bytes'][ours] / 1e6:.1f} MB of "
        f"{found['peak_bytes']['published'] / 1e6:.0f}); {found['ms'][ours] / found['ms']['linear']:.1f} times a dense map; "
        f"differences {', '.join(f'{one:.1e}' for one in found['differences'])}",
        flush=True,
    )
    return found


def main() -> None:
    chosen = arguments(__doc__ or "", quick="three cases, three rounds")
    torch.manual_seed(chosen.seed)
    cases, rounds = (QUICK, 3) if chosen.quick else (CASES, chosen.rounds)
    rows = [measured(case, rounds) for case in cases]
    for segments in (2, 128):
        some = [one for case, one in zip(cases, rows, strict=True) if case.segments == segments]
        print(
            f"S {segments}: {statistics.median(one['times_faster'] for one in some):.0f} times faster in the median, "
            f"{min(one['times_faster'] for one in some):.0f} at least; "
            f"{min(one['times_less_memory'] for one in some):.0f} times less memory at least"
        )
    dense_maps = [
        (case.name, one["ms"][one["algorithm"]] / one["ms"]["linear"])
        for case, one in zip(cases, rows, strict=True)
        if case.segments == 2
    ]
    missed = [f"{name} ({times:.1f})" for name, times in dense_maps if times > 4]
    print(f"S 2: at most 4 dense maps, missed by {len(missed)} of {len(dense_maps)} cases {'; '.join(missed)}")
    note = (
        "targets: published / ours >= 150 at S 2 and >= 20 at S 128; at S 2 50 times less memory and ours / linear <= 4"
    )
    publish("high_order", rows, chosen.threads, note)


if __name__ == "__main__":
    main()
