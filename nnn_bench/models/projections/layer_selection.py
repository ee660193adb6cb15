"""A linear map whose output units all follow one choice per token: K linear maps and a router.

l = S x + s          (..., K)               one logit per computation
k* = argmax_k l;  y = W_{k*} x + b_{k*}     (..., O)

K (O I + O) + K (I + 1) parameters. With `estimator: switch` only the chosen computation is evaluated: tokens are sorted by their
choice, each computation maps its own, and they are put back in order; with the work of one linear map and the router, whatever
the split, and no token is dropped (a Switch transformer drops what exceeds a capacity). The two straight-through estimators need
what every computation would have said, and take K times that.

Source: Fedus et al. 2021 for the router's gradient and the balance loss; the choice by layer is the per-layer form of the
selection neurons. Departure from the Switch transformer: y is multiplied by p_{k*} in its gradient alone and not in its value, so
that the output is the chosen computation's exactly, as with a choice per unit. Selectors as in `selection`: Xavier's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from nnn_bench.models.flops import Flops, elementwise, linear
from nnn_bench.models.parts import Port
from nnn_bench.models.precision import wide
from nnn_bench.models.selecting import Selecting, SelectingOptions, blocks_flops, selector_initial
from nnn_bench.models.selection_kernels import How, Selected, choose, gumbel_like, select_in_blocks

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(SelectingOptions):
    """All that selecting maps may be told."""


class LayerSelection(Selecting):
    """`weight (K, O, I)`, `bias (K O,)`, `selector_weight (K, I)`, `selector_bias (K,)`."""

    def __init__(self, options: Options, builder: Builder, port: Port):
        super().__init__(options, port, choosers=1)

    def _selected(self, x: Tensor, how: How) -> Selected:
        if how.estimator == "switch":
            return self._switched(x, how)
        selector = self.selector_weight.unsqueeze(1)  # (K, 1, I)
        return select_in_blocks(x, self.weight, self.bias, selector, self.selector_bias, how)

    def _switched(self, x: Tensor, how: How) -> Selected:
        """Only what was chosen is computed."""
        K = self.computations
        logits = F.linear(x, self.selector_weight, self.selector_bias).unsqueeze(-1)  # (N, K, 1)
        noisy = logits if how.temperature is None else logits + how.temperature * gumbel_like(logits)
        choice = choose(noisy.detach(), how.swapped)[:, 0, 0]  # (N,)
        counts, order = torch.bincount(choice, minlength=K), choice.argsort(stable=True)
        parts = x.index_select(0, order).split(counts.tolist())
        weights, biases = self.weight.unbind(), self.bias.view(K, -1).unbind()
        sorted_values = torch.cat([F.linear(*one) for one in zip(parts, weights, biases, strict=True)])
        y = sorted_values.index_select(0, order.argsort())
        p = wide(logits.squeeze(-1)).softmax(-1)
        taken = p.gather(1, choice.unsqueeze(-1))
        y = y * (taken / taken.detach()).to(y.dtype)
        return Selected(y, counts / len(x), p.mean(0)) if how.balanced else Selected(y, None, None)

    def _fresh_selectors(self, computations: int) -> Tensor:
        I = self.weight.shape[2]  # noqa: E741
        return selector_initial(I, self.weight.shape[0]).fill_(torch.empty(computations, I))

    def flops(self) -> Flops:
        K, O, I = self.weight.shape  # noqa: E741
        if K == 1:
            return linear(I, O) + elementwise(O)
        if self.estimator != "switch":
            return blocks_flops(K, O, 1, I, self.estimator)
        # bias; bias and comparison of logits, their softmax in five; the chosen share and the product with it
        return linear(I, O) + elementwise(O) + linear(I, K) + elementwise(K, 2 + 5) + elementwise(1 + O)


Part = LayerSelection
