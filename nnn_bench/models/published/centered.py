"""Control: the centered high-order network as published, whose right side is the same string at every position.

logits_t = network(x_{t-b} .. x_{t-1}, x(r_1) .. x(r_a))        network: `models/high_order.py`;  r: a symbols, the same for all t

The source cuts the right side from the beginning of the text instead of from the position at hand (an index lacks its "+ i"), so
that every sample of a text has the same one: 'ab|def' is to give c, and 'bc|def' d. The network claims to see both sides and has
the left alone: five of its eleven inputs say something. As it was meant it is `windows/centered`.

Source: language-interpolation at 1879681. Departure: r are the first a tokens of the vocabulary, where a network knows no text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nnn_bench.config.recipe import PositiveInt
from nnn_bench.models.high_order import HighOrderNetwork, HighOrderOptions
from nnn_bench.models.window import between

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(HighOrderOptions):
    before: PositiveInt = 5
    after: PositiveInt = 6


class PublishedCentered(HighOrderNetwork):
    right: Tensor

    def __init__(self, options: Options, builder: Builder, vocabulary: int, context: int):
        super().__init__(options, builder, vocabulary, context, between(options.before, options.after))
        self.before = options.before
        self.register_buffer("right", torch.arange(options.after) % vocabulary + 1, persistent=False)

    def _around(self, x: Tensor, blank: Tensor) -> Tensor:
        # symbols have two dimensions here, what is seen of them has more
        right = self.right if x.dim() == 2 else self.look(self.right)
        around = super()._around(x, blank)[:, :, : self.before]
        return torch.cat([around, right.expand(*x.shape[:2], *right.shape)], dim=2)


Part = PublishedCentered
