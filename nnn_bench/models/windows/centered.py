"""The high-order network amid its neighbours, a cellular automaton's rule on text: it predicts the character in the middle.

logits_t = network(x_{t-b} .. x_{t-1}, x_{t+1} .. x_{t+a})      network: `models/high_order.py`;  b `before`, a `after`

Position t is answered without its own character, which is the target: `ahead` is 0, and a study must ask for that. There is no
`step`, for what lies after a character is not there when it is written; the rule is made to be applied to all of a text at once,
again and again. Its losses compare with those of other networks that see both sides, and with no causal one.

Source: language-interpolation (data type centered, b = 5, a = 6), as meant. What ran there is `published/centered`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnn_bench.config.recipe import PositiveInt
from nnn_bench.models.high_order import HighOrderNetwork, HighOrderOptions
from nnn_bench.models.window import between

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(HighOrderOptions):
    before: PositiveInt = 5
    after: PositiveInt = 6


class Centered(HighOrderNetwork):
    def __init__(self, options: Options, builder: Builder, vocabulary: int, context: int):
        super().__init__(options, builder, vocabulary, context, between(options.before, options.after))


Part = Centered
