"""The choice of one of two computations per unit, forward and backward, in little more than the three products it needs.

d = (S_1 - S_0) x + s_1 - s_0 (N, O);  v = W x + b (N, 2, O);  y = v_1 where d + noise > 0, else v_0;  p = sigmoid(d)
dd = p (1 - p) (v_1 - v_0) dy                       straight_through, identical_look
dd = ([1 was taken] - p) y dy                       switch
dv_k = [k was taken] dy;  dS_1 = dd^T x = -dS_0;  dx = W^T dv (+ (S_1 - S_0)^T dd, unless identical_look)

Only the difference of the two logits matters, so there are three products of the size of one linear map and not four, each way.
What is done element by element is one pass each way, compiled on the CPU (numba), in torch elsewhere; what multiplies dy in dd is
known in the forward pass and is kept in place of p, v_0 and v_1.

Source: the equations of `selection_kernels.py` for K = 2, which is the same function; the algorithm is ours.
"""

from __future__ import annotations

from typing import Any

import numba
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from nnn_bench.models.precision import compiled, wide
from nnn_bench.models.selection_kernels import How, Selected, as_autocast, gumbel_like


def select_of_two(
    x: Tensor, weight: Tensor, bias: Tensor, selector: Tensor, selector_bias: Tensor, how: How
) -> Selected:
    """`x (N, I)`, `weight` and `selector (2, O, I)`, biases `(2 O,)`."""
    return Selected(*_Two.apply(*as_autocast([x, weight, bias, selector, selector_bias]), how))


class _Two(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, selector: Tensor, selector_bias: Tensor, how: How
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        with torch.autocast(x.device.type, enabled=False):
            values = torch.addmm(bias, x, weight.flatten(0, 1).T)  # (N, 2 O)
            first, second = selector_bias.chunk(2)
            difference = torch.addmm(second - first, x, (selector[1] - selector[0]).T)  # (N, O)
        noisy = difference
        if how.temperature is not None:
            noisy = difference + how.temperature * (gumbel_like(difference) - gumbel_like(difference))
        choice = noisy <= 0 if how.swapped else noisy > 0  # whether the second is taken
        share = torch.sigmoid(wide(difference))
        frequency = shares = doubt = None
        if how.balanced:
            frequency, shares = _both(choice.to(share.dtype).mean()), _both(share.mean())
            doubt = torch.addcmul(share, share, share, value=-1)
            ctx.mark_non_differentiable(frequency)
        y, slope = _take(values, share, choice, how.estimator == "switch")
        ctx.save_for_backward(x, weight, selector, choice, slope, doubt)
        ctx.how = how
        return y, frequency, shares

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, selector, choice, slope, doubt = ctx.saved_tensors
        gradient, _, of_shares = gradients
        to_values, to_difference = _give(gradient.contiguous(), slope, choice)
        if doubt is not None and of_shares is not None:
            to_difference.add_(doubt.mul_((of_shares[1] - of_shares[0]) / doubt.numel()))
        x_gradient = None
        if ctx.needs_input_grad[0]:
            x_gradient = to_values @ weight.flatten(0, 1)
            if ctx.how.estimator != "identical_look":
                x_gradient = torch.addmm(x_gradient, to_difference, selector[1] - selector[0])
        to_second, bias_to_second = to_difference.T @ x, to_difference.sum(0)
        return (
            x_gradient,
            (to_values.T @ x).view_as(weight),
            to_values.sum(0),
            torch.stack([-to_second, to_second]),
            torch.cat([-bias_to_second, bias_to_second]),
            None,
        )


def _both(second: Tensor) -> Tensor:
    return torch.stack([1 - second, second])


def _take(values: Tensor, share: Tensor, choice: Tensor, switch: bool) -> tuple[Tensor, Tensor]:
    """The chosen values `(N, O)`, and by what the gradient of each is multiplied for that of d; may overwrite `share`."""
    if compiled(values):
        y = torch.empty_like(share)
        _take_kernel(values.numpy(), share.numpy(), choice.numpy(), y.numpy(), switch)
        return y, share
    first, second = values.chunk(2, dim=1)
    y = torch.where(choice, second, first)
    slope = (
        (choice.to(share.dtype) - share) * y
        if switch
        else torch.addcmul(share, share, share, value=-1) * (second - first)
    )
    return y, slope.to(y.dtype)


def _give(gradient: Tensor, slope: Tensor, choice: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of both computations' values `(N, 2 O)` and of d `(N, O)`."""
    N, O = gradient.shape  # noqa: E741
    to_values = gradient.new_empty(N, 2 * O)
    if compiled(gradient):
        to_difference = torch.empty_like(gradient)
        _give_kernel(gradient.numpy(), slope.numpy(), choice.numpy(), to_values.numpy(), to_difference.numpy())
        return to_values, to_difference
    torch.mul(gradient, choice, out=to_values[:, O:])
    torch.mul(gradient, ~choice, out=to_values[:, :O])
    return to_values, slope * gradient


@numba.njit(cache=True, nogil=True)
def _take_kernel(
    values: NDArray[Any], share: NDArray[Any], choice: NDArray[Any], y: NDArray[Any], switch: bool
) -> None:
    N, O = share.shape  # noqa: E741
    for n in range(N):
        for o in range(O):
            second = choice[n, o]
            y[n, o] = values[n, O + o] if second else values[n, o]
            if switch:
                share[n, o] = (second - share[n, o]) * y[n, o]
            else:
                share[n, o] = (share[n, o] - share[n, o] * share[n, o]) * (values[n, O + o] - values[n, o])


@numba.njit(cache=True, nogil=True)
def _give_kernel(
    gradient: NDArray[Any],
    slope: NDArray[Any],
    choice: NDArray[Any],
    to_values: NDArray[Any],
    to_difference: NDArray[Any],
) -> None:
    N, O = gradient.shape  # noqa: E741
    for n in range(N):
        for o in range(O):
            to_values[n, o] = 0 if choice[n, o] else gradient[n, o]
            to_values[n, O + o] = gradient[n, o] if choice[n, o] else 0
            to_difference[n, o] = slope[n, o] * gradient[n, o]
