"""The MLGRU recurrence, forward and backward, against the autograd loop over `unbind(1)`."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.timing import arguments, interleaved, publish, row
from nnn_bench.models.recurrence import linear_recurrence

SHAPES = [(16, 128, 64), (16, 256, 64), (8, 256, 256), (16, 1024, 64), (8, 1024, 256)]


def loop(decay: Tensor, drive: Tensor) -> Tensor:
    """The recurrence as one writes it: a graph of T steps."""
    state, states = torch.zeros_like(drive[:, 0]), []
    for a, x in zip(decay.unbind(1), drive.unbind(1), strict=True):
        state = a * state + x
        states.append(state)
    return torch.stack(states, dim=1)


def main() -> None:
    chosen = arguments(__doc__ or "")
    rows = []
    for shape in SHAPES:
        decay, drive = torch.rand(shape).requires_grad_(), torch.randn(shape).requires_grad_()
        upstream = torch.randn(shape)

        def both(function, decay=decay, drive=drive, upstream=upstream):  # type: ignore[no-untyped-def]
            decay.grad = drive.grad = None
            function(decay, drive).backward(upstream)
            return decay.grad, drive.grad

        largest = max((a - b).abs().max().item() for a, b in zip(both(linear_recurrence), both(loop), strict=True))
        contenders = {"ours": lambda both=both: both(linear_recurrence), "loop": lambda both=both: both(loop)}
        rows.append(row("B {} T {} D {}".format(*shape), interleaved(contenders, rounds=chosen.rounds)))
        rows[-1]["largest_gradient_difference"] = largest
    publish("recurrence", rows, chosen.threads, "forward + backward of the linear recurrence; target: loop / ours >= 5")


if __name__ == "__main__":
    main()
