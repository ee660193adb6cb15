"""What maps of selection and computation neurons share, whether each unit chooses or all units of a map together.

l = S x + s, (..., K, U): logits;  v = W x + b, (..., K, O): values;  k* = argmax_k l;  y = v_{k*}: one computation, exactly

`estimator` says what the logits learn from (equations in `selection_kernels.py`):

- straight_through: the gradient of (onehot - stop(p) + p) v, as published. It needs what every computation would have said.
- identical_look: the same, with x hidden from the selector's gradient, so that dx is what a plain linear map with the chosen rows
  would give.
- switch: the gradient of y p_{k*} / stop(p_{k*}), which needs the chosen computation alone (Fedus et al. 2021).

`exploration` is the share of the run in which the choice, and nothing else, is made on logits with Gumbel noise, at a temperature
that falls linearly from 1 to 0; only in training. `balance` is the weight of K sum_k f_k P_k in the loss (f: share of the choices
that fall on k, no gradient; P: mean p), 1 times the weight where use is even (Fedus et al. 2021).

Growing by `clones`: one computation more is an exact copy of an existing one, these taken in turn, selector included, and its
weights are moved by `clone_noise` times their standard deviation. A tie goes to the lower index, so nothing changes at first; the
clone's selector bias lies `_MARGIN` lower, so that no rounding of float32 breaks the tie (half precision may turn a few choices).
From then on both selectors learn which of the two is better where. A map that starts with one computation has no selectors: it is
given two fresh ones that are equal.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from nnn_bench.config.validation import Settings
from nnn_bench.models.flops import Flops, elementwise, linear
from nnn_bench.models.growth import Origin
from nnn_bench.models.parts import Initial, Port, Projection
from nnn_bench.models.selection_kernels import Estimator, How, Selected

#: Of a clone's logit below its ancestor's: ten times the rounding of float32 logits of a few units.
_MARGIN = 1e-5


class SelectingOptions(Settings):
    computations: int = Field(default=2, ge=1, le=4096)
    estimator: Estimator = "straight_through"
    exploration: float = Field(default=0.0, ge=0, le=1)
    balance: float = Field(default=0.0, ge=0)
    clones: int = Field(default=0, ge=0, le=64)
    clone_noise: float = Field(default=1e-3, gt=0)


class Selecting(Projection):
    """`weight (K, O, I)`, `bias (K O,)`; with K > 1 `selector_weight`, whose first dimension is K, and `selector_bias (K U,)`.

    While `watch` is a list, every forward pass appends its logits `(..., K, U)`, without noise, to it. While `swapped`, the
    second best computation is taken in place of the best.
    """

    decides = True
    temperature: Tensor

    def __init__(self, options: SelectingOptions, port: Port, choosers: int):
        super().__init__()
        K, O, I = options.computations, port.outputs, port.inputs  # noqa: E741
        self.estimator, self.balance, self.choosers = options.estimator, options.balance, choosers
        self.exploration, self.hears_progress = options.exploration, options.exploration > 0
        self.first_computations, self.clone_noise, self.growths = K, options.clone_noise, options.clones
        self.watch: list[Tensor] | None = None
        self.swapped = False
        self.exploring = False
        # a tensor, so that it is not a new constant at each step to whoever captures or compiles the network
        self.register_buffer("temperature", torch.zeros(()), persistent=False)
        self.weight = nn.Parameter(port.initial.fill_(torch.empty(K, O, I)))
        self.bias = nn.Parameter(torch.zeros(K * O))
        if K > 1:
            self.selector_weight = nn.Parameter(self._fresh_selectors(K))
            self.selector_bias = nn.Parameter(torch.zeros(K * choosers))

    @property
    def computations(self) -> int:
        return self.weight.shape[0]

    # a compiled network calls it as it is: the algorithms are compiled already, or turn on how many tokens chose what
    @torch.compiler.disable
    def forward(self, x: Tensor) -> Tensor:
        if self.computations == 1:
            return F.linear(x, self.weight[0], self.bias)
        if self.watch is not None:
            with torch.no_grad():
                self.watch.append(self.logits_and_values(x)[0])
        temperature = self.temperature if self.training and self.exploring else None
        balanced = self.training and self.balance > 0 and self.auxiliary is not None
        how = How(self.estimator, temperature, self.swapped, balanced)
        y, frequency, shares = self._selected(x.reshape(-1, x.shape[-1]), how)
        if self.auxiliary is not None and frequency is not None and shares is not None:
            self.auxiliary.append(self.balance * self.computations * (frequency * shares).sum())
        return y.view(*x.shape[:-1], -1)

    def _selected(self, x: Tensor, how: How) -> Selected:
        """The choice for `x (N, I)`, with more than one computation."""
        raise TypeError(f"{type(self).__name__} selects nothing")

    def logits_and_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """All logits `(..., K, U)` and values `(..., K, O)`, whatever the algorithm that chooses; K of at least 2."""
        K, I = self.computations, self.weight.shape[2]  # noqa: E741
        logits = F.linear(x, self.selector_weight.view(-1, I), self.selector_bias)
        values = F.linear(x, self.weight.view(-1, I), self.bias)
        return logits.unflatten(-1, (K, -1)), values.unflatten(-1, (K, -1))

    def progressed(self, share: float) -> None:
        left = 1 - share / self.exploration if self.exploration else 0.0
        self.exploring = left > 0
        self.temperature.fill_(max(left, 0.0))

    def grow(self) -> dict[str, Origin]:
        K, units = self.computations, self.weight.shape[1]
        ancestor, origins = self._next_ancestor(), {}
        with torch.no_grad():
            if K == 1:
                fresh = self._fresh_selectors(1).to(self.weight)
                self.selector_weight = nn.Parameter(torch.cat([fresh, fresh]))
                self.selector_bias = nn.Parameter(self.bias.new_zeros(2 * self.choosers))
            for name, rows in (
                ("weight", 1),
                ("bias", units),
                ("selector_weight", 1),
                ("selector_bias", self.choosers),
            ):
                if K == 1 and name.startswith("selector"):
                    continue
                expand = _with_copy_of(ancestor * rows, rows)
                setattr(self, name, nn.Parameter(expand(getattr(self, name).detach())))
                origins[name] = Origin(name, expand=expand)
            clone = self.weight[K]
            clone.add_(torch.randn_like(clone) * (clone.std(correction=0) * self.clone_noise))
            self.selector_bias[-self.choosers :].sub_(_MARGIN)
        return origins

    def _next_ancestor(self) -> int:
        """All computations there are take their turn before the first has another."""
        there = self.first_computations
        while 2 * there <= self.computations:
            there *= 2
        return self.computations - there

    def _fresh_selectors(self, computations: int) -> Tensor:
        """Selectors of so many computations, each drawn by itself."""
        raise TypeError(f"{type(self).__name__} has no selectors")


def selector_initial(inputs: int, outputs: int) -> Initial:
    """Xavier's: of one computation's selectors, not of all of them as one matrix."""
    return Initial((2 / (inputs + outputs)) ** 0.5, uniform=True)


def blocks_flops(K: int, O: int, U: int, I: int, estimator: Estimator) -> Flops:  # noqa: E741
    """`select_in_blocks` per token. `skipped` is negative: the backward pass computes its block again first."""
    values, logits = linear(I, K * O), linear(I, K * U)
    again = logits if estimator == "switch" else logits + values
    hidden = logits.matrix if estimator == "identical_look" else 0
    return values + logits + elementwise(K * O) + elementwise(K * U, 2) + Flops(skipped=hidden - again.matrix)


def _with_copy_of(first: int, rows: int) -> Callable[[Tensor], Tensor]:
    return lambda tensor: torch.cat([tensor, tensor[first : first + rows]])
