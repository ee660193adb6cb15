"""Letters drawn one by one, each equally likely, whatever came before: nothing can be learnt.

`examples` characters out of the first `symbols` of a-z, A-Z, on one line without end. No net does better than log2(symbols) bits
a character on text it has not seen (4.70 for 26); one that does has seen it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nnn_bench.config.datasets import SyntheticSource
from nnn_bench.data.tasks.drawing import LETTERS, Drawn

_AT_ONCE = 1 << 18  # characters


def check(source: SyntheticSource) -> None:
    """All settings that the schema allows can be made."""


def make(source: SyntheticSource, folder: Path) -> list[str]:
    drawn = Drawn(source.seed)
    letters = np.frombuffer(LETTERS.encode(), dtype=np.uint8)
    with (folder / "content.txt").open("wb") as file:
        for start in range(0, source.examples, _AT_ONCE):
            count = min(_AT_ONCE, source.examples - start)
            file.write(letters[drawn.below(source.symbols, count)].tobytes())
    return ["content.txt"]
