"""A linear map of selection and computation neurons: each output unit picks one of K computations.

l = S x + s                     (..., K, O)     selection neurons, one logit per computation of each unit
v = W x + b                     (..., K, O)     computation neurons
k*_o = argmax_k l_ko;  y_o = v_{k* o}           forward: one computation, exactly
dv_ko = [k = k*_o] dy_o                         unselected computations receive exactly zero
dl_ko = p_ko (v_ko - sum_j p_jo v_jo) dy_o      with p = softmax_k(l): the straight-through estimator of the choice

Source: the public K-way transformer file. Departure: each computation's (O, I) matrix is initialised by itself, by the rule
of the dense map it replaces, and each selector's by Xavier's (the source draws the whole (K, O, I) block as one matrix,
eleven times too small at 256x256). `detached_selector` hides x from the selector's gradient, so that dx is what a plain
linear map with the chosen rows would give ("identical look").

The variant `selection_transformer` departs further from that file, so that it differs from `gpt2` in its maps alone: norms before
the mixers, learned positions, GELU, and a dense tied head (the source: norms after, sinusoids, ReLU, a selecting head).

For K = 2 only the difference of the two logits matters: l_1 - l_0 = (S_1 - S_0) x + (s_1 - s_0) is one product in place of
two, with the same parameters, values and gradients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from nnn_bench.config.validation import Settings
from nnn_bench.models.flops import Flops, elementwise, linear, one_sided
from nnn_bench.models.parts import Initial, Port, Projection

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(Settings):
    computations: int = Field(default=2, ge=1, le=4096)
    detached_selector: bool = False


class SelectOne(torch.autograd.Function):
    """`(logits (..., K, O), values (..., K, O)) -> (..., O)`: the value of the largest logit, straight through."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, values: Tensor) -> Tensor:
        choice = logits.argmax(dim=-2, keepdim=True)
        ctx.save_for_backward(logits, values, choice)
        return values.gather(-2, choice).squeeze(-2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        logits, values, choice = ctx.saved_tensors
        gradient = gradients[0].unsqueeze(-2)
        shares = logits.softmax(dim=-2)
        expected = (shares * values).sum(dim=-2, keepdim=True)
        values_gradient = torch.zeros_like(values).scatter_(-2, choice, gradient)
        return shares * (values - expected) * gradient, values_gradient


class SelectOfTwo(torch.autograd.Function):
    """`SelectOne` for K = 2 from the difference of logits: `(difference (..., O), values (..., 2, O)) -> (..., O)`."""

    @staticmethod
    def forward(ctx: Any, difference: Tensor, values: Tensor) -> Tensor:
        ctx.save_for_backward(difference, values)
        first, second = values.unbind(-2)
        return torch.where(difference > 0, second, first)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        difference, values = ctx.saved_tensors
        [gradient] = gradients
        first, second = values.unbind(-2)
        share = torch.sigmoid(difference)
        difference_gradient = torch.addcmul(share, share, share, value=-1).mul_(second - first).mul_(gradient)
        to_second = gradient * (difference > 0)
        return difference_gradient, torch.stack([gradient - to_second, to_second], dim=-2)


class Selection(Projection):
    """`weight (K, O, I)` computes, `selector_weight (K, O, I)` selects, each with a bias `(K * O,)`; K = 1 is a plain linear map.

    While `watch` is a list, every forward pass appends its logits `(..., K, O)` to it.
    """

    decides = True

    def __init__(self, options: Options, builder: Builder, port: Port):
        super().__init__()
        K, O, I = options.computations, port.outputs, port.inputs  # noqa: E741
        self.detached_selector = options.detached_selector
        self.watch: list[Tensor] | None = None
        self.weight = nn.Parameter(port.initial.fill_(torch.empty(K, O, I)))
        self.bias = nn.Parameter(torch.zeros(K * O))
        if K > 1:
            selector = Initial((2 / (I + O)) ** 0.5, uniform=True)
            self.selector_weight = nn.Parameter(selector.fill_(torch.empty(K, O, I)))
            self.selector_bias = nn.Parameter(torch.zeros(K * O))

    def forward(self, x: Tensor) -> Tensor:
        K = self.weight.shape[0]
        values = F.linear(x, self.weight.flatten(0, 1), self.bias)
        if K == 1:
            return values
        seen = x.detach() if self.detached_selector else x
        values = values.unflatten(-1, (K, -1))  # (..., K, O)
        chosen: Tensor
        if K == 2:
            weight, (first, second) = self.selector_weight, self.selector_bias.chunk(2)
            difference = F.linear(seen, weight[1] - weight[0], second - first)
            if self.watch is not None:
                self.watch.append(torch.stack([torch.zeros_like(difference), difference], dim=-2).detach())
            chosen = SelectOfTwo.apply(difference, values)
        else:
            logits = F.linear(seen, self.selector_weight.flatten(0, 1), self.selector_bias)
            logits = logits.unflatten(-1, (K, -1))
            if self.watch is not None:
                self.watch.append(logits.detach())
            chosen = SelectOne.apply(logits, values)
        return chosen

    def flops(self) -> Flops:
        K, O, I = self.weight.shape  # noqa: E741
        values = linear(I, K * O) + elementwise(K * O)
        if K == 1:
            return values
        logits = 1 if K == 2 else K
        selecting = linear(I, logits * O)
        if self.detached_selector:
            selecting = one_sided(selecting)
        return values + selecting + elementwise(logits * O, 2)  # bias and comparison


Part = Selection
