"""Whole numbers drawn from a seed, the same on every machine and with every version of numpy."""

from __future__ import annotations

import string

import numpy as np
from numpy.typing import NDArray

LETTERS = string.ascii_lowercase + string.ascii_uppercase


class Drawn:
    """A stream of 64 random bits at a time. Only `random_raw` is used: of all that numpy draws, it alone never changes."""

    def __init__(self, seed: int):
        self._bits = np.random.PCG64(seed)

    def words(self, *shape: int) -> NDArray[np.uint64]:
        """Uniform over 0 .. 2^64 - 1."""
        return self._bits.random_raw(int(np.prod(shape))).reshape(shape)

    def below(self, most: int, *shape: int) -> NDArray[np.uint64]:
        """Uniform over 0 .. most - 1, to within `most` / 2^64."""
        return self.words(*shape) % np.uint64(most)

    def orders(self, count: int, length: int) -> NDArray[np.intp]:
        """`count` random orders of 0 .. length - 1, `(count, length)`. Ties of words, one in 10^16 orders, keep their places."""
        return np.argsort(self.words(count, length), axis=1, kind="stable")
