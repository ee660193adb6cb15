"""The selective scan of Mamba, forward and backward, against the autograd loop over `unbind(1)`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.timing import arguments, interleaved, publish, row
from nnn_bench.models.selective_scan import selective_scan

SHAPES = [(16, 128, 128, 16), (16, 128, 128, 32), (16, 256, 160, 16), (4, 1024, 256, 16)]


def loop(u: Tensor, step: Tensor, rates: Tensor, into: Tensor, out_of: Tensor) -> Tensor:
    """The recurrence as one writes it, nothing laid out over time: a graph of T steps."""
    state, y = u.new_zeros(len(u), *rates.shape), []
    for u_t, step_t, into_t, out_of_t in zip(*(one.unbind(1) for one in (u, step, into, out_of)), strict=True):
        drive = (step_t * u_t).unsqueeze(-1) * into_t.unsqueeze(1)
        state = torch.exp(step_t.unsqueeze(-1) * rates) * state + drive
        y.append((state * out_of_t.unsqueeze(1)).sum(dim=-1))
    return torch.stack(y, dim=1)


def main() -> None:
    chosen = arguments(__doc__ or "")
    torch.manual_seed(chosen.seed)
    rows = []
    for B, T, D, N in SHAPES:
        rates = -torch.arange(1.0, N + 1).repeat(D, 1)
        u, step, into, out_of = (torch.randn(B, T, size) for size in (D, D, N, N))
        inputs = [one.requires_grad_() for one in (u, F.softplus(step - 3), rates, into, out_of)]
        upstream = torch.randn(B, T, D)

        def both(function, inputs=inputs, upstream=upstream):  # type: ignore[no-untyped-def]
            return torch.autograd.grad(function(*inputs), inputs, upstream)

        pairs = zip(both(selective_scan), both(loop), strict=True)
        largest = max(((a - b).abs().max() / b.abs().max()).item() for a, b in pairs)
        contenders = {"ours": lambda both=both: both(selective_scan), "loop": lambda both=both: both(loop)}
        rows.append(row(f"B {B} T {T} D {D} N {N}", interleaved(contenders, rounds=chosen.rounds)))
        rows[-1]["largest_gradient_difference"] = largest
    publish(
        "selective_scan", rows, chosen.threads, "forward + backward of the selective scan; target: loop / ours >= 3"
    )


if __name__ == "__main__":
    main()
