"""Networks that answer from a fixed neighbourhood of a position, and from nothing else.

The answer at position t is a function of the symbols at t + o for a few fixed offsets o, the same function at every position:
o = -(w - 1) .. 0 for one that predicts the next character from the last w, o = -5 .. -1, 1 .. 6 for one that predicts the
character at t itself from those around it. Before and after the text, and where a token is below zero, stands a blank: a symbol
of its own. Symbol c + 1 is token c, symbol 0 the blank; all V + 1 lie evenly on [-1, 1] as numbers

x(symbol) = (2 symbol - V) / (V + 1)

each in the middle of its own one of V + 1 segments. Source: the published high-order networks read (ASCII - 63.5) / 64 and pad
with spaces; here the vocabulary is the data set's, and what is not there is not mistaken for a space.

Token by token, the last symbols lie in a ring of as many places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from nnn_bench.config.component import Component
from nnn_bench.models.flops import Flops
from nnn_bench.models.language_model import LanguageModel


class Ring(NamedTuple):
    """The last symbols of each sequence, `(B, reach)`, and the place the next one goes to."""

    symbols: Tensor
    next: int


class WindowNetwork(LanguageModel):
    """A subclass says what a symbol is to it (`look`), what it answers to the neighbourhood of one position (`answer`), and at
    what cost (`answer_flops`). One that has a quicker way from symbols also overrides `answer_symbols`."""

    def __init__(self, vocabulary: int, context: int, offsets: Sequence[int]):
        super().__init__()
        self.vocabulary, self.context = vocabulary, context
        self.offsets = tuple(offsets)
        self.ahead = 1 if max(self.offsets) <= 0 else 0
        self.streams = self.ahead > 0

    def look(self, symbols: Tensor) -> Tensor:
        """What `answer` sees of each symbol: `(...) -> (..., C)`; here the number alone."""
        return self._number(symbols).unsqueeze(-1)

    def answer(self, seen: Tensor) -> Tensor:
        """Logits `(N, V)` of N neighbourhoods of W places as `look` gave them, `(N, W, C)`."""
        raise TypeError(f"{type(self).__name__} answers nothing")

    def answer_symbols(self, symbols: Tensor) -> Tensor:
        """Logits `(N, V)` of the symbols of N neighbourhoods, `(N, W)`."""
        return self.answer(self.look(symbols))

    def answer_flops(self) -> Flops:
        """Operations for one neighbourhood, on the way from symbols."""
        raise TypeError(f"{type(self).__name__} declares no FLOPs")

    def numbers(self) -> Tensor:
        """The number of every symbol, `(V + 1,)`."""
        return self._number(torch.arange(self.vocabulary + 1, device=next(self.parameters()).device))

    def forward(self, tokens: Tensor) -> Tensor:
        symbols = self._around(_symbols(tokens), torch.zeros((), dtype=tokens.dtype, device=tokens.device))
        around = symbols.flatten(0, 1)
        if self.recompute_activations and self.training:
            return checkpoint(self.answer_symbols, around, use_reentrant=False).unflatten(0, tokens.shape)
        return self.answer_symbols(around).unflatten(0, tokens.shape)

    def embed(self, tokens: Tensor) -> Tensor:
        return self.look(_symbols(tokens))

    def predict(self, x: Tensor) -> Tensor:
        blank = self.look(torch.zeros((), dtype=torch.long, device=x.device))
        return self.answer(self._around(x, blank).flatten(0, 1)).unflatten(0, x.shape[:2])

    def _around(self, x: Tensor, blank: Tensor) -> Tensor:
        """The neighbourhood of every position: `(B, T, ...) -> (B, T, W, ...)`, with `blank (...)` where there is nothing."""
        B, T = x.shape[:2]
        before, after = max(0, -min(self.offsets)), max(0, max(self.offsets))
        edge = [blank.expand(B, length, *blank.shape) for length in (before, after)]
        longer = torch.cat([edge[0], x, edge[1]], dim=1)
        # slices, where an index would cost a scatter in each backward pass
        return torch.stack([longer[:, before + offset : before + offset + T] for offset in self.offsets], dim=2)

    def _number(self, symbols: Tensor) -> Tensor:
        dtype = next(self.parameters()).dtype
        return (2 * symbols - self.vocabulary).to(dtype) / (self.vocabulary + 1)

    def visible(self, context: int) -> Tensor:
        distance = torch.arange(context) - torch.arange(context).unsqueeze(1)  # s - t
        return torch.isin(distance, torch.tensor(self.offsets))

    def initial_state(self, batch: int) -> Ring:
        reach = 1 - min(self.offsets)
        device = next(self.parameters()).device
        return Ring(torch.zeros(batch, reach, dtype=torch.long, device=device), 0)

    def step(self, token: Tensor, state: Ring) -> tuple[Tensor, Ring]:
        symbols, place = state
        symbols[:, place] = _symbols(token)
        reach = symbols.shape[1]
        around = symbols[:, [(place + offset) % reach for offset in self.offsets]]
        return self.answer_symbols(around), Ring(symbols, (place + 1) % reach)

    def window_flops(self, context: int) -> Flops:
        return self.answer_flops() * context

    def inference_flops(self, context: int) -> Flops:
        return self.answer_flops()


def _symbols(tokens: Tensor) -> Tensor:
    return (tokens + 1).clamp(min=0)


def one_segment_each(first: Component, vocabulary: int) -> Component:
    """A piecewise map of symbols' numbers with a segment for each of the V + 1, unless it says otherwise."""
    if first.kind == "piecewise" and "segments" not in first.options:
        return first.model_copy(update={"segments": vocabulary + 1})
    return first


def last(window: int, context: int) -> range:
    """Offsets of the last `window` positions, or of all that a context holds where those are fewer."""
    return range(1 - min(window, context), 1)


def between(before: int, after: int) -> list[int]:
    """Offsets of the neighbours of a position, itself left out."""
    return [*range(-before, 0), *range(1, after + 1)]
