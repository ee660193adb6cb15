"""The linear recurrence h_t = a_t h_{t-1} + x_t, h_{-1} = 0, with its exact backward pass.

Backward, with incoming gradient g: D_t = g_t + a_{t+1} D_{t+1}; dx_t = D_t; da_t = D_t h_{t-1}. Both passes run in float32 or
wider. Two algorithms give the same function; which one runs depends on the device alone:

- CPU: one compiled loop over the memory as it lies (numba), bit-equal to the step-by-step loop in eager torch.
- elsewhere: blocks of sixteen positions advance together, then their ends are chained, so that a device sees
  T / 16 + 16 launches in place of T. No division by a running product takes place, so nothing underflows.
"""

from __future__ import annotations

from typing import Any

import numba
import torch
from numpy.typing import NDArray
from torch import Tensor

_BLOCK = 16


@torch.compiler.disable
def linear_recurrence(decay: Tensor, drive: Tensor) -> Tensor:
    """All states `h (B, T, D)` of the recurrence with `decay (B, T, D)` and `drive (B, T, D)`.

    Half-precision inputs are widened to float32; the result stays wide. A compiled model calls it as it is.
    """
    wide = torch.promote_types(decay.dtype, torch.float32)
    states: Tensor = _Recurrence.apply(decay.to(wide), drive.to(wide))
    return states


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, decay: Tensor, drive: Tensor) -> Tensor:
        if decay.device.type == "cpu":
            decay, states = decay.contiguous(), torch.empty_like(drive, memory_format=torch.contiguous_format)
            _forward_kernel(decay.detach().numpy(), drive.detach().contiguous().numpy(), states.numpy())
        else:
            states = _blocked(decay, drive)
        ctx.save_for_backward(decay, states)
        return states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        decay, states = ctx.saved_tensors
        [gradient] = gradients
        if decay.device.type == "cpu":
            decay_gradient, drive_gradient = torch.empty_like(decay), torch.empty_like(decay)
            _backward_kernel(
                decay.numpy(),
                states.numpy(),
                gradient.contiguous().numpy(),
                decay_gradient.numpy(),
                drive_gradient.numpy(),
            )
            return decay_gradient, drive_gradient
        return _blocked_backward(decay, states, gradient)


@numba.njit(cache=True, nogil=True)
def _forward_kernel(decay: NDArray[Any], drive: NDArray[Any], states: NDArray[Any]) -> None:
    B, T, D = decay.shape
    for b in range(B):
        for d in range(D):
            states[b, 0, d] = drive[b, 0, d]
        for t in range(1, T):
            for d in range(D):
                states[b, t, d] = decay[b, t, d] * states[b, t - 1, d] + drive[b, t, d]


@numba.njit(cache=True, nogil=True)
def _backward_kernel(
    decay: NDArray[Any],
    states: NDArray[Any],
    gradient: NDArray[Any],
    decay_gradient: NDArray[Any],
    drive_gradient: NDArray[Any],
) -> None:
    B, T, D = decay.shape
    for b in range(B):
        for d in range(D):
            drive_gradient[b, T - 1, d] = gradient[b, T - 1, d]
            decay_gradient[b, 0, d] = 0.0
        for t in range(T - 1, 0, -1):
            for d in range(D):
                decay_gradient[b, t, d] = drive_gradient[b, t, d] * states[b, t - 1, d]
                drive_gradient[b, t - 1, d] = gradient[b, t - 1, d] + decay[b, t, d] * drive_gradient[b, t, d]


def _blocked(decay: Tensor, drive: Tensor) -> Tensor:
    """The recurrence in blocks: a scan inside all blocks at once, one over their ends, one fused correction."""
    B, T, D = decay.shape
    missing = -T % _BLOCK
    a = torch.nn.functional.pad(decay, (0, 0, 0, missing)).view(B, -1, _BLOCK, D).unbind(2)
    x = torch.nn.functional.pad(drive, (0, 0, 0, missing)).view(B, -1, _BLOCK, D).unbind(2)
    states, products = [x[0]], [a[0]]
    for a_t, x_t in zip(a[1:], x[1:], strict=True):
        states.append(torch.addcmul(x_t, a_t, states[-1]))
        products.append(a_t * products[-1])
    ends = [states[-1][:, 0]]
    for block in range(1, states[-1].shape[1]):
        ends.append(torch.addcmul(states[-1][:, block], products[-1][:, block], ends[-1]))
    carried = torch.stack([torch.zeros_like(ends[0]), *ends[:-1]], dim=1).unsqueeze(2)  # (B, blocks, 1, D)
    whole = torch.addcmul(torch.stack(states, dim=2), torch.stack(products, dim=2), carried)
    return whole.view(B, T + missing, D)[:, :T]


def _blocked_backward(decay: Tensor, states: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of `decay` and `drive`: the same recurrence backwards in time, with the decay of the position after."""
    later = torch.cat([torch.zeros_like(decay[:, :1]), decay[:, 1:].flip(1)], dim=1)
    drive_gradient = _blocked(later, gradient.flip(1)).flip(1)
    before = torch.cat([torch.zeros_like(states[:, :1]), states[:, :-1]], dim=1)
    return drive_gradient * before, drive_gradient
