"""A window folded two by two until one vector is left, and how its parts are shared with the windows beside it.

x^0 (w, E);  x^{l+1}_i = v(x^l_{2i}, x^l_{2i+1})        an odd number of vectors gets one of zeros in front

v (2 E -> E) is the same everywhere. Pairs end where the window ends, so that the window that ends one place later is made of
pairs one place later. A vector that spans 2^l places depends on where it ends and on nothing else:

full_l[p] = v(full_{l-1}[p - 2^{l-1}], full_{l-1}[p])                     all places p of a text at once
edge_l[p]                                                                 the first of a window, which may span fewer: own vectors

The answers at all T positions cost (T + 1) vectors for each of log2(w) levels, twice that where w is no power of two, in place of
T (w - 1). What ends before the text began is made of blanks alone: one vector a level stands for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

Pair = Callable[[Tensor], Tensor]


def one_window(x: Tensor, pair: Pair) -> Tensor:
    """`x (N, w, E)` to `(N, E)`; `pair` makes `(..., 2 E)` into `(..., E)`."""
    while x.shape[1] > 1:
        if x.shape[1] % 2:
            x = torch.cat([x.new_zeros(len(x), 1, x.shape[2]), x], dim=1)
        x = pair(x.unflatten(1, (-1, 2)).flatten(2))
    return x[:, 0]


def all_windows(x: Tensor, window: int, pair: Pair) -> Tensor:
    """The windows that end at each of T places: `x (B, 1 + T, E)`, a blank first, to `(B, T, E)`."""
    full = edge = x
    for level, (odd, apart, needed) in enumerate(_levels(window)):
        before = (torch.arange(x.shape[1], device=x.device) - 2**level).clamp(min=0)  # 0: the blank
        first = torch.zeros_like(edge) if odd else edge[:, before]
        second = edge if odd else full
        following = pair(torch.cat([first, second], dim=-1))
        if needed:
            full = pair(torch.cat([full[:, before], full], dim=-1)) if apart else following
        edge = following
    return edge[:, 1:]


def pairs_of_one(window: int) -> int:
    """How often `one_window` calls upon v."""
    return sum((length + 1) // 2 for length in _lengths(window))


def pairs_of_all(window: int, places: int) -> int:
    """How often `all_windows` does, for `places` places."""
    return (places + 1) * sum(1 + (apart and needed) for _, apart, needed in _levels(window))


def _lengths(window: int) -> Iterator[int]:
    """Vectors at each level that is paired up."""
    while window > 1:
        yield window
        window = (window + 1) // 2


def _levels(window: int) -> Iterator[tuple[bool, bool, bool]]:
    """For each level: whether its number is odd, whether the first of the next is of its own kind, whether it has others."""
    apart = False
    for length in _lengths(window):
        odd = length % 2 == 1
        apart = apart or odd
        yield odd, apart, length > 2
