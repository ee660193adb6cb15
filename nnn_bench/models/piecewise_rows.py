"""A piecewise map as a weighted sum of rows of its weights: nothing is multiplied by zero, however many segments there are.

bag     y = sum_i sum_j l_j(t_i) W[first_i + j, i]                 rows of O numbers, n for each input
        dx_i = sum_j S l_j'(t_i) W[first_i + j, i] . dy;  dW[first_i + j, i] += l_j(t_i) dy
table   inputs out of K known numbers:  T[c, i] = sum_j l_j(t_c) W[first_c + j, i];  y = sum_i T[symbol_i, i]

The table is made once a call and serves all rows, which pays from about four rows a symbol on (K = 128, I = 16, O = 250, forward
and backward on one core: 2.7 ms by nodes and 4.0 by table with 256 rows, 4.3 and 3.4 with 1,000, 13 and 8.5 with 4,000); fewer
rows weigh their nodes one by one. It is made of sums, not of matrix products with the zeros between them.

Between forward and backward the inputs alone are kept. On a CPU, in float32 and float64, compiled loops (numba) walk over few
inputs at a time, so that their weights stay in the cache while all rows pass; elsewhere torch gathers rows block by block.
Half precision: places, bases and sums in float32.
"""

from __future__ import annotations

from typing import Any

import numba
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from nnn_bench.models.pieces import Pieces
from nnn_bench.models.precision import compiled, wide

#: Inputs whose weights are used by all rows before the next ones.
_INPUTS = 2
#: Rows for each known number from which on a table is made.
_ROWS_A_NUMBER = 4
#: Elements of one block of gathered rows, where loops are not compiled: 16 MiB in float32.
_BLOCK = 1 << 22


@torch.compiler.disable
def bag(x: Tensor, weight: Tensor, pieces: Pieces) -> Tensor:
    """`x (N, I)`, `weight (V, I, O)` to `(N, O)`."""
    y: Tensor = _Bag.apply(x, weight, pieces)
    return y


@torch.compiler.disable
def table(symbols: Tensor, first: Tensor, basis: Tensor, weight: Tensor) -> Tensor:
    """`symbols (N, I)` out of K, each with `first (K,)` and `basis (K, n)` on `weight (V, I, O)`, to `(N, O)`."""
    if symbols.device.type == "cpu" and symbols.numel() and not 0 <= symbols.min() <= symbols.max() < len(first):
        raise IndexError(f"symbols from {symbols.min()} to {symbols.max()}, of which {len(first)} are known")
    y: Tensor = _Table.apply(symbols, first, basis, weight)
    return y


