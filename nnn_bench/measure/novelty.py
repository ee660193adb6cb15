"""What of a generated text is new: how much of it stands in the training text, and how soon it repeats itself.

Both ask for whole n-grams of n = 8 tokens in a row, all that begin in the generated text, the prompt left out:

    copied_share     share of them that stand somewhere in the training text a run could see; none for a text shorter than n
    before_repeat    number of tokens before the first of them that stood in the generated text before, at any distance
                     (overlaps count: `aaaaaaaaa` repeats itself after 1); the length of the text where none did

Text of the same kind shares many 8-grams by chance, so a share means something beside that of another network, or of
held-out text. Windows are found by a hash and then compared token by token, so both are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

GRAM = 8

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd: no token is lost from the hash


def novelty(text: Sequence[int], training: NDArray[np.integer]) -> dict[str, Any]:
    """`copied_share` and `before_repeat` of the tokens `text`, beside the tokens `training`."""
    return {"copied_share": copied_share(text, training), "before_repeat": before_repeat(text)}


def copied_share(text: Sequence[int], training: NDArray[np.integer], gram: int = GRAM) -> float | None:
    """Share of the n-grams of `text` that stand in `training`; None where `text` holds no n-gram."""
    ours = _tokens(text)
    if len(ours) < gram:
        return None
    theirs = _tokens(training)
    alike = np.isin(_hashes(theirs, gram), _hashes(ours, gram)) if len(theirs) >= gram else np.zeros(0, dtype=bool)
    known = {_window(theirs, int(place), gram) for place in np.flatnonzero(alike)}
    windows = len(ours) - gram + 1
    return sum(_window(ours, place, gram) in known for place in range(windows)) / windows


def before_repeat(text: Sequence[int], gram: int = GRAM) -> int:
    """Number of tokens of `text` before the first n-gram that stood in it before; all of them where there is none."""
    ours, seen = _tokens(text), set()
    for place in range(len(ours) - gram + 1):
        window = _window(ours, place, gram)
        if window in seen:
            return place
        seen.add(window)
    return len(ours)


def _tokens(text: Sequence[int] | NDArray[np.integer]) -> NDArray[np.uint64]:
    return np.asarray(text).astype(np.uint64)


def _window(tokens: NDArray[np.uint64], place: int, gram: int) -> bytes:
    return tokens[place : place + gram].tobytes()


def _hashes(tokens: NDArray[np.uint64], gram: int) -> NDArray[np.uint64]:
    """A number for each n-gram of `tokens`, equal where the n-grams are: a polynomial in the multiplier, modulo 2^64."""
    count = len(tokens) - gram + 1
    found = np.zeros(count, dtype=np.uint64)
    for place in range(gram):
        found = found * _MULTIPLIER + tokens[place : place + count]
    return found
