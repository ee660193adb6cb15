"""Window networks of piecewise convolutions on top of each other: what sparse convolution and tail focus share.

x_0 = the numbers of a window (W, 1)
x_l = normalise C_l x_{l-1} (W_l, channels_l),  l = 1 .. m      C: `piecewise_convolution.py`
logits = H [the newest f_1 places of x_0; ..; the newest f_m of x_{m-1}; all of x_m] + b

C_1 reads symbols, a segment for each of the V + 1 unless its options say otherwise: a table by place of the kernel and by symbol,
and counted as one (`number_window.py`); it grows with the vocabulary, which must not move the budget. H counts as the head where
it is dense; it is born with 0.25 / sqrt(its inputs), so that a fresh network is unsure however much it reads.

A window is min(reach, context) long, and cut to the newest places that are seen at all, if kernels and strides leave some out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from nnn_bench.config.component import Component
from nnn_bench.config.recipe import PositiveInt
from nnn_bench.config.validation import Inconsistent, Settings
from nnn_bench.models.flops import Flops, elementwise, one_sided
from nnn_bench.models.number_window import KnowsSymbols
from nnn_bench.models.parts import Initial, Port, Projection
from nnn_bench.models.piecewise_convolution import Convolution, Place, convolutions, planned, reached
from nnn_bench.models.window import WindowNetwork, last, one_segment_each

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class ConvolutionOptions(Settings):
    """`channels` of all layers, but for those of the first and of the last where these have their own."""

    reach: PositiveInt
    channels: PositiveInt
    first_channels: PositiveInt | None = None
    last_channels: PositiveInt | None = None
    kernels: Annotated[list[PositiveInt], Field(min_length=2)]
    strides: list[PositiveInt]
    input_projection: Component
    projection: Component
    output_projection: Component

    @model_validator(mode="after")
    def _no_place_is_jumped_over(self) -> ConvolutionOptions:
        if len(self.strides) != len(self.kernels):
            raise Inconsistent(f"must be {len(self.kernels)} numbers, one for each kernel", key="strides")
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            if stride > kernel:
                raise Inconsistent(
                    f"{stride} jumps over places between kernels of {kernel}; make it smaller", key="strides"
                )
        return self

    @property
    def widths(self) -> list[int]:
        """Channels of x_0 .. x_m."""
        inner = [self.channels] * (len(self.kernels) - 2)
        return [1, self.first_channels or self.channels, *inner, self.last_channels or self.channels]


class ConvolutionWindow(WindowNetwork):
    """A subclass says how each layer is normalised (`normalised`, `normalising_flops`)."""

    from_newest = True  # which places are left out where strides do not fit: the oldest, or the newest

    def __init__(
        self, options: ConvolutionOptions, builder: Builder, vocabulary: int, context: int, focus: Sequence[int]
    ):
        window = min(options.reach, context)
        places = planned(options.kernels, options.strides, window)
        if self.from_newest:
            window = reached(places, focus)
            places = planned(options.kernels, options.strides, window)
        super().__init__(vocabulary, context, last(window, context))
        self.places: list[Place] = places
        self.focus = [min(newest, place.inputs) for newest, place in zip(focus, places, strict=True)]
        self.widths = options.widths
        first = one_segment_each(options.input_projection, vocabulary)
        project = [builder.projector(one) for one in [first, *[options.projection] * (len(self.places) - 1)]]
        self.convolutions = convolutions(project, self.widths, self.places, from_newest=self.from_newest)
        self._dense_head = options.output_projection.kind == "dense"
        readout = self.readout_width
        self.output: Projection = builder.projector(options.output_projection)(
            Port("head", readout, vocabulary, Initial(0.25 / readout**0.5))
        )

    @property
    def readout_width(self) -> int:
        tails = sum(places * width for places, width in zip(self.focus, self.widths, strict=False))
        return tails + self.places[-1].outputs * self.widths[-1]

    def normalised(self, layer: int, x: Tensor) -> Tensor:
        """x_{layer + 1} of what its convolution made, `(N, W, C)`."""
        raise TypeError(f"{type(self).__name__} does not say how layers are normalised")

    def normalising_flops(self, layer: int) -> Flops:
        raise TypeError(f"{type(self).__name__} declares no FLOPs")

    def answer(self, seen: Tensor) -> Tensor:
        return self._rest(seen, self._layers()[0](seen))

    def answer_symbols(self, symbols: Tensor) -> Tensor:
        seen = self.look(symbols[:, symbols.shape[1] - self.focus[0] :])  # no more of it is read but by the first layer
        return self._rest(seen, self._layers()[0].of_symbols(symbols, self.numbers()))

    def _rest(self, seen: Tensor, x: Tensor) -> Tensor:
        """Logits of a window and of what the first convolution made of it."""
        readout = [self._tail(0, seen)]
        x = self.normalised(0, x)
        for layer, convolve in enumerate(self._layers()[1:], start=1):
            readout.append(self._tail(layer, x))
            x = self.normalised(layer, convolve(x))
        logits: Tensor = self.output(torch.cat([*readout, x.flatten(1)], dim=1))
        return logits

    def _tail(self, layer: int, x: Tensor) -> Tensor:
        return x[:, x.shape[1] - self.focus[layer] :].flatten(1)

    def answer_flops(self) -> Flops:
        first, *later = self._layers()
        # numbers take no gradient: half of a backward pass of the first layer is not done
        convolved = sum((one.flops() for one in later), one_sided(first.symbol_flops()))
        normalising = sum((self.normalising_flops(layer) for layer in range(len(self.places))), Flops())
        return elementwise(self.focus[0], 3) + convolved + normalising + self.output.flops()

    def table_parameters(self) -> Iterable[nn.Parameter]:
        first = self._layers()[0].map
        return first.parameters() if isinstance(first, KnowsSymbols) else ()

    def head_parameters(self) -> Iterable[nn.Parameter]:
        return self.output.parameters() if self._dense_head else ()

    def _layers(self) -> list[Convolution]:
        return list(self.convolutions)  # type: ignore[arg-type]
