"""The choice of one of K computations, forward and backward, without keeping what all of them said.

l = S x + s (N, K, U);  v = W x + b (N, K, O);  k* = argmax_k (l + noise);  y = v_{k*} (N, O);  p = softmax_k(l)
U = O: each unit chooses for itself.  U = 1: one choice for all units.
t_k = sum over the units of one choice of v_k dy                      what computation k would do to a linear loss
dl_k = p_k (t_k - sum_j p_j t_j)                                      straight_through, identical_look
dl_k = ([k = k*] - p_k) t_{k*}                                        switch: the gradient of y p_{k*} / stop(p_{k*})
dv_k = [k = k*] dy;  dx = W^T dv (+ S^T dl, unless identical_look)

Tokens go through in blocks that are small enough to hold all K logits and values of each. Between forward and backward only x
and the choice are kept (and y, for switch), and each block is computed again: the memory of K linear maps is that of one, for a
third more work. Blocks of tokens, and not one computation after the other, because their products are larger and a block has
all it needs for its softmax. `selection_of_two.py` is the same function for K = 2, U = O, where nothing needs to be done twice.

Source: the estimators as in `selecting.py`; the algorithm is ours. Half precision: shares are computed in float32.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from nnn_bench.models.precision import compiled, product_dtype, wide

Estimator = Literal["straight_through", "identical_look", "switch"]

#: Logits, or values, of one block: 8 MiB in float32. Half of it is slower at K = 75, more of it is not faster.
_BLOCK = 1 << 21
_LEAST_ROWS = 16


class How(NamedTuple):
    """`temperature` of the noise on the choice (None: no noise); `swapped` takes the second best; `balanced` asks how evenly."""

    estimator: Estimator
    temperature: Tensor | None = None
    swapped: bool = False
    balanced: bool = False


class Selected(NamedTuple):
    """`y (N, O)`, and where asked for the share of choices `(K,)` that fall on each computation and their mean p `(K,)`."""

    y: Tensor
    frequency: Tensor | None
    shares: Tensor | None


def select_in_blocks(
    x: Tensor, weight: Tensor, bias: Tensor, selector: Tensor, selector_bias: Tensor, how: How
) -> Selected:
    """`x (N, I)`, `weight (K, O, I)`, `bias (K O,)`, `selector (K, U, I)`, `selector_bias (K U,)`."""
    return Selected(*_Blocks.apply(*as_autocast([x, weight, bias, selector, selector_bias]), how))


def choose(logits: Tensor, swapped: bool) -> Tensor:
    """Index of the largest logit along dimension -2, kept; of the second largest where `swapped`. Ties go to the first."""
    best = logits.argmax(dim=-2, keepdim=True)
    return logits.scatter(-2, best, -torch.inf).argmax(dim=-2, keepdim=True) if swapped else best


def gumbel_like(logits: Tensor) -> Tensor:
    """Noise that makes the largest of `logits + noise` a draw from their softmax."""
    return torch.empty_like(logits, dtype=wide(logits[:0]).dtype).exponential_().log_().neg_()


def as_autocast(tensors: list[Tensor]) -> list[Tensor]:
    """The factors of a product as autocast would make them: a function of our own has to do it by itself."""
    return [tensor.to(product_dtype(tensor)) for tensor in tensors]


@numba.njit(cache=True, nogil=True)
def _choose_kernel(logits: NDArray[Any], choice: NDArray[Any]) -> None:
    """`choose`, the best; torch's own takes as long along a middle dimension as all products of the pass together."""
    N, K, U = logits.shape
    best = np.empty(U, logits.dtype)
    for n in range(N):
        for u in range(U):
            best[u] = logits[n, 0, u]
            choice[n, u] = 0
        for k in range(1, K):
            for u in range(U):
                if logits[n, k, u] > best[u]:
                    best[u] = logits[n, k, u]
                    choice[n, u] = k


