"""The n-gram ladder: what counting alone reaches on the same text, so that a loss can be read.

Interpolated Witten-Bell back-off. For a context h of n - 1 tokens that was seen c(h) times before D(h) different tokens,

    p_n(w | h) = (c(h, w) + D(h) p_{n-1}(w | h')) / (c(h) + D(h))        h' is h without its oldest token
    p_n(w | h) = p_{n-1}(w | h')                                         where h was never seen
    p_0(w)     = 1 / V

Where the target lies `ahead` tokens after a position, w is that token and h still ends at the position: the ladder of a study
that predicts at a distance knows what its networks may know, and no more.

Counting is sorting: the number of an n-gram is its rank among those seen, and the (n+1)-grams are pairs (rank of the first
n tokens, next token), so that a key fits 64 bits at any order and vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnn_bench.config.errors import UserError
from nnn_bench.config.recipe import LanguageScale
from nnn_bench.data.objectives import evaluation_windows
from nnn_bench.data.store import TokenStore

ORDERS = 6
FLOOR_ORDER = 3

_UNSEEN = -1


@dataclass(frozen=True)
class _Order:
    """What was seen after each context, as sorted keys (rank of the context x V + token), and the counts of their contexts.

    `grams` are the keys whose token follows its context at once: the contexts of the next order.
    """

    keys: NDArray[np.int64]
    counts: NDArray[np.int64]
    context_counts: NDArray[np.int64]
    context_kinds: NDArray[np.int64]
    grams: NDArray[np.int64]

    @property
    def contexts(self) -> int:
        return int(np.count_nonzero(self.context_counts))


def _ranks(seen: NDArray[np.int64], keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rank of each key among the sorted ones `seen`, or -1."""
    places = np.minimum(np.searchsorted(seen, keys), len(seen) - 1)
    return np.where(seen[places] == keys, places, _UNSEEN)


class NgramModel:
    """Counts of orders 1 to `orders` over `tokens` `(N,)`, N >= orders + ahead, of ids below `vocabulary`."""

    def __init__(self, tokens: NDArray[np.integer], vocabulary: int, orders: int = ORDERS, ahead: int = 1):
        self.vocabulary, self._gap = vocabulary, ahead - 1
        self.orders: list[_Order] = []
        following = np.asarray(tokens, dtype=np.int64)
        contexts, known = np.zeros(len(following), dtype=np.int64), 1  # rank of the context before each token
        for _ in range(orders):
            seen = contexts[: len(contexts) - self._gap] * vocabulary + following[self._gap :]
            keys, counts = np.unique(seen, return_counts=True)
            grams, ranks = np.unique(contexts * vocabulary + following, return_inverse=True)
            owners = keys // vocabulary
            totals = np.bincount(owners, weights=counts, minlength=known).astype(np.int64)
            self.orders.append(_Order(keys, counts, totals, np.bincount(owners, minlength=known), grams))
            # the n-gram that ends just before a token is the context of its (n+1)-gram
            contexts, following, known = ranks[:-1], following[1:], len(grams)

    def probabilities(self, tokens: NDArray[np.integer], positions: NDArray[np.int64]) -> NDArray[np.float64]:
        """p(tokens[i] | what stands up to `ahead` before it in `tokens`) for i in `positions`, `(orders, positions)`.

        A token with fewer than n - 1 tokens there has no context of order n, and backs off.
        """
        stream = np.asarray(tokens, dtype=np.int64)
        contexts = np.zeros(len(stream), dtype=np.int64)
        estimate = np.full(len(positions), 1.0 / self.vocabulary)
        found = np.empty((len(self.orders), len(positions)))
        for n, order in enumerate(self.orders):
            known = np.where(positions < self._gap, _UNSEEN, contexts[positions - self._gap])
            ranks = np.where(known == _UNSEEN, _UNSEEN, _ranks(order.keys, known * self.vocabulary + stream[positions]))
            estimate = _interpolated(order, known, ranks, estimate)
            found[n] = estimate
            grams = np.where(contexts == _UNSEEN, _UNSEEN, _ranks(order.grams, contexts * self.vocabulary + stream))
            contexts = np.concatenate([[_UNSEEN], grams[:-1]])
        return found


def _interpolated(
    order: _Order, contexts: NDArray[np.int64], ranks: NDArray[np.int64], lower: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Probabilities at one order from those of the order below, all `(positions,)`."""
    counts = np.where(ranks == _UNSEEN, 0, order.counts[ranks])
    totals = np.where(contexts == _UNSEEN, 0, order.context_counts[contexts])
    kinds = order.context_kinds[contexts]
    # the last n-gram of the text is a context that nothing followed: seen, yet without counts
    return np.where(totals == 0, lower, (counts + kinds * lower) / np.maximum(totals + kinds, 1))


def ladder(store: TokenStore, scale: LanguageScale, objective: str = "next", ahead: int = 1) -> dict[str, Any]:
    """Losses of orders 1 to 6, counted on what a run may see and scored on the targets it is scored on.

    `content_sha256` is the hash of the content; `loss` is in nats per token; `test_tokens` in the result is the number of
    targets really scored. What counts is all that stands before a target, questions and marks too, whatever a network of the
    same study may see. Raises `UserError` when the training split is shorter than the scale asks for, or the test split has no
    window of its context.
    """
    seen = store.seen(scale.training_characters)
    if len(seen) < ORDERS + ahead:
        raise UserError(
            f"is {scale.training_characters:,}, but n-grams need {ORDERS + ahead} tokens",
            key="language.training_characters",
        )
    positions = evaluation_windows(store, "test", scale, objective, ahead).scored_positions
    # a target that is the position itself is counted from what stands before it, as ever
    model = NgramModel(seen, store.manifest.vocabulary, ahead=max(1, ahead))
    nats = -np.log(model.probabilities(store.test[: positions.max() + 1], positions)).sum(axis=1)
    text_bytes = int(store.token_bytes[store.test[positions]].sum())
    return {
        "dataset": store.manifest.dataset,
        "tokenizer": store.manifest.tokenizer,
        "content_sha256": store.manifest.content_sha256,
        "training_characters": scale.training_characters,
        "test_tokens": len(positions),
        "context": scale.context,
        "objective": objective,
        "ahead": ahead,
        "floor_order": FLOOR_ORDER,
        "orders": [
            {
                "order": n,
                "loss": float(total) / len(positions),
                "bits_per_byte": float(total) / (math.log(2) * text_bytes),
                "contexts": order.contexts,
            }
            for n, (total, order) in enumerate(zip(nats, model.orders, strict=True), start=1)
        ],
    }
