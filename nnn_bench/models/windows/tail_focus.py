"""Tail focus: convolutions of a window, read at every depth, the deeper the farther back.

x_0 = the numbers of a window (W, 1)
x_l = scale C_l x_{l-1} (W_l, channels_l),  l = 1 .. m          C: `models/piecewise_convolution.py`, S = V + 1, then 2 segments
logits = H [the newest f_1 of x_0; ..; the newest f_m of x_{m-1}; all of x_m] + b       `models/convolution_window.py`

`focus` is f, 0 for nothing. `scale` is taken over the places of a layer, channel by channel, not over the channels of a place.
Where a layer has only one place left there is nothing to compare it with, and it stays as it is; of two, `layer` leaves little
more than which was larger.

Source: language-interpolation (high_order_tail_focus: window 256, channels 250, 250, 100, kernels 16, 2, 16, strides 8, 1, 8,
n = 2, focus 0, 0, 16). Repaired: a focus of 0 takes nothing, where there the slice [-0:] takes all, and the readout is 12,206
wide in place of 4,200 (`published/tail_focus`). Departures: where strides do not fit the oldest places are left out; there it is
the newest, 6 of the last layer's 30, which the focus alone then reads. With the author's sizes 208 of 256 characters are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import model_validator
from torch import Tensor

from nnn_bench.config.recipe import Count
from nnn_bench.config.validation import Inconsistent
from nnn_bench.models.convolution_window import ConvolutionOptions, ConvolutionWindow
from nnn_bench.models.flops import Flops
from nnn_bench.models.scaling import ScaleKind, scaled, scaling_flops

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(ConvolutionOptions):
    focus: list[Count]
    scale: ScaleKind = "layer"

    @model_validator(mode="after")
    def _a_focus_for_each(self) -> Options:
        if len(self.focus) != len(self.kernels):
            raise Inconsistent(
                f"must be {len(self.kernels)} numbers, one for the input of each convolution", key="focus"
            )
        return self


class TailFocus(ConvolutionWindow):
    def __init__(self, options: Options, builder: Builder, vocabulary: int, context: int):
        super().__init__(options, builder, vocabulary, context, options.focus)
        self.scale = options.scale

    def normalised(self, layer: int, x: Tensor) -> Tensor:
        if self.places[layer].outputs == 1:
            return x
        return scaled(self.scale, x.transpose(1, 2)).transpose(1, 2)

    def normalising_flops(self, layer: int) -> Flops:
        length = self.places[layer].outputs
        return Flops() if length == 1 else scaling_flops(self.scale, length) * self.widths[layer + 1]


Part = TailFocus
