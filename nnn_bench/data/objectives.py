"""What a study predicts: every next token, the tokens of answers alone, or, as a control, answers laid beside their questions.

- `next`: each token from those before it.
- `answers`: the same windows of the same stream, in which nothing but what an assistant says is a target: the honest form of
  training on questions and answers (a prefix language model without two-way attention to its prefix).
- `aligned`: token i of an answer from tokens 0 .. i of its question, both cut to a context. This is how one source trained
  (inputs = query, labels = response). Such a network never sees what of the answer stands already, so it is no model of
  language, whatever its loss says; it stands in studies of its own.

The marks of a conversation are learnt where they are targets, and never scored: they stand for no bytes of text.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnn_bench.config.errors import UserError
from nnn_bench.config.recipe import LanguageScale
from nnn_bench.data.batches import MASKED, Batches, EvaluationWindows, ScoredWindows, TrainingBatches
from nnn_bench.data.conversations.stream import answers_in
from nnn_bench.data.names import SplitName
from nnn_bench.data.store import Tokens, TokenStore


def training_batches(store: TokenStore, scale: LanguageScale, objective: str, ahead: int, seed: int) -> Batches:
    """The batches of a run. Raises `UserError` for a scale the data cannot serve, or text where answers are asked for."""
    tokens = store.seen(scale.training_characters)
    if objective == "aligned":
        return AlignedBatches(store, tokens, scale.context, scale.batch, seed)
    wanted = store.targets("train")[: len(tokens)] if objective == "answers" else None
    return TrainingBatches(tokens, scale.context, scale.batch, seed, ahead, wanted)


def evaluation_windows(
    store: TokenStore, split: SplitName, scale: LanguageScale, objective: str, ahead: int
) -> ScoredWindows:
    """What a run is scored on: the same for all variants and seeds. Raises `UserError` where a split holds too little."""
    tokens = store.tokens(split)
    scored = scale.validation_tokens if split == "validation" else scale.test_tokens
    if objective == "aligned":
        return AlignedWindows(store, tokens, scale.context, scored)
    wanted = store.targets(split) if objective == "answers" else None
    if store.manifest.marks:
        spoken = (tokens < store.tokenizer.size).astype(np.uint8)
        wanted = spoken if wanted is None else spoken & wanted
    return EvaluationWindows(tokens, scale.context, scored, ahead, wanted)


def predicted_share(store: TokenStore, scale: LanguageScale, objective: str) -> float:
    """The share of the positions of a run's windows that have a target."""
    tokens = store.seen(scale.training_characters)
    if objective == "aligned":
        return float(np.minimum(_spans(store, tokens)[:, 3], scale.context).mean()) / scale.context
    return float(store.targets("train")[: len(tokens)].mean()) if objective == "answers" else 1.0


def _spans(store: TokenStore, tokens: Tokens) -> NDArray[np.int64]:
    """Questions and their answers, whole, in a stream: `(n, 4)`, see `Answers`."""
    store.targets("train")  # refuses text
    spans = answers_in(tokens, store.tokenizer.size).spans
    if not len(spans):
        raise UserError("holds no question with its answer; let a run see more", key="language.training_characters")
    return spans


class _Aligned:
    """Questions padded or cut to `context`, and their answers beside them: `(rows, context)` each.

    What lies behind a question is the mark of its end; what lies behind an answer is `MASKED`.
    """

    def __init__(self, store: TokenStore, tokens: Tokens, context: int):
        self.spans, self._tokens, self._offsets = _spans(store, tokens), tokens, np.arange(context)
        self._end = store.manifest.marks["end"]

    def read(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        question, length, answer, answer_length = self.spans[rows].T[:, :, None]
        return self._filled(question, length, self._end), self._filled(answer, answer_length, MASKED)

    def _filled(self, begin: NDArray[np.int64], length: NDArray[np.int64], behind: int) -> Tensor:
        inside = self._offsets < length
        read = self._tokens[begin + np.where(inside, self._offsets, 0)].astype(np.int64)
        return torch.from_numpy(np.where(inside, read, behind))

    def places(self, rows: int) -> NDArray[np.int64]:
        """Places in the stream of the targets of the first rows, in order."""
        places = self.spans[:rows, 2:3] + self._offsets
        inside: NDArray[np.bool_] = self._offsets < self.spans[:rows, 3:4]
        return places[inside]


class AlignedBatches(Batches):
    """Answers aligned with their questions, each pair of the stream once an epoch."""

    ITEMS = "answers"

    def __init__(self, store: TokenStore, tokens: Tokens, context: int, batch: int, seed: int):
        self._pairs = _Aligned(store, tokens, context)
        super().__init__(len(self._pairs.spans), context, batch, seed)

    def _drawn(self, draw: np.random.Generator) -> NDArray[np.int64]:
        return draw.permutation(self._items).astype(np.int64)

    def _read(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        return self._pairs.read(rows)


class AlignedWindows:
    """The first pairs of a split, every token of an answer scored: `ScoredWindows`."""

    def __init__(self, store: TokenStore, tokens: Tokens, context: int, scored_tokens: int):
        self._pairs = _Aligned(store, tokens, context)
        self.scored = slice(0, context)
        lengths = np.minimum(self._pairs.spans[:, 3], context).cumsum()
        self._rows = min(len(lengths), int(np.searchsorted(lengths, scored_tokens)) + 1)

    @property
    def scored_positions(self) -> NDArray[np.int64]:
        return self._pairs.places(self._rows)

    def chunks(self, windows: int) -> Iterator[tuple[Tensor, Tensor]]:
        for first in range(0, self._rows, windows):
            yield self._pairs.read(np.arange(first, min(first + windows, self._rows)))
