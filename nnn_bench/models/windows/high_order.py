"""The high-order network over the last characters: it predicts the next one from `reach` of them.

logits_t = network(x_{t-w+1} .. x_t)            network: `models/high_order.py`;  w = min(reach, context)

Every position is answered by itself, from the same w places before it; there is nothing else, no attention and no memory. Where
the text begins later stands the blank.

Source: language-interpolation (model_type high_order; window 16; one or two hidden layers of 200 or 250, V = 128: 609,600 to
987,000 parameters). It learns from one position of each window, here every position of a context is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnn_bench.config.recipe import PositiveInt
from nnn_bench.models.high_order import HighOrderNetwork, HighOrderOptions
from nnn_bench.models.window import last

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(HighOrderOptions):
    reach: PositiveInt = 16


class HighOrder(HighOrderNetwork):
    def __init__(self, options: Options, builder: Builder, vocabulary: int, context: int):
        super().__init__(options, builder, vocabulary, context, last(options.reach, context))


Part = HighOrder
