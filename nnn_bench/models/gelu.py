"""GELU in its tanh form, both passes at once: the forward pass finds the slope too, and the backward pass is a product.

a = 2 sqrt(2 / pi) x (1 + 0.044715 x^2);  s = 1 / (1 + exp(-a));  y = x s = x (1 + tanh(a / 2)) / 2
dy/dx = s + y (1 - s) da/dx,  da/dx = 2 sqrt(2 / pi) (1 + 3 * 0.044715 x^2)

One exponential and one division for both, where the library's two passes each take a hyperbolic tangent. Kept between them is the
slope, as large as the x the library keeps. Source: Hendrycks & Gimpel 2016, arXiv 1606.08415; the algorithm is ours.

- CPU, float32, up to three threads: a compiled loop (numba) on one thread, a third to a quarter of the library's time.
- elsewhere, and where the network is compiled as a whole: the library.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from nnn_bench.models.exponential import exponential

_THREADS = 3  # of the library, from which on it is quicker than one thread of ours
_ONE = np.float32(1)
_CUBE, _THREE_CUBES = np.float32(0.044715), np.float32(3 * 0.044715)
_INNER = np.float32(2 * math.sqrt(2 / math.pi))


def gelu(x: Tensor) -> Tensor:
    """Of every number in `x`, whatever its shape."""
    ours = x.device.type == "cpu" and x.dtype == torch.float32 and torch.get_num_threads() <= _THREADS
    if not ours or torch.compiler.is_compiling():
        return F.gelu(x, approximate="tanh")
    y: Tensor = _Gelu.apply(x)
    return y


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        y, slope = torch.empty_like(x), torch.empty_like(x)
        _kernel(x.detach().view(-1).numpy(), y.view(-1).numpy(), slope.view(-1).numpy())
        ctx.save_for_backward(slope)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        [slope], [gradient] = ctx.saved_tensors, gradients
        return gradient * slope


@numba.njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")  # a test for zero would keep it scalar
def _kernel(x: NDArray[Any], y: NDArray[Any], slope: NDArray[Any]) -> None:
    for i in range(x.shape[0]):
        square = x[i] * x[i]
        s = _ONE / (_ONE + exponential(-_INNER * x[i] * (_ONE + _CUBE * square)))
        y[i] = x[i] * s
        slope[i] = s + y[i] * (_ONE - s) * _INNER * (_ONE + _THREE_CUBES * square)
