"""Keys with their values, then one of the keys again: which value went with it?

    a7f2c9?f -> 2

`pairs` different keys out of the first `symbols` of a-z, A-Z, each followed by its value; the values are different too, and of
another alphabet (digits, and beyond ten pairs marks). A net that knows which values were shown, but not which belongs to the
key, is right once in `pairs`; one that knows nothing, once in ten or in `pairs`, whichever is rarer. Nothing learnt from one
question helps with another but the way to look the answer up. After the task of Graves, Wayne and Danihelka (2014), "Neural
Turing Machines", section 4.3, as single letters.
"""

from __future__ import annotations

import math
import string
from collections.abc import Iterator
from pathlib import Path

from nnn_bench.config.datasets import SyntheticSource
from nnn_bench.config.errors import UserError
from nnn_bench.data.tasks.drawing import LETTERS, Drawn
from nnn_bench.data.tasks.questions import AT_ONCE, check_room, write_questions

_VALUES = string.digits + "!#$%&()*+-./:;<=>@[]^_{|}~"


def check(source: SyntheticSource) -> None:
    most = min(source.symbols, len(_VALUES))
    if source.pairs > most:
        raise UserError(f"is {source.pairs}; {source.symbols} symbols allow at most {most}", key="pairs")
    keys, values = math.perm(source.symbols, source.pairs), math.perm(_values(source), source.pairs)
    check_room(source.examples, keys * values * source.pairs)


def make(source: SyntheticSource, folder: Path) -> list[str]:
    write_questions(folder / "content.jsonl", _questions(source), source.examples)
    return ["content.jsonl"]


def _values(source: SyntheticSource) -> int:
    return max(10, source.pairs)


def _questions(source: SyntheticSource) -> Iterator[tuple[str, str]]:
    drawn, pairs = Drawn(source.seed), source.pairs
    while True:
        keys = drawn.orders(AT_ONCE, source.symbols)[:, :pairs].tolist()
        values = drawn.orders(AT_ONCE, _values(source))[:, :pairs].tolist()
        asked = drawn.below(pairs, AT_ONCE).tolist()
        for some_keys, some_values, which in zip(keys, values, asked, strict=True):
            shown = [LETTERS[key] + _VALUES[value] for key, value in zip(some_keys, some_values, strict=True)]
            yield f"{''.join(shown)}?{shown[which][0]}", shown[which][1]
