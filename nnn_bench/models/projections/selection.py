"""A linear map of selection and computation neurons: each output unit picks one of K computations.

l = S x + s                     (..., K, O)     selection neurons, one logit per computation of each unit
v = W x + b                     (..., K, O)     computation neurons
k*_o = argmax_k l_ko;  y_o = v_{k* o}           forward: one computation, exactly
dv_ko = [k = k*_o] dy_o                         unselected computations receive exactly zero
dl_ko = p_ko (v_ko - sum_j p_jo v_jo) dy_o      with p = softmax_k(l): the straight-through estimator of the choice

Source: the public K-way transformer file. Departure: each computation's (O, I) matrix is initialised by itself, by the rule
of the dense map it replaces, and each selector's by Xavier's (the source draws the whole (K, O, I) block as one matrix,
eleven times too small at 256x256). The other estimators, exploration, balance and cloning are told in `selecting.py`.

The variant `selection_transformer` departs further from that file, so that it differs from `gpt2` in its maps alone: norms before
the mixers, learned positions, GELU, and a dense tied head (the source: norms after, sinusoids, ReLU, a selecting head).

For K = 2 only the difference of the two logits matters: l_1 - l_0 = (S_1 - S_0) x + (s_1 - s_0) is one product in place of
two, with the same parameters, values and gradients (`selection_of_two.py`). For K > 2 what is kept for the backward pass does
not grow with K (`selection_kernels.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nnn_bench.models.flops import Flops, elementwise, linear, one_sided
from nnn_bench.models.parts import Port
from nnn_bench.models.selecting import Selecting, SelectingOptions, blocks_flops, selector_initial
from nnn_bench.models.selection_kernels import How, Selected, select_in_blocks
from nnn_bench.models.selection_of_two import select_of_two

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(SelectingOptions):
    """All that selecting maps may be told."""


class Selection(Selecting):
    """`weight (K, O, I)` computes, `selector_weight (K, O, I)` selects, each with a bias `(K O,)`; K = 1 is a linear map."""

    def __init__(self, options: Options, builder: Builder, port: Port):
        super().__init__(options, port, choosers=port.outputs)

    def _selected(self, x: Tensor, how: How) -> Selected:
        select = select_of_two if self.computations == 2 else select_in_blocks
        return select(x, self.weight, self.bias, self.selector_weight, self.selector_bias, how)

    def _fresh_selectors(self, computations: int) -> Tensor:
        _, O, I = self.weight.shape  # noqa: E741
        return selector_initial(I, O).fill_(torch.empty(computations, O, I))

    def flops(self) -> Flops:
        K, O, I = self.weight.shape  # noqa: E741
        if K == 1:
            return linear(I, O) + elementwise(O)
        if K > 2:
            return blocks_flops(K, O, O, I, self.estimator)
        selecting = linear(I, O)
        if self.estimator == "identical_look":
            selecting = one_sided(selecting)
        return linear(I, 2 * O) + elementwise(2 * O) + selecting + elementwise(O, 2)  # biases and comparison


Part = Selection
