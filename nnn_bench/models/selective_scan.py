"""The selective scan of Mamba: a linear recurrence whose decay, input and output maps follow the data, with its backward pass.

s_t = exp(Dt_t A) s_{t-1} + (Dt_t u_t) B_t^T,  s_{-1} = 0         s (D, N): each channel d has N states that decay at rates A[d]
y_t = s_t C_t                                                     u, Dt, y (B, T, D); A (D, N); B, C (B, T, N)

Backward, with incoming gradient g, from the end:
G_t = g_t C_t^T + exp(Dt_{t+1} A) G_{t+1}                         what reaches s_t
E_t = G_t exp(Dt_t A) s_{t-1}                                     what reaches the exponent Dt_t A
dC_t = s_t^T g_t;  dB_t = G_t^T (Dt_t u_t);  du_t = Dt_t (G_t B_t);  dDt_t = u_t (G_t B_t) + sum_n E_t A;  dA = sum_t E_t Dt_t

Both passes run in float32 or wider. Source: Gu & Dao 2023, arXiv 2312.00752. Which algorithm runs depends on the device alone:

- CPU: compiled loops (numba). States are never laid out over time: of every sixteen positions the state before the first is
  kept, and the backward pass makes the fifteen others again in memory small enough for the cache. Channels lie innermost, so that
  the processor takes several at once; for that the exponential of floats is our own (`exponential.py`).
- elsewhere: decays and drives are laid out, `(B, T, D N)`, for the blocks of `recurrence.py`.
"""

from __future__ import annotations

from typing import Any

import numba
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnn_bench.models.exponential import exponential
from nnn_bench.models.recurrence import linear_recurrence

_BLOCK = 16


@torch.compiler.disable
def selective_scan(u: Tensor, step: Tensor, rates: Tensor, into: Tensor, out_of: Tensor) -> Tensor:
    """`y (B, T, D)` from `u`, `step` (Dt) of that shape, `rates (D, N)` (A), `into` and `out_of (B, T, N)` (B and C).

    Half-precision inputs are widened to float32; the result stays wide. A compiled model calls it as it is.
    """
    given = u, step, rates, into, out_of
    wide = torch.float32
    for one in given:
        wide = torch.promote_types(wide, one.dtype)
    u, step, rates, into, out_of = (one.to(wide) for one in given)
    if u.device.type != "cpu":
        return _laid_out(u, step, rates, into, out_of)
    y: Tensor = _Scan.apply(u, step, rates, into, out_of)
    return y


def selective_step(u: Tensor, step: Tensor, rates: Tensor, into: Tensor, out_of: Tensor, state: Tensor) -> Any:
    """One position, without T: `y (B, D)` and the state `(B, D, N)` after it."""
    decay = torch.exp(step.unsqueeze(-1) * rates)
    state = decay * state + (step * u).unsqueeze(-1) * into.unsqueeze(1)
    return (state * out_of.unsqueeze(1)).sum(dim=-1), state


