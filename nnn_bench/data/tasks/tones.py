"""Tones of `symbols` pitches as 16-bit sounds of `samples` values: which pitch is it?

    value(t) = 32768 + a sin(2 pi (f t + p)) + noise            f = (label + 1) / (2 (symbols + 1)) cycles a value

Amplitude a (8,192 to 24,575) and phase p are drawn for each sound, noise (-1,024 to 1,023) for each value, so no value tells the
pitch by itself and no two sounds are alike. Labels are drawn evenly: guessing is right once in `symbols`. Every fifth sound is
of the test part.

The sine is read off a table of 4,096 whole numbers. No entry of it lies within 10^-4 of the place where rounding would turn, far
beyond what the sines of two machines differ by, so the table, and all that follows in whole numbers, is the same everywhere.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nnn_bench.config.datasets import SyntheticSource
from nnn_bench.config.errors import UserError
from nnn_bench.data.labelled.idx import write_idx
from nnn_bench.data.tasks.drawing import Drawn

_MOST_VALUES = 1 << 30  # of all sounds: 2 GiB
_TABLE_BITS, _PHASE_BITS = 12, 32
_SCALE = 1 << 15
_AT_ONCE = 1 << 20  # values
_FIFTH = 5

PARTS = ("train-values.idx", "train-labels.idx", "test-values.idx", "test-labels.idx")


def check(source: SyntheticSource) -> None:
    if source.examples < _FIFTH:
        raise UserError(f"is {source.examples}; a part for tests needs at least {_FIFTH}", key="examples")
    if source.examples * source.samples > _MOST_VALUES:
        raise UserError(f"with samples makes more than {_MOST_VALUES:,} values", key="examples")


def make(source: SyntheticSource, folder: Path) -> list[str]:
    values, labels = sounds(source)
    tests = np.arange(source.examples) % _FIFTH == _FIFTH - 1
    for name, array in zip(PARTS, (values[~tests], labels[~tests], values[tests], labels[tests]), strict=True):
        write_idx(folder / name, array)
    return list(PARTS)


def sounds(source: SyntheticSource) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Values `(examples, samples)` and labels `(examples,)`."""
    drawn = Drawn(source.seed)
    labels = drawn.below(source.symbols, source.examples)
    phases = drawn.below(1 << _PHASE_BITS, source.examples)
    amplitudes = (np.uint64(_SCALE // 4) + drawn.below(_SCALE // 2, source.examples)).astype(np.int64)
    steps = (labels + np.uint64(1)) * np.uint64(1 << _PHASE_BITS) // np.uint64(2 * (source.symbols + 1))
    table, times = sine_table(), np.arange(source.samples, dtype=np.uint64)
    values = np.empty((source.examples, source.samples), dtype=np.uint16)
    rows = max(1, _AT_ONCE // source.samples)
    for start in range(0, source.examples, rows):
        some = slice(start, start + rows)
        phase = phases[some, None] + steps[some, None] * times  # (B, samples)
        place = (phase >> np.uint64(_PHASE_BITS - _TABLE_BITS)) % np.uint64(1 << _TABLE_BITS)
        noise = drawn.below(2048, *phase.shape).astype(np.int64) - 1024
        values[some] = _SCALE + (amplitudes[some, None] * table[place] >> 15) + noise
    return values, labels.astype(np.uint8)


def sine_table() -> NDArray[np.int64]:
    """A cycle of the sine `(4096,)`, times 32,767, rounded."""
    size = 1 << _TABLE_BITS
    return np.array(
        [round(math.sin(2 * math.pi * place / size) * (_SCALE - 1)) for place in range(size)], dtype=np.int64
    )
