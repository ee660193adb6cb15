"""A piecewise map as a matrix product: by its basis spread over all weights, or, for two linear pieces, in closed form.

dense_basis   Phi (N, V I), n of each V values not zero;  y = Phi W
              dPhi = dy W^T;  dx = sum_j dPhi[first + j] S l_j'(t);  dW = Phi^T dy
closed_form   continuous, n = 2, S = 2: the weights of a link count max(0, -x), 1 - |x| and max(0, x), outside the domain too.
              y = sum_i w_1i + [max(0, x), max(0, -x)] [w_2 - w_1; w_0 - w_1]
              dw_2, dw_0: as of a dense map of 2 I inputs;  dw_1 = sum_N dy - dw_2 - dw_0

so that a layer of two linear pieces is a dense one of twice as many inputs (CReLU) with I biases where one would do.

Rows go through in blocks; between forward and backward x alone is kept, and each block's factor is made again: it is a small
part of the work, and V times as large as x. Half precision: places and bases are computed in float32, products in half.
Source: the identity is ours; the published layer gathers a copy of its weights for every row.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nnn_bench.models.pieces import Pieces
from nnn_bench.models.piecewise_spread import pulled, spread
from nnn_bench.models.precision import product_dtype, wide

#: Elements of one block of a spread basis: 2 MiB in float32.
_BLOCK = 1 << 19
_LEAST_ROWS = 64


@torch.compiler.disable
def product(x: Tensor, weight: Tensor, pieces: Pieces) -> Tensor:
    """`x (N, I)`, `weight (V, I, O)` to `(N, O)`, by `dense_basis`."""
    y: Tensor = _DenseBasis.apply(x, weight, pieces, product_dtype(weight))
    return y


@torch.compiler.disable
def closed_form(x: Tensor, weight: Tensor) -> Tensor:
    """The same for two linear pieces that meet in the middle: `weight (3, I, O)`."""
    y: Tensor = _ClosedForm.apply(x, weight, product_dtype(weight))
    return y


class _DenseBasis(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, pieces: Pieces, dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.pieces, ctx.dtype = pieces, dtype
        factor = weight.to(dtype).flatten(0, 1)
        y = x.new_empty(len(x), weight.shape[2], dtype=dtype)
        with torch.autocast(x.device.type, enabled=False):
            for rows in _blocks(x, pieces.weights):
                first, t = pieces.located(wide(x[rows]))
                torch.mm(spread(pieces, first, t).flatten(1).to(dtype), factor, out=y[rows])
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), pieces = ctx.saved_tensors, ctx.pieces
        gradient = gradients[0].contiguous()
        of_x, of_weight = ctx.needs_input_grad[:2]
        factor = weight.to(ctx.dtype).flatten(0, 1)
        x_gradient = torch.empty_like(x) if of_x else None
        weight_gradient = wide(torch.zeros_like(factor)) if of_weight else None  # a sum over many blocks
        with torch.autocast(x.device.type, enabled=False):
            for rows in _blocks(x, pieces.weights):
                first, t = pieces.located(wide(x[rows]))
                if weight_gradient is not None:
                    basis = spread(pieces, first, t).flatten(1).to(ctx.dtype)
                    weight_gradient += basis.T @ gradient[rows]
                if x_gradient is not None:
                    back = wide(gradient[rows] @ factor.T).unflatten(1, weight.shape[:2])  # (n, V, I)
                    x_gradient[rows] = pulled(pieces, first, t, back).to(x.dtype)
        if weight_gradient is not None:
            weight_gradient = weight_gradient.view_as(weight).to(weight.dtype)
        return x_gradient, weight_gradient, None, None


class _ClosedForm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dtype = dtype
        bias = weight[1].sum(0).to(dtype)
        with torch.autocast(x.device.type, enabled=False):
            return torch.addmm(bias, _halves(x).to(dtype), _factor(weight).to(dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), [gradient] = ctx.saved_tensors, gradients
        of_x, of_weight = ctx.needs_input_grad[:2]
        x_gradient, weight_gradient = None, None
        with torch.autocast(x.device.type, enabled=False):
            if of_x:
                above, below = (gradient @ _factor(weight).to(ctx.dtype).T).chunk(2, dim=1)
                x_gradient = torch.where(x >= 0, above, below.neg_()).to(x.dtype)
            if of_weight:
                weight_gradient = torch.empty_like(weight)
                above, below = (_halves(x).to(ctx.dtype).T @ gradient).chunk(2, dim=0)
                weight_gradient[2], weight_gradient[0] = above, below
                weight_gradient[1] = gradient.sum(0, dtype=weight.dtype) - weight_gradient[2] - weight_gradient[0]
        return x_gradient, weight_gradient, None


def _halves(x: Tensor) -> Tensor:
    """max(0, x) and max(0, -x), `(N, I) -> (N, 2 I)`."""
    positive = x.clamp(min=0)
    return torch.cat([positive, positive - x], dim=1)


def _factor(weight: Tensor) -> Tensor:
    """What `_halves` are multiplied by, `(2 I, O)`."""
    return torch.cat([weight[2] - weight[1], weight[0] - weight[1]])


def _blocks(x: Tensor, weights: int) -> list[slice]:
    """Rows in blocks of about `_BLOCK` elements of the spread basis."""
    rows = max(_LEAST_ROWS, _BLOCK // (weights * x.shape[1]))
    return [slice(start, start + rows) for start in range(0, len(x), rows)]
