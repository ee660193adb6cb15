"""Window networks that read symbols as numbers: the first map, W numbers to H features.

h = P x            x (W,) the numbers of a neighbourhood (`window.py`);  P (W -> H) any map, mostly a piecewise one
logits = rest(h)

P has a segment for each of the V + 1 symbols unless its options say otherwise (the source tried half as many). Every number then
lies in the middle of a segment of its own, where the basis has the same values l_j for all:

h_o = sum_i T[i, symbol_i, o],  T[i, c, o] = sum_j l_j w[first_c + j, i, o]

a table by place and symbol: what is called a polynomial of the input is an embedding for each place, summed. For two nodes T is
the mean of two weights (neighbouring symbols share one where P is continuous), for one node or three it is a single weight;
neither the order nor a jump between segments adds anything to what can be said. So P is counted as a table, and `answer_symbols`
looks up T in place of weighing nodes. A map that knows no symbols, a dense one say, multiplies the numbers and counts as body.

Source: the first layers of the high-order networks of language-interpolation (128 segments, ASCII).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from torch import Tensor, nn

from nnn_bench.config.component import Component
from nnn_bench.models.flops import Flops, one_sided
from nnn_bench.models.parts import Port
from nnn_bench.models.window import WindowNetwork, one_segment_each

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


@runtime_checkable
class KnowsSymbols(Protocol):
    """What a map offers that has a quicker way from symbols than through their numbers."""

    def of_symbols(self, symbols: Tensor, numbers: Tensor) -> Tensor: ...

    def symbol_flops(self) -> Flops: ...


class NumberWindow(WindowNetwork):
    """A subclass says what follows the first map, and at what cost: `rest`, `rest_flops`."""

    def __init__(
        self,
        vocabulary: int,
        context: int,
        offsets: Sequence[int],
        first: Component,
        width: int,
        builder: Builder,
    ):
        super().__init__(vocabulary, context, offsets)
        self.first = builder.projector(one_segment_each(first, vocabulary))(Port("input", len(self.offsets), width))

    def rest(self, h: Tensor) -> Tensor:
        """Logits `(N, V)` of what the first map made, `(N, H)`."""
        raise TypeError(f"{type(self).__name__} ends with its first map")

    def rest_flops(self) -> Flops:
        """Operations of `rest` for one neighbourhood."""
        raise TypeError(f"{type(self).__name__} declares no FLOPs")

    def answer(self, seen: Tensor) -> Tensor:
        return self.rest(self.first(seen.squeeze(-1)))

    def answer_symbols(self, symbols: Tensor) -> Tensor:
        if isinstance(self.first, KnowsSymbols):
            return self.rest(self.first.of_symbols(symbols, self.numbers()))
        return super().answer_symbols(symbols)

    def answer_flops(self) -> Flops:
        # numbers take no gradient: half of a backward pass of the first map is not done
        first = self.first
        declared = first.symbol_flops() if isinstance(first, KnowsSymbols) else first.flops()
        return one_sided(declared) + self.rest_flops()

    def table_parameters(self) -> Iterable[nn.Parameter]:
        return self.first.parameters() if isinstance(self.first, KnowsSymbols) else ()
