"""Control: tail focus as published, which takes everything where it was told to take nothing.

logits = H [all of x_0; ..; all of x_{m-2}; the newest f_m of x_{m-1}; all of x_m] + b          where f_1 .. f_{m-1} are 0

The newest 0 of a list, asked for as [-0:], are all of it: at the author's sizes H reads 12,206 numbers in place of 4,200, every
layer's places among them, and no focus is left. It sees nothing it should not and no audit fails for it: it is only not what it
is called, and its map to the vocabulary is three times as large. With `maxabs` the number of channels stands where the epsilon
belongs, so that every layer shrinks by about that; `none` is an error in the source. Where strides do not fit the newest places
are left out. A layer of one place is scaled like any other: to 0 by `layer`. The rest is `windows/tail_focus`.

Source: language-interpolation at 1879681.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import Tensor

from nnn_bench.config.recipe import Count
from nnn_bench.models.convolution_window import ConvolutionOptions, ConvolutionWindow
from nnn_bench.models.flops import Flops
from nnn_bench.models.scaling import scaled, scaling_flops

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(ConvolutionOptions):
    focus: list[Count]
    scale: Literal["layer", "maxabs"] = "layer"


class PublishedTailFocus(ConvolutionWindow):
    from_newest = False

    def __init__(self, options: Options, builder: Builder, vocabulary: int, context: int):
        everything = min(options.reach, context)
        super().__init__(options, builder, vocabulary, context, [newest or everything for newest in options.focus])
        self.scale = options.scale

    def normalised(self, layer: int, x: Tensor) -> Tensor:
        if self.scale == "layer":
            return scaled("layer", x.transpose(1, 2)).transpose(1, 2)
        return x / (x.abs().amax(dim=1, keepdim=True) + self.widths[layer + 1])

    def normalising_flops(self, layer: int) -> Flops:
        return scaling_flops(self.scale, self.places[layer].outputs) * self.widths[layer + 1]


Part = PublishedTailFocus
