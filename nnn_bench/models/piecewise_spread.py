"""The basis of many numbers laid out over all weights, and the way back: what `dense_basis` multiplies by and pulls through.

spread  Phi[row, first + j, i] = l_j(t), zero elsewhere                 `(N, I)` to `(N, V, I)`
pulled  dx[row, i] = sum_j S l_j'(t) (dPhi[row, first + j, i] - dPhi[row, first, i])      `(N, V, I)` to `(N, I)`

The slopes of a link's polynomials add up to 0, so that what is taken off changes nothing; but where a link is constant nothing is
left, not even rounding, which an optimizer that looks at signs alone would take for a gradient.

Each link touches n of V places, and torch spends as long on finding them as on the products themselves. On a CPU, in float32 and
float64, compiled loops (numba) do it in passing: along the inputs of one row, so that the polynomials are made eight at a time.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnn_bench.models.pieces import Pieces
from nnn_bench.models.precision import compiled


def spread(pieces: Pieces, first: Tensor, t: Tensor) -> Tensor:
    """`first` and `t` `(N, I)` as `Pieces.located` gives them."""
    shape = (len(t), pieces.weights, t.shape[1])
    if compiled(t):
        found = t.new_empty(shape)
        _spread_kernel(first.numpy(), t.numpy(), *_constants(pieces, t), found.numpy())
        return found
    return t.new_zeros(shape).scatter_(1, _places(pieces, first), pieces.basis(t).transpose(1, 2))


def pulled(pieces: Pieces, first: Tensor, t: Tensor, gradient: Tensor) -> Tensor:
    """`gradient (N, V, I)` of what `spread` gave."""
    if compiled(t):
        found = torch.zeros_like(t)
        _pulled_kernel(first.numpy(), t.numpy(), *_constants(pieces, t), gradient.numpy(), found.numpy())
        return found.mul_(pieces.segments)
    taken = gradient.gather(1, _places(pieces, first))
    return ((taken - taken[:, :1]) * pieces.slopes(t).transpose(1, 2)).sum(1)


def _places(pieces: Pieces, first: Tensor) -> Tensor:
    """Numbers of the n weights of each of `(N, I)` numbers, `(N, n, I)`."""
    return first.unsqueeze(1) + torch.arange(pieces.nodes, device=first.device).unsqueeze(1)


def _constants(pieces: Pieces, t: Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
    """X_j and the scale of each polynomial."""
    dtype = t[:0].numpy().dtype
    return np.array(pieces.segment_nodes, dtype), np.array(pieces.scales, dtype)


@numba.njit(cache=True, nogil=True)
def _spread_kernel(
    first: NDArray[Any], t: NDArray[Any], nodes: NDArray[Any], scales: NDArray[Any], found: NDArray[Any]
) -> None:
    (N, I), n = t.shape, len(nodes)  # noqa: E741
    value = np.empty(I, t.dtype)
    for row in range(N):
        found[row] = 0
        for j in range(n):
            value[:] = scales[j]
            for m in range(n):
                if m != j:
                    for i in range(I):
                        value[i] *= t[row, i] - nodes[m]
            for i in range(I):
                found[row, first[row, i] + j, i] = value[i]


@numba.njit(cache=True, nogil=True)
def _pulled_kernel(
    first: NDArray[Any],
    t: NDArray[Any],
    nodes: NDArray[Any],
    scales: NDArray[Any],
    gradient: NDArray[Any],
    found: NDArray[Any],
) -> None:
    (N, I), n = t.shape, len(nodes)  # noqa: E741
    value = np.empty(I, t.dtype)
    for row in range(N):
        for j in range(1, n):
            for m in range(n):
                if m == j:
                    continue
                value[:] = scales[j]
                for p in range(n):
                    if p != j and p != m:
                        for i in range(I):
                            value[i] *= t[row, i] - nodes[p]
                for i in range(I):
                    here = first[row, i]
                    found[row, i] += value[i] * (gradient[row, here + j, i] - gradient[row, here, i])
