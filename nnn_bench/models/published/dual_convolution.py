"""Control: dual convolution as published, which hands on one number of each character and scales it by itself.

e = scale P_2(scale P_1 x)                      P_1 (1 -> 1), P_2 (1 -> E)

scale of a single number is exactly 0 by `layer` and `maxcenter`: no answer depends on any character, and P_1 gets no gradient. By
`maxabs`, the source's default, it is the sign: one bit a character. The rest is `windows/dual_convolution`.
Source: language-interpolation at 1879681 (dual_convolutional_network).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnn_bench.models.dual_window import DualOptions, DualWindow

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder

Options = DualOptions


class PublishedDualConvolution(DualWindow):
    def __init__(self, options: DualOptions, builder: Builder, vocabulary: int, context: int):
        super().__init__(options, builder, vocabulary, context, 1)


Part = PublishedDualConvolution