def _laid_out(u: Tensor, step: Tensor, rates: Tensor, into: Tensor, out_of: Tensor) -> Tensor:
    decay = torch.exp(step.unsqueeze(-1) * rates)  # (B, T, D, N)
    drive = (step * u).unsqueeze(-1) * into.unsqueeze(2)
    states = linear_recurrence(decay.flatten(2), drive.flatten(2)).view_as(decay)
    return (states * out_of.unsqueeze(2)).sum(dim=-1)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, step: Tensor, rates: Tensor, into: Tensor, out_of: Tensor) -> Tensor:
        B, T, D = u.shape
        N = rates.shape[1]
        u, step, rates = u.detach().contiguous(), step.detach().contiguous(), rates.detach().t().contiguous()
        into, out_of = into.detach().contiguous(), out_of.detach().contiguous()
        y, kept = u.new_empty(B, T, D), u.new_empty(B, -(-T // _BLOCK), N, D)
        _forward_kernel(
            u.numpy(),
            step.numpy(),
            rates.numpy(),
            into.numpy(),
            out_of.numpy(),
            torch.empty_like(rates).numpy(),
            u.new_empty(D).numpy(),
            y.numpy(),
            kept.numpy(),
        )
        ctx.save_for_backward(u, step, rates, into, out_of, kept)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        u, step, rates, into, out_of, kept = ctx.saved_tensors
        [gradient] = gradients
        D = u.shape[2]
        to_u, to_step, to_into, to_out_of = (torch.empty_like(one) for one in (u, step, into, out_of))
        to_rates = rates.new_empty(len(u), *rates.shape)  # per row of the batch, so that no sum gets long
        _backward_kernel(
            u.numpy(),
            step.numpy(),
            rates.numpy(),
            into.numpy(),
            out_of.numpy(),
            kept.numpy(),
            gradient.contiguous().numpy(),
            u.new_empty(_BLOCK, *rates.shape).numpy(),
            u.new_empty(_BLOCK + 1, *rates.shape).numpy(),
            u.new_empty(_BLOCK, D).numpy(),
            torch.empty_like(rates).numpy(),
            u.new_empty(D).numpy(),
            to_u.numpy(),
            to_step.numpy(),
            to_rates.numpy(),
            to_into.numpy(),
            to_out_of.numpy(),
        )
        return to_u, to_step, to_rates.sum(dim=0).t(), to_into, to_out_of


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def _forward_kernel(
    u: NDArray[Any],
    step: NDArray[Any],
    rates: NDArray[Any],
    into: NDArray[Any],
    out_of: NDArray[Any],
    state: NDArray[Any],
    drive: NDArray[Any],
    y: NDArray[Any],
    kept: NDArray[Any],
) -> None:
    """`state (N, D)` and `drive (D,)` are memory to work in."""
    B, T, D = u.shape
    N = rates.shape[0]
    for b in range(B):
        for k in range(N):
            for d in range(D):
                state[k, d] = 0
        for t in range(T):
            if t % _BLOCK == 0:
                for k in range(N):
                    for d in range(D):
                        kept[b, t // _BLOCK, k, d] = state[k, d]
            for d in range(D):
                drive[d] = step[b, t, d] * u[b, t, d]
                y[b, t, d] = 0
            for k in range(N):
                write, read = into[b, t, k], out_of[b, t, k]
                for d in range(D):
                    new = exponential(step[b, t, d] * rates[k, d]) * state[k, d] + drive[d] * write
                    state[k, d] = new
                    y[b, t, d] += new * read


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def _backward_kernel(
    u: NDArray[Any],
    step: NDArray[Any],
    rates: NDArray[Any],
    into: NDArray[Any],
    out_of: NDArray[Any],
    kept: NDArray[Any],
    gradient: NDArray[Any],
    decays: NDArray[Any],
    states: NDArray[Any],
    drive: NDArray[Any],
    arriving: NDArray[Any],
    to_drive: NDArray[Any],
    to_u: NDArray[Any],
    to_step: NDArray[Any],
    to_rates: NDArray[Any],
    to_into: NDArray[Any],
    to_out_of: NDArray[Any],
) -> None:
    """Memory to work in: `decays (16, N, D)`, `states (17, N, D)`, `drive (16, D)`, `arriving (N, D)` and `to_drive (D,)`."""
    B, T, D = u.shape
    N = rates.shape[0]
    for b in range(B):
        for k in range(N):
            for d in range(D):
                arriving[k, d] = 0
                to_rates[b, k, d] = 0
        for block in range(kept.shape[1] - 1, -1, -1):
            first = block * _BLOCK
            last = min(first + _BLOCK, T)
            for k in range(N):
                for d in range(D):
                    states[0, k, d] = kept[b, block, k, d]
            for t in range(first, last):  # once more what the forward pass went through
                i = t - first
                for d in range(D):
                    drive[i, d] = step[b, t, d] * u[b, t, d]
                for k in range(N):
                    write = into[b, t, k]
                    for d in range(D):
                        decay = exponential(step[b, t, d] * rates[k, d])
                        decays[i, k, d] = decay
                        states[i + 1, k, d] = decay * states[i, k, d] + drive[i, d] * write
            for t in range(last - 1, first - 1, -1):
                i = t - first
                for d in range(D):
                    to_drive[d] = 0
                    to_step[b, t, d] = 0
                for k in range(N):
                    write, read = into[b, t, k], out_of[b, t, k]
                    to_write = to_read = write * 0  # a zero of this type
                    for d in range(D):
                        here = arriving[k, d] + gradient[b, t, d] * read
                        to_read += gradient[b, t, d] * states[i + 1, k, d]
                        to_write += here * drive[i, d]
                        to_drive[d] += here * write
                        before = here * decays[i, k, d]
                        to_exponent = before * states[i, k, d]
                        to_step[b, t, d] += to_exponent * rates[k, d]
                        to_rates[b, k, d] += to_exponent * step[b, t, d]
                        arriving[k, d] = before
                    to_into[b, t, k] = to_write
                    to_out_of[b, t, k] = to_read
                for d in range(D):
                    to_u[b, t, d] = to_drive[d] * step[b, t, d]
                    to_step[b, t, d] += to_drive[d] * u[b, t, d]
