"""Windows of tokens: which ones, in which order, and what of them is scored.

Training windows tile the text a run may see: one epoch predicts every character about once. Where the tiles begin and in which
order they come is drawn anew each epoch from (seed, epoch) alone, so the same seed gives every variant the same batches, and a
resumed run asks for the next step and gets it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnn_bench.config.errors import UserError
from nnn_bench.data.store import Tokens


class TrainingBatches:
    """Batches of `batch` windows of `context` inputs and targets, `ahead` tokens on, from the first `limit` tokens."""

    def __init__(self, tokens: Tokens, context: int, batch: int, seed: int, limit: int, ahead: int = 1):
        if limit > len(tokens):
            raise UserError(
                f"is {limit:,}, but the training split has {len(tokens):,}", key="language.training_characters"
            )
        self._tokens, self._context, self._batch, self._seed, self._ahead = tokens, context, batch, seed, ahead
        # the first tile may begin at any of `context` places, and the last target needs `ahead` tokens more
        self._windows = (limit - context + 1 - ahead) // context
        self._slack = limit - ahead - self._windows * context
        self._per_epoch = self._windows // batch
        if self._per_epoch < 1:
            raise UserError(
                f"{limit:,} characters hold {max(0, self._windows)} windows of {context}, fewer than a batch of {batch}",
                key="language.training_characters",
            )
        self._epoch, self._starts = -1, np.empty(0, dtype=np.int64)
        self._offsets = np.arange(context + ahead)

    def batch_at(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets `(batch, context)`, int64, of a step: a function of (seed, step) alone."""
        epoch, position = divmod(step, self._per_epoch)
        if epoch != self._epoch:
            self._epoch, self._starts = epoch, self._epoch_starts(epoch)
        starts = self._starts[position * self._batch : (position + 1) * self._batch]
        windows = torch.from_numpy(self._tokens[starts[:, None] + self._offsets].astype(np.int64))
        return windows[:, : self._context], windows[:, self._ahead :]

    def left_padded(
        self, step: int, inputs: Tensor, targets: Tensor, padding: int, masked: int
    ) -> tuple[Tensor, Tensor]:
        """The batch of a step as short texts at random places: the first p of T positions of each row, p drawn from 0 .. T - 1,
        become `padding`, and their targets `masked`. A function of (seed, step) alone."""
        draw = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self._seed, step, 1])))
        hidden = torch.from_numpy(draw.integers(self._context, size=(len(inputs), 1))) > torch.arange(self._context)
        return inputs.masked_fill(hidden, padding), targets.masked_fill(hidden, masked)

    def _epoch_starts(self, epoch: int) -> NDArray[np.int64]:
        draw = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self._seed, epoch])))
        first = draw.integers(self._slack + 1)
        return first + draw.permutation(self._windows).astype(np.int64) * self._context


class EvaluationWindows:
    """Windows that score each of consecutive targets once, each with at least half a context behind it.

    Windows of `context` begin every `context - context // 2` tokens, and the targets after the first `context // 2` are scored;
    the target of a position lies `ahead` tokens on. Where the target is the position itself (`ahead` 0), as many in the middle
    are scored, so that each has at least a quarter of the context on either side.
    """

    def __init__(self, tokens: Tokens, context: int, scored_tokens: int, ahead: int = 1):
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
        self._context, self._ahead = context, ahead
        self._offsets = np.arange(context + ahead)

    @property
    def scored_positions(self) -> NDArray[np.int64]:
        """Place in the split of every scored target, in order."""
        return (self._starts[:, None] + self._ahead + self._offsets[self.scored]).ravel()

    def chunks(self, windows: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and targets `(at most windows, context)`, in order."""
        for first in range(0, len(self._starts), windows):
            starts = self._starts[first : first + windows]
            block = torch.from_numpy(self._tokens[starts[:, None] + self._offsets].astype(np.int64))
            yield block[:, : self._context], block[:, self._ahead :]
