"""What the two forms of dual convolution share: a vector for each character from its number, then pairs until one is left.

e(x) = scale P_2(scale P_1 x)                   P_1 (1 -> D), P_2 (D -> E)
v(a, b) = Q_4(scale Q_3(scale Q_2(scale Q_1 s[a; b])))          Q_1 (2 E -> F), Q_2 and Q_3 (F -> F), Q_4 (F -> E)
logits = H tree(e(x_{t-w+1}), .., e(x_t)) + b   `models/pairing_tree.py`;  w = min(reach, context)

s: `pair_scale`, none in the source, where a vector goes from one pair to the next as Q_4 made it.

P_1 has a segment for each of the V + 1 symbols unless its options say otherwise, and is a table by symbol (`number_window.py`).
H counts as the head where it is dense.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nnn_bench.config.component import Component
from nnn_bench.config.recipe import PositiveInt
from nnn_bench.config.validation import Settings
from nnn_bench.models.chain import Between, Chain
from nnn_bench.models.flops import Flops, one_sided
from nnn_bench.models.number_window import KnowsSymbols
from nnn_bench.models.pairing_tree import all_windows, one_window, pairs_of_all, pairs_of_one
from nnn_bench.models.parts import Initial, Port
from nnn_bench.models.scaling import ScaleKind, scaled, scaling_flops
from nnn_bench.models.window import WindowNetwork, last, one_segment_each

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class DualOptions(Settings):
    """`width` is E, `hidden` F."""

    reach: PositiveInt
    width: PositiveInt
    hidden: PositiveInt | None = None
    scale: ScaleKind = "maxabs"
    pair_scale: ScaleKind = "none"
    input_projection: Component
    projection: Component
    output_projection: Component


class DualWindow(WindowNetwork):
    """`middle` is D."""

    def __init__(self, options: DualOptions, builder: Builder, vocabulary: int, context: int, middle: int):
        super().__init__(vocabulary, context, last(options.reach, context))
        E, F = options.width, options.hidden or options.width
        self.scale, self.pair_scale, self.middle, self.width = options.scale, options.pair_scale, middle, E
        first = one_segment_each(options.input_projection, vocabulary)
        self.first = builder.projector(first)(Port("input", 1, middle))
        project = builder.projector(options.projection)
        self.second = project(Port("embedding", middle, E, Initial((3 * middle) ** -0.5, uniform=True)))
        self.pair_maps = Chain(project, "pair", [2 * E, F, F, F, E], Between(F, options.scale))
        self._dense_head = options.output_projection.kind == "dense"
        self.output = builder.projector(options.output_projection)(Port("head", E, vocabulary))

    def answer_symbols(self, symbols: Tensor) -> Tensor:
        return self._logits(one_window(self._embedded(self._of_symbols(symbols)), self._pair))

    def answer(self, seen: Tensor) -> Tensor:
        return self._logits(one_window(self._embedded(self.first(seen)), self._pair))

    def forward(self, tokens: Tensor) -> Tensor:
        symbols = torch.cat([tokens.new_zeros(len(tokens), 1), (tokens + 1).clamp(min=0)], dim=1)
        return self._everywhere(self._of_symbols(symbols))

    def predict(self, x: Tensor) -> Tensor:
        blank = self.look(torch.zeros(len(x), 1, dtype=torch.long, device=x.device))
        return self._everywhere(self.first(torch.cat([blank, x], dim=1)))

    def _of_symbols(self, symbols: Tensor) -> Tensor:
        """P_1 of the numbers of symbols, `(N, L) -> (N, L, D)`."""
        if isinstance(self.first, KnowsSymbols):
            return self.first.of_symbols(symbols.reshape(-1, 1), self.numbers()).unflatten(0, symbols.shape)
        y: Tensor = self.first(self.look(symbols))
        return y

    def _embedded(self, x: Tensor) -> Tensor:
        return scaled(self.scale, self.second(scaled(self.scale, x)))

    def _pair(self, x: Tensor) -> Tensor:
        y: Tensor = self.pair_maps(scaled(self.pair_scale, x))
        return y

    def _everywhere(self, x: Tensor) -> Tensor:
        """`(B, 1 + T, D)`, a blank first, to logits `(B, T, V)`."""
        return self._logits(all_windows(self._embedded(x), len(self.offsets), self._pair))

    def _logits(self, x: Tensor) -> Tensor:
        logits: Tensor = self.output(x)
        return logits

    def window_flops(self, context: int) -> Flops:
        pairs = self._pair_flops() * pairs_of_all(len(self.offsets), context)
        return self._embedding_flops() * (context + 1) + pairs + self.output.flops() * context

    def answer_flops(self) -> Flops:
        window = len(self.offsets)
        return self._embedding_flops() * window + self._pair_flops() * pairs_of_one(window) + self.output.flops()

    def _pair_flops(self) -> Flops:
        return scaling_flops(self.pair_scale, 2 * self.width) + self.pair_maps.flops()

    def _embedding_flops(self) -> Flops:
        """Of one symbol. Numbers take no gradient: half of a backward pass of P_1 is not done."""
        first = self.first.symbol_flops() if isinstance(self.first, KnowsSymbols) else self.first.flops()
        scaling = scaling_flops(self.scale, self.middle) + scaling_flops(self.scale, self.width)
        return one_sided(first) + scaling + self.second.flops()

    def table_parameters(self) -> Iterable[nn.Parameter]:
        return self.first.parameters() if isinstance(self.first, KnowsSymbols) else ()

    def head_parameters(self) -> Iterable[nn.Parameter]:
        return self.output.parameters() if self._dense_head else ()
