"""Who sees whom: every position is poked, alone and with all that follow it, and every answer is differentiated.

influence[t, s]: how far the logits at t move when position s is replaced by other tokens, or by unit-scale noise between `embed`
and `predict`. One window at a time, so that a scale taken over the whole batch cannot hide. A poke at one position misses block
means, tokens alone miss scales, and gradients miss both a maximum (none reaches what is not the largest) and what is detached;
together they miss nothing known (T1, T3 and T6 of the catalogue of leaks).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nnn_bench.audit.findings import Finding, not_applicable
from nnn_bench.audit.probes import TOLERANCE, answer, answer_to, dice, distance, embedded, noise, others, windows
from nnn_bench.models.language_model import LanguageModel

_NO_GRADIENT = "the model has no gradient"


@dataclass(frozen=True)
class Influence:
    """`(T, T)`, answers in rows: by a poke at one position, by a poke at it and all that follow, and by gradient."""

    alone: Tensor
    onwards: Tensor
    gradient: Tensor | None  # None where there is none to ask for
    claimed: Tensor
    forbidden: Tensor
    pokes: int


def influence(model: LanguageModel, rounds: int) -> Influence:
    """Poke a frozen copy of a network everywhere: in each round another window, and two replacements at every place."""
    T, draw = model.context, dice(1)
    alone, onwards = torch.zeros(T, T, dtype=torch.float64), torch.zeros(T, T, dtype=torch.float64)
    pokes = 0
    for _ in range(rounds):
        tokens = windows(model, 1, draw)
        x = embedded(model, tokens) if model.differentiable else None
        plain, plain_of_x = answer(model, tokens), None if x is None else answer_to(model, x)
        for s in range(T):
            for last, seen in ((s + 1, alone), (T, onwards)):
                poked = tokens.clone()
                poked[:, s:last] = others(tokens[:, s:last], model.vocabulary, draw)
                moved = [distance(answer(model, poked), plain)]
                if x is not None and plain_of_x is not None:
                    noisy = x.clone()
                    noisy[:, s:last] = noise(x[:, s:last], draw)
                    moved.append(distance(answer_to(model, noisy), plain_of_x))
                seen[:, s] = torch.stack([seen[:, s], *(one[0] for one in moved)]).amax(dim=0)
                pokes += len(moved)
    gradient = None if x is None else _gradient(model, x, draw)
    return Influence(alone, onwards, gradient, model.visible(T), model.hidden(T), pokes)


def _gradient(model: LanguageModel, x: Tensor, draw: torch.Generator) -> Tensor:
    """Largest gradient of the logits at t, along a random direction, to the vector at s: `(T, T)`."""
    x = x.detach().requires_grad_()
    torch.manual_seed(0)
    logits = model.predict(x)[0]
    rows = torch.zeros(len(logits), len(logits), dtype=torch.float64)
    if not logits.requires_grad:  # nothing differentiable leads from the input to the logits
        return rows
    for t in range(len(logits)):
        direction = torch.randn(logits.shape[1], generator=draw, dtype=torch.float64)
        [found] = torch.autograd.grad(logits[t] @ direction, x, retain_graph=True, allow_unused=True)
        if found is not None:
            rows[t] = found[0].abs().nan_to_num(nan=torch.inf).amax(dim=-1)
    return rows


def future_tokens(seen: Influence) -> Finding:
    """No answer moves with its target or with what comes after that."""
    # replaced are position s and all that follow: only where all of them are forbidden must nothing move
    all_forbidden = seen.forbidden.flip(1).cummin(dim=1).values.flip(1)
    moved = torch.maximum(seen.alone * seen.forbidden, seen.onwards * all_forbidden)
    largest, count, pairs = _leaks(moved, seen.forbidden)
    numbers = {"worst": largest, "leaks": count, "pairs": pairs, "pokes": seen.pokes}
    if not count:
        saw = f"{seen.pokes:,} pokes at {len(moved)} positions left every logit before them as it was, to {largest:.1g}"
        return Finding("future_tokens", True, saw, numbers)
    t, s = _place(moved)
    how = "was replaced" if seen.alone[t, s] >= seen.onwards[t, s] else "and all that follow were replaced"
    saw = (
        f"logits at position {t} moved by {largest:.2g} when position {s} {how}; {count:,} of {pairs:,} such pairs leak"
    )
    return Finding("future_tokens", False, saw, numbers)


def future_gradient(seen: Influence) -> Finding:
    """No answer has a gradient to what comes after it."""
    if seen.gradient is None:
        return not_applicable("future_gradient", _NO_GRADIENT)
    reached = seen.gradient * seen.forbidden
    largest, count, pairs = _leaks(reached, seen.forbidden)
    numbers = {"worst": largest, "leaks": count, "pairs": pairs}
    if not count:
        saw = f"the largest gradient of any of {len(reached)} answers to what comes after it is {largest:.1g}"
        return Finding("future_gradient", True, saw, numbers)
    t, s = _place(reached)
    saw = f"logits at position {t} have gradient {largest:.2g} to position {s}; {count:,} of {pairs:,} such pairs leak"
    return Finding("future_gradient", False, saw, numbers)


def past_coverage(seen: Influence) -> Finding:
    """Every answer depends on every position that the network claims it does, however weakly, and on no other before it."""
    if seen.gradient is None:
        return not_applicable("past_coverage", f"{_NO_GRADIENT}, and a poke need not turn any of its branches")
    T = len(seen.gradient)
    # between a position and a target that lies further ahead, a network that claims nothing may see what it likes
    past = torch.ones(T, T, dtype=torch.bool)
    past = past if seen.claimed.triu(1).any() else past.tril()
    # a gradient that is exactly zero is a missing path; a hidden one may still show when poked
    reached = (seen.gradient != 0) | (seen.alone > TOLERANCE)
    unseen, unclaimed = seen.claimed & ~reached, past & reached & ~seen.claimed
    count, pairs, extra = int(unseen.sum()), int(seen.claimed.sum()), int(unclaimed.sum())
    reach = seen.gradient[-1] / seen.gradient[-1].max().clamp_min(torch.finfo(torch.float64).tiny)
    weakest = reach.masked_fill(~seen.claimed[-1], torch.inf)
    share = pairs / int(past.sum())
    numbers = {
        "worst": float(count + extra),
        "unseen": count,
        "unclaimed": extra,
        "pairs": pairs,
        "share": share,
        "weakest": weakest.min().item(),
    }
    if count:
        t, s = _place(unseen.double().flip(0))
        saw = f"the answer at position {T - 1 - t} does not see position {s}; {count:,} of {pairs:,} such pairs are unseen"
        return Finding("past_coverage", False, saw, numbers)
    if extra:
        t, s = _place(unclaimed.double())
        saw = (
            f"the answer at position {t} sees position {s}, which the network claims it does not; so do {extra:,} pairs"
        )
        return Finding("past_coverage", False, saw, numbers)
    whole = "every position up to their own" if share == 1 else f"what they claim, {share:.0%} of the past"
    how = f"the last one position {int(weakest.argmin())} at {weakest.min().item():.1g} of its strongest"
    return Finding("past_coverage", True, f"all {T} answers see {whole}, {how}", numbers)


def _leaks(moved: Tensor, forbidden: Tensor) -> tuple[float, int, int]:
    return moved.max().item(), int((moved > TOLERANCE).sum()), int(forbidden.sum())


def _place(matrix: Tensor) -> tuple[int, int]:
    return divmod(int(matrix.argmax()), matrix.shape[1])