class _Bag(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, pieces: Pieces) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.pieces = pieces
        first, t = pieces.located(wide(x))
        return summed(first, pieces.basis(t), wide(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), pieces = ctx.saved_tensors, ctx.pieces
        of_x, of_weight = ctx.needs_input_grad[:2]
        first, t = pieces.located(wide(x))
        gradient, weights = gradients[0].to(wide(weight[:0]).dtype).contiguous(), wide(weight)
        x_gradient, weight_gradient = None, None
        if of_x:
            of_nodes = dots(first, pieces.nodes, weights, gradient)
            # less the first of them, as in `piecewise_spread.pulled`: a constant link pulls at nothing
            x_gradient = ((of_nodes - of_nodes[..., :1]) * pieces.slopes(t)).sum(-1).to(x.dtype)
        if of_weight:
            weight_gradient = added(first, pieces.basis(t), weights.shape, gradient).to(weight.dtype)
        return x_gradient, weight_gradient, None


class _Table(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, symbols: Tensor, first: Tensor, basis: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(symbols, first, basis)
        ctx.shape, ctx.dtype = weight.shape, weight.dtype
        rows = wide(weight)
        if len(symbols) < _ROWS_A_NUMBER * len(first):
            return summed(first[symbols], basis[symbols], rows)
        # a link's rows of O numbers lie beside those of all other inputs: one input with rows of I O
        known = summed(first.unsqueeze(1), basis.unsqueeze(1), rows.flatten(1).unsqueeze(1)).unflatten(
            1, weight.shape[1:]
        )
        return summed(symbols, known.new_ones(*symbols.shape, 1), known)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        symbols, first, basis = ctx.saved_tensors
        gradient = gradients[0].to(basis.dtype).contiguous()
        if len(symbols) < _ROWS_A_NUMBER * len(first):
            return None, None, None, added(first[symbols], basis[symbols], ctx.shape, gradient).to(ctx.dtype)
        known = (len(first), *ctx.shape[1:])
        of_known = added(symbols, gradient.new_ones(*symbols.shape, 1), known, gradient).flatten(1)
        rows = (ctx.shape[0], 1, of_known.shape[1])
        of_weight = added(first.unsqueeze(1), basis.unsqueeze(1), rows, of_known).view(ctx.shape)
        return None, None, None, of_weight.to(ctx.dtype)


def summed(first: Tensor, basis: Tensor, weight: Tensor) -> Tensor:
    """sum_i sum_j basis[., i, j] weight[first[., i] + j, i]: `first (N, I)`, `basis (N, I, n)` to `(N, O)`."""
    if compiled(weight):
        y = weight.new_zeros(len(first), weight.shape[2])
        _summed_kernel(first.contiguous().numpy(), basis.numpy(), weight.detach().contiguous().numpy(), y.numpy())
        return y
    flat = _flat(first, basis.shape[2])
    return F.embedding_bag(flat, weight.flatten(0, 1), per_sample_weights=basis.flatten(1), mode="sum")


def dots(first: Tensor, nodes: int, weight: Tensor, gradient: Tensor) -> Tensor:
    """weight[first[., i] + j, i] . gradient[.], `(N, I, n)`."""
    found = weight.new_empty(*first.shape, nodes)
    if compiled(weight):
        _dots_kernel(first.contiguous().numpy(), weight.detach().contiguous().numpy(), gradient.numpy(), found.numpy())
        return found
    rows = weight.flatten(0, 1)
    for some in _blocks(first, nodes * weight.shape[2]):
        taken = rows[_flat(first[some], nodes)].view(*found[some].shape, -1)
        found[some] = (taken * gradient[some, None, None]).sum(-1)
    return found


def added(first: Tensor, basis: Tensor, shape: tuple[int, ...], gradient: Tensor) -> Tensor:
    """What the weights of `shape (V, I, O)` get: basis[., i, j] gradient[.], added up where it belongs."""
    found = gradient.new_zeros(shape)
    if compiled(gradient):
        _added_kernel(first.contiguous().numpy(), basis.numpy(), gradient.numpy(), found.numpy())
        return found
    for some in _blocks(first, basis.shape[2] * shape[2]):
        parts = basis[some].unsqueeze(-1) * gradient[some, None, None]  # (n, I, nodes, O)
        found.flatten(0, 1).index_add_(0, _flat(first[some], basis.shape[2]).flatten(), parts.flatten(0, 2))
    return found


def _flat(first: Tensor, nodes: int) -> Tensor:
    """Numbers of the rows of `weight (V I, O)`, `(N, I n)`."""
    I = first.shape[1]  # noqa: E741
    places = (first.unsqueeze(-1) + torch.arange(nodes, device=first.device)) * I
    return (places + torch.arange(I, device=first.device).unsqueeze(-1)).flatten(1)


def _blocks(first: Tensor, elements: int) -> list[slice]:
    """Rows in blocks of about `_BLOCK` elements, where each input takes `elements`."""
    rows = max(1, _BLOCK // (first.shape[1] * elements))
    return [slice(start, start + rows) for start in range(0, len(first), rows)]


@numba.njit(cache=True, nogil=True)
def _summed_kernel(first: NDArray[Any], basis: NDArray[Any], weight: NDArray[Any], y: NDArray[Any]) -> None:
    (N, I, n), O = basis.shape, y.shape[1]  # noqa: E741
    for start in range(0, I, _INPUTS):
        for row in range(N):
            for i in range(start, min(start + _INPUTS, I)):
                for j in range(n):
                    share, v = basis[row, i, j], first[row, i] + j
                    for o in range(O):
                        y[row, o] += share * weight[v, i, o]


# sums in any order: a sum in a given one cannot be made eight at a time
@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _dots_kernel(first: NDArray[Any], weight: NDArray[Any], gradient: NDArray[Any], found: NDArray[Any]) -> None:
    (N, I, n), O = found.shape, gradient.shape[1]  # noqa: E741
    for start in range(0, I, _INPUTS):
        for row in range(N):
            for i in range(start, min(start + _INPUTS, I)):
                for j in range(n):
                    total, v = found.dtype.type(0), first[row, i] + j
                    for o in range(O):
                        total += weight[v, i, o] * gradient[row, o]
                    found[row, i, j] = total


@numba.njit(cache=True, nogil=True)
def _added_kernel(first: NDArray[Any], basis: NDArray[Any], gradient: NDArray[Any], found: NDArray[Any]) -> None:
    (N, I, n), O = basis.shape, gradient.shape[1]  # noqa: E741
    for start in range(0, I, _INPUTS):
        for row in range(N):
            for i in range(start, min(start + _INPUTS, I)):
                for j in range(n):
                    share, v = basis[row, i, j], first[row, i] + j
                    for o in range(O):
                        found[v, i, o] += share * gradient[row, o]
