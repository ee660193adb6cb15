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
        return AlignedBatches(_Aligned(store, "train", tokens, scale.context), scale.context, scale.batch, seed)
    wanted = store.targets("train")[: len(tokens)] if objective == "answers" else None
    return TrainingBatches(tokens, scale.context, scale.batch, seed, ahead, wanted)


def evaluation_windows(
    store: TokenStore, split: SplitName, scale: LanguageScale, objective: str, ahead: int
) -> ScoredWindows:
    """What a run is scored on: the same for all variants and seeds. Raises `UserError` where a split holds too little."""
    if objective == "aligned":
        pairs = _Aligned(store, split, store.tokens(split), scale.context)
        return AlignedWindows(pairs, scale.context, _asked_for(scale, split))
    return _windows(store, split, scale, objective, ahead)


def predicted_share(store: TokenStore, scale: LanguageScale, objective: str) -> float:
    """The share of the positions of a run's windows that have a target."""
    tokens = store.seen(scale.training_characters)
    if objective == "aligned":
        return float(np.minimum(_spans(store, "train", tokens)[:, 3], scale.context).mean()) / scale.context
    if objective == "next":
        return 1.0
    share = float(store.targets("train")[: len(tokens)].mean())
    if not share:
        raise UserError(f"{scale.training_characters:,} hold no answer; let a run see more", key=_KEYS["train"])
    return share


def question_share(store: TokenStore, scale: LanguageScale) -> float:
    """The share of the scored tokens of answers whose window holds all that was asked: a short window may hold none of it."""
    windows = _windows(store, "test", scale, "answers", ahead=1)
    places, begins = windows.scored_positions, windows.scored_begins
    spans = _spans(store, "test", store.test)
    pair = np.maximum(0, np.searchsorted(spans[:, 2], places, side="right") - 1)
    inside = (spans[pair, 2] <= places) & (places < spans[pair, 2] + spans[pair, 3])
    return float((inside & (spans[pair, 0] >= begins)).mean())


#: What of a scale says how much of a split is used.
_KEYS: dict[SplitName, str] = {
    "train": "language.training_characters",
    "validation": "language.validation_tokens",
    "test": "language.test_tokens",
}


def _windows(
    store: TokenStore, split: SplitName, scale: LanguageScale, objective: str, ahead: int
) -> EvaluationWindows:
    """Windows of the stream, of which answers alone, or all but marks, are scored."""
    tokens = store.tokens(split)
    wanted = store.targets(split) if objective == "answers" else None
    if store.manifest.marks:
        spoken = (tokens < store.tokenizer.size).astype(np.uint8)
        wanted = spoken if wanted is None else spoken & wanted
    windows = EvaluationWindows(tokens, scale.context, _asked_for(scale, split), ahead, wanted)
    if not len(windows.scored_positions):
        raise UserError(f"what is used of the {split} split holds nothing to score; ask for more", key=_KEYS[split])
    return windows


def _asked_for(scale: LanguageScale, split: SplitName) -> int:
    return scale.validation_tokens if split == "validation" else scale.test_tokens


def _spans(store: TokenStore, split: SplitName, tokens: Tokens) -> NDArray[np.int64]:
    """Questions and their answers, whole, in what is used of a split: `(n, 4)`, see `Answers`."""
    store.targets(split)  # refuses text
    spans = answers_in(tokens, store.tokenizer.size).spans
    if not len(spans):
        raise UserError(f"what is used of the {split} split holds no question with its answer", key=_KEYS[split])
    return spans


class _Aligned:
    """Questions padded or cut to `context`, and their answers beside them: `(rows, context)` each.

    What lies behind a question is the mark of its end; what lies behind an answer is `MASKED`.
    """

    def __init__(self, store: TokenStore, split: SplitName, tokens: Tokens, context: int):
        self.spans, self._tokens, self._offsets = _spans(store, split, tokens), tokens, np.arange(context)
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

    def __init__(self, pairs: _Aligned, context: int, batch: int, seed: int):
        self._pairs = pairs
        super().__init__(len(pairs.spans), context, batch, seed)

    def _drawn(self, draw: np.random.Generator) -> NDArray[np.int64]:
        return draw.permutation(self._items).astype(np.int64)

    def _read(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        return self._pairs.read(rows)


class AlignedWindows:
    """The first pairs of a split, every token of an answer scored: `ScoredWindows`."""

    def __init__(self, pairs: _Aligned, context: int, scored_tokens: int):
        self._pairs = pairs
        self.scored = slice(0, context)
        lengths = np.minimum(pairs.spans[:, 3], context).cumsum()
        self._rows = min(len(lengths), int(np.searchsorted(lengths, scored_tokens)) + 1)

    @property
    def scored_positions(self) -> NDArray[np.int64]:
        return self._pairs.places(self._rows)

    def chunks(self, windows: int) -> Iterator[tuple[Tensor, Tensor]]:
        for first in range(0, self._rows, windows):
            yield self._pairs.read(np.arange(first, min(first + windows, self._rows)))
