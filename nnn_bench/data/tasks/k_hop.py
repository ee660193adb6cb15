"""Links in random order, then a letter: where does one come to after `hops` links?

    c>a b>d a>b d>c?c -> b          (hops: 2)

The `pairs` links form one ring of as many different letters, out of the first `symbols` of a-z, A-Z. So every letter stands once
at the head and once at the tail of a link, and none can be told from another without following links: there is no end to guess.
A ring holds at least twice as many links as hops, so that the way back is never the shorter one. Who knows the letters, and that
the answer is not the one asked, is right once in `pairs - 1`; who follows j < `hops` links and guesses among the letters not met,
once in `pairs - 1 - j`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from nnn_bench.config.datasets import SyntheticSource
from nnn_bench.config.errors import UserError
from nnn_bench.data.tasks.drawing import LETTERS, Drawn
from nnn_bench.data.tasks.questions import AT_ONCE, check_room, write_questions


def check(source: SyntheticSource) -> None:
    if source.pairs > source.symbols:
        raise UserError(f"is {source.pairs}; {source.symbols} symbols allow at most as many links", key="pairs")
    if 2 * source.hops > source.pairs:
        raise UserError(f"is {source.hops}; a ring of {source.pairs} links allows at most half as many", key="hops")
    rings = math.comb(source.symbols, source.pairs) * math.factorial(source.pairs - 1)
    check_room(source.examples, rings * math.factorial(source.pairs) * source.pairs)


def make(source: SyntheticSource, folder: Path) -> list[str]:
    write_questions(folder / "content.jsonl", _questions(source), source.examples)
    return ["content.jsonl"]


def _questions(source: SyntheticSource) -> Iterator[tuple[str, str]]:
    drawn, links = Drawn(source.seed), source.pairs
    while True:
        rings = drawn.orders(AT_ONCE, source.symbols)[:, :links].tolist()
        shown = drawn.orders(AT_ONCE, links).tolist()
        starts = drawn.below(links, AT_ONCE).tolist()
        for ring, order, start in zip(rings, shown, starts, strict=True):
            letters = [LETTERS[one] for one in ring]
            told = " ".join(f"{letters[place]}>{letters[(place + 1) % links]}" for place in order)
            yield f"{told}?{letters[start]}", letters[(start + source.hops) % links]
