"""A window network that is polynomial at its input alone; what follows are dense maps.

logits_t = tail(P x),  x = x_{t-w+1} .. x_t     P (w -> H): `models/number_window.py`;  tail: `models/rectified.py`

As P is a table by place and symbol whatever its order (there), this is the n-gram network of Bengio et al. 2003 with a vector for
each character at each place, where theirs has one for all places and a map of its own behind it: no polynomial is left in it.

Source: language-interpolation (model_type high_order_input; window 16, P discontinuous with two nodes, H = 1000, V = 128:
5,225,128 parameters). Departures: biases are born zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from torch import Tensor, nn

from nnn_bench.config.component import Component
from nnn_bench.config.recipe import PositiveInt
from nnn_bench.models.flops import Flops
from nnn_bench.models.number_window import NumberWindow
from nnn_bench.models.rectified import Rectified, RectifiedOptions
from nnn_bench.models.window import last

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(RectifiedOptions):
    reach: PositiveInt = 16
    input_projection: Component


class HighOrderInput(NumberWindow):
    def __init__(self, options: Options, builder: Builder, vocabulary: int, context: int):
        offsets = last(options.reach, context)
        super().__init__(vocabulary, context, offsets, options.input_projection, options.width, builder)
        self.tail = Rectified(options, builder, vocabulary)

    def rest(self, h: Tensor) -> Tensor:
        logits: Tensor = self.tail(h)
        return logits

    def rest_flops(self) -> Flops:
        return self.tail.flops()

    def head_parameters(self) -> Iterable[nn.Parameter]:
        return self.tail.head_parameters()


Part = HighOrderInput
