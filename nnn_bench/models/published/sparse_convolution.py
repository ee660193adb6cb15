"""Control: sparse convolution as published, normalised by the batch it answers, with the number of channels as epsilon.

x_l = g (C_l x_{l-1} - mean) / sqrt(variance + channels_l) + b      mean, variance: of all windows of the batch, in training mode

The windows of a batch are each other's past and future here: an answer hears its target through the mean. The constructor was
given the number of channels where it takes its epsilon, which shrinks what is small by sqrt(channels_l). Where strides do not fit
the newest places are left out. The rest is `windows/sparse_convolution`.

Source: language-interpolation at 1879681 with BatchNorm1d, the normalization its configuration means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from nnn_bench.models.convolution_window import ConvolutionOptions, ConvolutionWindow
from nnn_bench.models.flops import Flops, elementwise

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder

Options = ConvolutionOptions


class PublishedSparseConvolution(ConvolutionWindow):
    from_newest = False

    def __init__(self, options: ConvolutionOptions, builder: Builder, vocabulary: int, context: int):
        super().__init__(options, builder, vocabulary, context, [0] * len(options.kernels))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width, eps=width) for width in self.widths[1:])

    def normalised(self, layer: int, x: Tensor) -> Tensor:
        y: Tensor = self.norms[layer](x.transpose(1, 2)).transpose(1, 2)
        return y

    def normalising_flops(self, layer: int) -> Flops:
        return elementwise(self.places[layer].outputs * self.widths[layer + 1], 7)


Part = PublishedSparseConvolution
