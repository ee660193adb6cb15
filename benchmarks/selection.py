"""Selection layers, forward and backward, against one linear map and against the plain straight-through form; their memory.

Time: a dense map, ours, and (for small K) the form one writes first: logits and values of every computation, softmax,
onehot - stop(p) + p, all through autograd. Memory: bytes that are kept between forward and backward, the output included and
parameters not, as the autograd hooks see them; and the most that is held at any moment of both passes, the gradients of the
parameters included (torch's profiler).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.timing import arguments, interleaved, publish, row
from nnn_bench.config.component import Component
from nnn_bench.models.build import Builder
from nnn_bench.models.parts import Port, Projection
from nnn_bench.models.projections.selection import Selection

I = O = 256  # noqa: E741


def made(kind: str, **options: Any) -> Projection:
    component = Component.model_validate({"kind": kind, **options})
    return Builder("benchmark").projector(component)(Port("map", I, O))


def plain(layer: Selection, x: Tensor) -> Tensor:
    """The straight-through form as one writes it, with the parameters of `layer`."""
    K = layer.computations
    values = torch.stack([F.linear(x, w, b) for w, b in zip(layer.weight, layer.bias.view(K, -1), strict=True)], -2)
    selectors = zip(layer.selector_weight, layer.selector_bias.view(K, -1), strict=True)
    shares = torch.stack([F.linear(x, w, b) for w, b in selectors], -2).softmax(-2)
    hard = torch.zeros_like(shares).scatter_(-2, shares.argmax(-2, keepdim=True), 1.0)
    return ((hard - shares.detach() + shares) * values).sum(-2)


def kept_bytes(function: Callable[[Tensor], Tensor], layer: nn.Module, x: Tensor) -> int:
    """Of all tensors that a forward pass keeps, and its output; none twice, and no parameter."""
    own = {p.untyped_storage().data_ptr() for p in layer.parameters()}
    found: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = function(x)
        keep(y)
    return sum(found.values())


def peak_bytes(call: Callable[[], Any], layer: nn.Module) -> int:
    """The most that was allocated above what there was before, the gradients of the parameters among it."""
    call()  # what is made once is made now
    for parameter in layer.parameters():
        parameter.grad = None
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        call()
    held = most = 0
    for event in seen.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def both(function: Callable[[Tensor], Tensor], layer: nn.Module, x: Tensor, upstream: Tensor) -> Callable[[], Any]:
    """Forward and backward, gradients thrown away."""

    def call() -> None:
        x.grad = None
        for parameter in layer.parameters():
            parameter.grad = None
        function(x).backward(upstream)

    return call


def main() -> None:
    chosen = arguments(__doc__ or "")
    torch.manual_seed(chosen.seed)
    rows = []
    for N, K in ((512, 2), (4096, 2), (2048, 5), (1024, 75)):
        dense, ours = made("dense"), made("selection", computations=K)
        others = {"switch": made("selection", computations=K, estimator="switch")}
        others["per_layer"] = made("layer_selection", computations=K, estimator="switch")
        assert isinstance(ours, Selection)
        x, upstream = torch.randn(N, I).requires_grad_(), torch.randn(N, O)
        functions: dict[str, tuple[Callable[[Tensor], Tensor], nn.Module]] = {
            "dense": (dense, dense),
            "selection": (ours, ours),
            **{name: (layer, layer) for name, layer in others.items()},
        }
        if K < 75:
            functions["plain"] = (lambda x, ours=ours: plain(ours, x), ours)
        contenders = {name: both(*one, x, upstream) for name, one in functions.items()}
        rounds = chosen.rounds if K < 75 else max(3, chosen.rounds // 5)
        calls = 3 if N * K <= 1024 else 1
        found = row(f"N {N} K {K}", interleaved(contenders, rounds=rounds, calls=calls))
        found["kept_bytes"] = {name: kept_bytes(*one, x) for name, one in functions.items()}
        found["peak_bytes"] = {name: peak_bytes(contenders[name], layer) for name, (_, layer) in functions.items()}
        for name in list(functions)[1:]:
            kept = found["kept_bytes"][name] / found["kept_bytes"]["dense"]
            peak = found["peak_bytes"][name] / found["peak_bytes"]["dense"]
            print(f"N {N} K {K} {name}: keeps {kept:.2f} times what dense keeps, peak {peak:.1f} times")
        rows.append(found)
    publish("selection", rows, chosen.threads, "targets at K = 2: selection / dense <= 4, plain / selection >= 3")


if __name__ == "__main__":
    main()
