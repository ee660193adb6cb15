"""A bag of letters: the characters of a window in no order, their vectors averaged. Nothing in it is of high order.

m_t = (1 / w) sum_{i<w} E[symbol_{t-i}]         E (V + 1, H);  w = min(reach, context)
logits_t = tail(m_t)                            tail: `models/rectified.py`

No answer changes when the characters of its window change places. The blank has a vector too: by its share a network can tell how
far the text has come.

Source: language-interpolation (low_order_mlp; 99 characters, H = 1000, V = 128: 1,257,128 parameters; its run stops with an error
after the first epoch). Departures: the window is 16, as that of the networks beside it; E is born normal with 0.02, as the tables
of the other topologies, where the source has 1, a difference that the scaling behind the mean takes out at birth.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnn_bench.config.recipe import PositiveInt
from nnn_bench.models.flops import Flops, elementwise
from nnn_bench.models.parts import Initial
from nnn_bench.models.rectified import Rectified, RectifiedOptions
from nnn_bench.models.window import WindowNetwork, last

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(RectifiedOptions):
    reach: PositiveInt = 16


class LowOrder(WindowNetwork):
    def __init__(self, options: Options, builder: Builder, vocabulary: int, context: int):
        super().__init__(vocabulary, context, last(options.reach, context))
        self.embedding = nn.Parameter(Initial().fill_(torch.empty(vocabulary + 1, options.width)))
        self.tail = Rectified(options, builder, vocabulary)

    def look(self, symbols: Tensor) -> Tensor:
        return F.embedding(symbols, self.embedding)

    def answer(self, seen: Tensor) -> Tensor:
        logits: Tensor = self.tail(seen.mean(dim=1))
        return logits

    def answer_symbols(self, symbols: Tensor) -> Tensor:
        logits: Tensor = self.tail(F.embedding_bag(symbols, self.embedding, mode="mean"))
        return logits

    def answer_flops(self) -> Flops:
        return elementwise(len(self.offsets) * self.embedding.shape[1]) + self.tail.flops()

    def table_parameters(self) -> Iterable[nn.Parameter]:
        return [self.embedding]

    def head_parameters(self) -> Iterable[nn.Parameter]:
        return self.tail.head_parameters()


Part = LowOrder
