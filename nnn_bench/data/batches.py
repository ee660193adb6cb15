"""Windows of tokens: which ones, in which order, and what of them is scored.

Training windows tile the text a run may see: one epoch predicts every character about once. Where the tiles begin and in which
order they come is drawn anew each epoch from (seed, epoch) alone, so the same seed gives every variant the same batches, and a
resumed run asks for the next step and gets it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnn_bench.config.errors import UserError
from nnn_bench.data.store import Tokens

MASKED = -100  # a target that is no part of the loss


class Batches(ABC):
    """Batches of inputs and targets `(batch, context)`, in an order that (seed, epoch) decides.

    An epoch has `items` rows, drawn by number; those that make no whole batch are left for other epochs.
    """

    ITEMS = "rows"  # what to call them

    def __init__(self, items: int, context: int, batch: int, seed: int):
        self._items, self._context, self._batch, self._seed = items, context, batch, seed
        self._per_epoch = items // batch
        if self._per_epoch < 1:
            raise UserError(
                f"holds {max(0, items)} {self.ITEMS} of {context} tokens, fewer than a batch of {batch}",
                key="language.training_characters",
            )
        self._epoch, self._rows = -1, np.empty(0, dtype=np.int64)

    def batch_at(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets `(batch, context)`, int64, of a step: a function of (seed, step) alone."""
        epoch, position = divmod(step, self._per_epoch)
        if epoch != self._epoch:
            draw = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self._seed, epoch])))
            self._epoch, self._rows = epoch, self._drawn(draw)
        return self._read(self._rows[position * self._batch : (position + 1) * self._batch])

    @abstractmethod
    def _drawn(self, draw: np.random.Generator) -> NDArray[np.int64]:
        """The rows of an epoch, in order."""

    @abstractmethod
    def _read(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Inputs and targets of some rows."""

    def left_padded(
        self, step: int, inputs: Tensor, targets: Tensor, padding: int, masked: int
    ) -> tuple[Tensor, Tensor]:
        """The batch of a step as short texts at random places: the first p of T positions of each row, p drawn from 0 .. T - 1,
        become `padding`, and their targets `masked`. A function of (seed, step) alone."""
        draw = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self._seed, step, 1])))
        hidden = torch.from_numpy(draw.integers(self._context, size=(len(inputs), 1))) > torch.arange(self._context)
        return inputs.masked_fill(hidden, padding), targets.masked_fill(hidden, masked)


class TrainingBatches(Batches):
    """Windows of `context` tokens of a stream and their targets, `ahead` tokens on.

    `wanted`, as long as `tokens`, says which may be targets; the others are `MASKED`.
    """

    ITEMS = "windows"

    def __init__(
        self,
        tokens: Tokens,
        context: int,
        batch: int,
        seed: int,
        ahead: int = 1,
        wanted: NDArray[np.uint8] | None = None,
    ):
        self._tokens, self._ahead, self._wanted = tokens, ahead, wanted
        # the first tile may begin at any of `context` places, and the last target needs `ahead` tokens more
        windows = (len(tokens) - context + 1 - ahead) // context
        self._slack = len(tokens) - ahead - windows * context
        self._offsets = np.arange(context + ahead)
        super().__init__(windows, context, batch, seed)

    def _drawn(self, draw: np.random.Generator) -> NDArray[np.int64]:
        first = draw.integers(self._slack + 1)
        return first + draw.permutation(self._items).astype(np.int64) * self._context

    def _read(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        return _windows(self._tokens, self._wanted, rows[:, None] + self._offsets, self._context, self._ahead)


def _windows(
    tokens: Tokens, wanted: NDArray[np.uint8] | None, places: NDArray[np.int64], context: int, ahead: int
) -> tuple[Tensor, Tensor]:
    """Inputs and targets at `places` `(rows, context + ahead)` of a stream."""
    windows = torch.from_numpy(tokens[places].astype(np.int64))
    targets = windows[:, ahead:]
    if wanted is not None:
        targets = targets.masked_fill(torch.from_numpy(wanted[places[:, ahead:]] == 0), MASKED)
    return windows[:, :context], targets


class ScoredWindows(Protocol):
    """What a model is scored on. `scored` are the positions of a window that count; a target that is `MASKED` never does."""

    scored: slice

    @property
    def scored_positions(self) -> NDArray[np.int64]:
        """Place in the split of every scored target, in order."""

    def chunks(self, windows: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and targets `(at most windows, context)`, in order."""


class EvaluationWindows:
    """Windows that score each of consecutive targets once, each with at least half a context behind it.

    Windows of `context` begin every `context - context // 2` tokens, and the targets after the first `context // 2` are scored;
    the target of a position lies `ahead` tokens on. Where the target is the position itself (`ahead` 0), as many in the middle
    are scored, so that each has at least a quarter of the context on either side. `wanted`, as long as `tokens`, says which
    tokens are targets at all; the others are `MASKED`.
    """

    def __init__(
        self,
        tokens: Tokens,
        context: int,
        scored_tokens: int,
        ahead: int = 1,
        wanted: NDArray[np.uint8] | None = None,
    ):
        stride = context - context // 2
        first = context // 2 if ahead else context // 4
        self.scored = slice(first, first + stride)
        room = (len(tokens) - ahead - context) // stride + 1 if len(tokens) >= context + ahead else 0
        windows = min(room, max(1, scored_tokens // stride))
        if windows < 1:
            raise UserError(
                f"is {context}, longer than the {len(tokens):,} tokens of a split that is scored, less {ahead} for the target",
                key="language.context",
            )
        self._tokens, self._starts = tokens, np.arange(windows) * stride
        self._context, self._ahead, self._wanted = context, ahead, wanted
        self._offsets = np.arange(context + ahead)

    @property
    def scored_positions(self) -> NDArray[np.int64]:
        """Place in the split of every scored target, in order."""
        return self._scored(self._places())

    @property
    def scored_begins(self) -> NDArray[np.int64]:
        """Place in the split at which the window of every scored target begins, in the same order."""
        return self._scored(np.broadcast_to(self._starts[:, None], self._places().shape))

    def _places(self) -> NDArray[np.int64]:
        places: NDArray[np.int64] = self._starts[:, None] + self._ahead + self._offsets[self.scored]
        return places

    def _scored(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        return values.ravel() if self._wanted is None else values[self._wanted[self._places()] == 1]

    def chunks(self, windows: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and targets `(at most windows, context)`, in order."""
        for first in range(0, len(self._starts), windows):
            places = self._starts[first : first + windows, None] + self._offsets
            yield _windows(self._tokens, self._wanted, places, self._context, self._ahead)
