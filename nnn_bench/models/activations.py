"""Nonlinearities by name, on all features or on the first three quarters of them.

relu       max(x, 0)
leakyrelu  max(0.75 x, 0.25 x)
elu        x where x > 0, else exp(x) - 1
abs        |x|
melu       x exp(min(x, 0)): derivative 1 for x >= 0, else (1 + x) exp(x); least -1/e, at -1
sort2      neighbours (a, b) -> (min, max): the gradient goes where the value came from, in order where they are equal
gelu       in its tanh form, as GPT-2

Source: the multidimensional layers (melu, sort2, abs, the leaky form, and leaving the last quarter linear); gelu from GPT-2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from nnn_bench.models.flops import Flops, elementwise
from nnn_bench.models.gelu import gelu

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder

ActivationName = Literal["relu", "leakyrelu", "elu", "abs", "melu", "sort2", "gelu"]


def leakyrelu(x: Tensor) -> Tensor:
    return torch.maximum(0.75 * x, 0.25 * x)


def melu(x: Tensor) -> Tensor:
    return x * (-F.relu(-x)).exp()  # the minimum by way of relu, whose backward pass is several times quicker


def sort2(x: Tensor) -> Tensor:
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    swap = first > second  # a choice, not a minimum: of two equal values a minimum would halve the gradient
    return torch.stack((torch.where(swap, second, first), torch.where(swap, first, second)), dim=-1).flatten(-2)


_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "leakyrelu": leakyrelu,
    "elu": F.elu,
    "abs": torch.abs,
    "melu": melu,
    "sort2": sort2,
    "gelu": gelu,
}
#: Operations per feature: leakyrelu two products and a maximum; elu exp, minus one, choice; melu minimum, exp, product; sort2
#: a comparison for each pair and a choice for each feature, rounded up.
_OPERATIONS = {"relu": 1, "leakyrelu": 3, "elu": 3, "abs": 1, "melu": 3, "sort2": 2, "gelu": 9}
assert set(_FUNCTIONS) == set(_OPERATIONS) == set(get_args(ActivationName))


@dataclass(frozen=True)
class Activation:
    """The nonlinearity `name` on the first `features` features of a vector; the rest pass."""

    name: ActivationName
    features: int

    def __call__(self, x: Tensor) -> Tensor:
        function = _FUNCTIONS[self.name]
        if self.features == x.shape[-1]:
            return function(x)
        return torch.cat((function(x[..., : self.features]), x[..., self.features :]), dim=-1)

    def flops(self) -> Flops:
        return elementwise(self.features, _OPERATIONS[self.name])


def activation(name: ActivationName, width: int, *, partial: bool, builder: Builder) -> Activation:
    """`name` for vectors of `width`, refused where its features cannot be paired."""
    features = 3 * width // 4 if partial else width
    if name == "sort2" and features % 2:
        share = " (three quarters of the width, rounded down)" if partial else ""
        raise builder.refuse(
            "activation", f"sort2 sorts pairs, and {features} features{share} of {width} are odd; change the width"
        )
    return Activation(name, features)