class _Blocks(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, selector: Tensor, selector_bias: Tensor, how: How
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        (K, O, _), N = weight.shape, len(x)  # noqa: E741
        y = x.new_empty(N, O)
        kept = torch.empty(N, selector.shape[1], dtype=torch.uint8 if K <= 256 else torch.int16, device=x.device)
        shares = torch.zeros(K, dtype=wide(x[:0]).dtype, device=x.device) if how.balanced else None
        for rows in _blocks(N, K * O):
            logits = _maps(x[rows], selector, selector_bias)
            noisy = logits if how.temperature is None else logits + how.temperature * gumbel_like(logits)
            if compiled(noisy) and not how.swapped:
                _choose_kernel(noisy.numpy(), kept[rows].numpy())
            else:
                kept[rows] = choose(noisy, how.swapped).squeeze(1).to(kept.dtype)
            choice = kept[rows].long().unsqueeze(1)  # (n, 1, U)
            values = _maps(x[rows], weight, bias)
            torch.gather(values, 1, choice.expand(-1, 1, O), out=y[rows].unsqueeze(1))
            if shares is not None:
                shares += wide(logits).softmax(1).sum((0, 2)) / kept.numel()
        frequency = None
        if shares is not None:
            frequency = torch.bincount(kept.flatten().long(), minlength=K).to(shares.dtype) / kept.numel()
            ctx.mark_non_differentiable(frequency)
        ctx.save_for_backward(x, weight, bias, selector, selector_bias, kept, y if how.estimator == "switch" else None)
        ctx.how = how
        return y, frequency, shares

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, selector, selector_bias, kept, y = ctx.saved_tensors
        gradient, _, of_shares = gradients
        (K, O, I), U = weight.shape, selector.shape[1]  # noqa: E741
        flat, selecting = weight.view(K * O, I), selector.view(K * U, I)
        x_gradient = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        found = [torch.zeros_like(one) for one in (flat, bias, selecting, selector_bias)]
        for rows in _blocks(len(x), K * O):
            part, incoming = x[rows], gradient[rows].unsqueeze(1)  # (n, I), (n, 1, O)
            choice = kept[rows].long().unsqueeze(1)  # (n, 1, U)
            p = wide(_maps(part, selector, selector_bias)).softmax(1)
            if y is None:
                effect = _per_choice(wide(_maps(part, weight, bias)).mul_(incoming), U)
                to_logits = effect.sub_((p * effect).sum(1, keepdim=True)).mul_(p)
            else:
                effect = _per_choice(wide(y[rows].unsqueeze(1) * incoming), U)  # (n, 1, U)
                to_logits = (-p * effect).scatter_add_(1, choice, effect)
            if of_shares is not None:
                pull = of_shares.view(1, K, 1) / kept.numel()
                to_logits += p * (pull - (p * pull).sum(1, keepdim=True))
            to_values = gradient.new_zeros(len(part), K, O).scatter_(1, choice.expand(-1, 1, O), incoming)
            back = [to_values.view(-1, K * O), to_logits.to(x.dtype).view(-1, K * U)]
            if x_gradient is not None:
                torch.mm(back[0], flat, out=x_gradient[rows])
                if ctx.how.estimator != "identical_look":
                    torch.addmm(x_gradient[rows], back[1], selecting, out=x_gradient[rows])
            for one, (of_weight, of_bias) in zip(back, (found[:2], found[2:]), strict=True):
                torch.addmm(of_weight, one.T, part, out=of_weight)
                of_bias += one.sum(0)
        return x_gradient, found[0].view_as(weight), found[1], found[2].view_as(selector), found[3], None


def _blocks(N: int, elements: int) -> list[slice]:
    """Rows in blocks of about `_BLOCK` elements, where each row has `elements`."""
    rows = max(_LEAST_ROWS, _BLOCK // elements)
    return [slice(start, start + rows) for start in range(0, N, rows)]


def _maps(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`(n, I)` through all of `weight (K, M, I)` and `bias (K M,)`: `(n, K, M)`."""
    with torch.autocast(x.device.type, enabled=False):
        return torch.addmm(bias, x, weight.flatten(0, 1).T).unflatten(1, weight.shape[:2])


def _per_choice(effect: Tensor, choosers: int) -> Tensor:
    """Sums over the units of one choice, of `(n, K, O)`: itself, where each unit has its own."""
    return effect if effect.shape[-1] == choosers else effect.sum(-1, keepdim=True)
