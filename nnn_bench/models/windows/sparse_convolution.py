"""Sparse convolution: piecewise polynomials over a window, each layer a few times shorter than the one before.

x_0 = the numbers of a window (W, 1)
x_l = normalise C_l x_{l-1} (W_l, channels_l),  l = 1 .. m      C: `models/piecewise_convolution.py`, S = V + 1, then 10 segments
logits = H [x_m] + b                                            `models/convolution_window.py`

Nothing overlaps and nothing is pooled: kernels are as long as strides, and all that is left of the window after the last layer is
read at once. `normalization`, of each place over its channels: `batch`, by the mean and variance of each channel in the batches
before (`models/running_norm.py`), the others of the place itself (`models/scaling.py`).

Source: language-interpolation (high_order_conv: window 10,000, channels 10, 100, 100, kernels and strides of 10, n = 2, S = 128,
10, 10; 1,351,448 parameters for V = 128). It cannot be run there: its configuration asks for a normalization that is refused.
Departures: the batch that normalises is not the one that is answered (`published/sparse_convolution` has that); the window is cut
to the context, and kernels suit that. The variant is normalised by `layer`: before its first batch a running mean knows nothing,
numbers are small, and half of the weights, those of the outer segments, hear nothing of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from nnn_bench.models.convolution_window import ConvolutionOptions, ConvolutionWindow
from nnn_bench.models.flops import Flops
from nnn_bench.models.running_norm import RunningNorm, WindowScale, normaliser
from nnn_bench.models.scaling import Scaling

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(ConvolutionOptions):
    normalization: WindowScale = "batch"


class SparseConvolution(ConvolutionWindow):
    def __init__(self, options: Options, builder: Builder, vocabulary: int, context: int):
        super().__init__(options, builder, vocabulary, context, [0] * len(options.kernels))
        self.norms = nn.ModuleList(normaliser(options.normalization, width) for width in self.widths[1:])

    def normalised(self, layer: int, x: Tensor) -> Tensor:
        y: Tensor = self.norms[layer](x)
        return y

    def normalising_flops(self, layer: int) -> Flops:
        norm: RunningNorm | Scaling = self.norms[layer]  # type: ignore[assignment]
        return norm.flops() * self.places[layer].outputs


Part = SparseConvolution
