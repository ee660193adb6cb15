"""Dual convolution: one map of two neighbours, applied to a window again and again until one vector is left.

e = scale P_2(scale P_1 x)                      P_1 (1 -> D), P_2 (D -> E)
logits = H tree_v(e_1 .. e_w) + b               v (2 E -> E): `models/dual_window.py`;  the tree: `models/pairing_tree.py`

Source: language-interpolation (dual_convolutional_network; E = 128, F = 1024, three nodes, all maps discontinuous, 4 or 16
segments, `maxabs`; windows of 1 to 9 characters). Repaired: P_1 makes D features of a number, as many as E unless told otherwise,
where the source makes one and scales that by itself: all characters become 0 by `layer`, 1 or -1 by `maxabs`
(`published/dual_convolution`). Departures: windows are of one length, with blanks before the text; and the variant is continuous
with three nodes, scaled by `layer`, between one pair and the next too, over 16 characters. With all of this 20,000 weights went
to 3.0 nats in 200 steps on plain text (one seed, one rate); with one of it changed (discontinuous, two nodes, `maxabs`, nothing
scaled between pairs, 64 characters) they stayed at the frequencies of the characters, 3.4 nats. Four maps a pair and four pairs
deep or more, what a character says is soon lost or scrambled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnn_bench.config.recipe import PositiveInt
from nnn_bench.models.dual_window import DualOptions, DualWindow

if TYPE_CHECKING:
    from nnn_bench.models.build import Builder


class Options(DualOptions):
    """`embedding_hidden` is D."""

    embedding_hidden: PositiveInt | None = None


class DualConvolution(DualWindow):
    def __init__(self, options: Options, builder: Builder, vocabulary: int, context: int):
        super().__init__(options, builder, vocabulary, context, options.embedding_hidden or options.width)


Part = DualConvolution
