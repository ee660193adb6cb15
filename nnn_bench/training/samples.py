"""Text a trained model writes: token by token through `step`, or all of it at once, again and again.

A network that goes from left to right starts from its initial state, so a prompt shorter than the context needs no padding:
what is not there is not seen (a network that reads a window has blanks there). One that answers each place from both
its sides (`ahead` 0) is the rule of a cellular automaton, and makes a text of the same length out of a text. There,

    x'_t ~ top-k of softmax(logits_t(x) / temperature)        for all t at once, from the text x of the pass before

Source: language-interpolation, which padded prompts with spaces on the left, as its networks had no blank.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnn_bench.config.recipe import LanguageScale
from nnn_bench.data.store import Tokens, TokenStore
from nnn_bench.measure.novelty import novelty
from nnn_bench.models.language_model import LanguageModel

TEMPERATURE = 0.8
TOP_K = 40
PASSES = 10


def samples_of(
    model: LanguageModel, store: TokenStore, scale: LanguageScale, objective: str, ahead: int, seed: int
) -> list[dict[str, Any]]:
    """What a trained model makes of the first half window of the test split, and how much of that is new.

    `{prompt, text, copied_share, before_repeat}`, and `passes` where it rewrote the prompt. One that learnt answers alone gives
    the first answer of the test split, to where it ends it. None without `step`, or of one whose target lies further ahead or
    beside a question: there is no next token to write down.
    """
    if not scale.sample_tokens or objective == "aligned":
        return []
    prompt = [int(token) for token in _prompt(store, scale, objective)]
    told: dict[str, Any] = {"prompt": store.decode(prompt)}
    if ahead == 0:
        *_, text = rewrite(model, prompt, PASSES, seed=seed)
        told["passes"] = PASSES
    elif ahead == 1 and model.streams:
        end = store.manifest.marks["end"] if objective == "answers" else None
        text = sample(model, prompt, scale.sample_tokens, seed=seed, end=end)
    else:
        return []
    told["text"] = store.decode(text)
    return [{**told, **novelty(text, store.seen(scale.training_characters))}]


def _prompt(store: TokenStore, scale: LanguageScale, objective: str) -> Tokens:
    """What to go on from: the beginning of the test split, or a context of what stands before its first answer."""
    if objective != "answers":
        return store.test[: scale.context // 2]
    answer = int(np.flatnonzero(store.targets("test"))[0])
    return store.test[max(0, answer - scale.context) : answer]


def sample(
    model: LanguageModel,
    prompt: list[int],
    tokens: int,
    *,
    seed: int,
    temperature: float = TEMPERATURE,
    top_k: int = TOP_K,
    end: int | None = None,
) -> list[int]:
    """`tokens` ids that follow `prompt` (at least one id): the first that `generate` gives; fewer if one is `end`."""
    drawn = generate(model, prompt, seed=seed, temperature=temperature, top_k=top_k)
    return list(until(itertools.islice(drawn, tokens), end))


def until(ids: Iterable[int], end: int | None) -> Iterator[int]:
    """`ids` up to the first that is `end`, and that one."""
    for one in ids:
        yield one
        if one == end:
            return


@torch.no_grad()
def generate(
    model: LanguageModel, prompt: list[int], *, seed: int, temperature: float = TEMPERATURE, top_k: int = TOP_K
) -> Iterator[int]:
    """Ids that follow `prompt` (at least one id), without end, drawn from the `top_k` likeliest at `temperature`.

    When the window is full the model starts afresh on its last half, the same way for every architecture. Of a longer prompt
    it sees the last window.
    """
    model.eval()
    device, generator = _device(model), torch.Generator().manual_seed(seed)
    half = max(1, model.context // 2)
    text = waiting = prompt[-model.context :]
    state, room = model.initial_state(1), model.context
    while True:
        for token in waiting:
            logits, state = model.step(torch.tensor([token], device=device), state)
            room -= 1
        drawn = _drawn(logits, generator, temperature, top_k)
        yield int(drawn)
        text = [*text, int(drawn)][-half:]
        waiting = text[-1:]
        if room == 0:
            waiting, state, room = text, model.initial_state(1), model.context


@torch.no_grad()
def rewrite(
    model: LanguageModel,
    prompt: list[int],
    passes: int,
    *,
    seed: int,
    temperature: float = TEMPERATURE,
    top_k: int = TOP_K,
) -> Iterator[list[int]]:
    """What `passes` passes make of `prompt`, at most a context long: the text after each, for a network of `ahead` 0."""
    model.eval()
    generator = torch.Generator().manual_seed(seed)
    text = torch.tensor([prompt], device=_device(model))
    for _ in range(passes):
        text = _drawn(model(text)[0], generator, temperature, top_k).unsqueeze(0).to(text.device)
        yield text[0].tolist()


def _drawn(logits: Tensor, generator: torch.Generator, temperature: float, top_k: int) -> Tensor:
    """One id for each row of logits `(N, V)`: `(N,)`, on the CPU."""
    best = logits.double().cpu().topk(min(top_k, logits.shape[-1]))
    # less the best, so that no temperature is too low to divide by
    shares = ((best.values - best.values[:, :1]) / temperature).softmax(-1)
    return best.indices.gather(1, torch.multinomial(shares, 1, generator=generator)).squeeze(1)


def _device(model: LanguageModel) -> torch.device:
    """Where the model lies; one without parameters lies on the CPU."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
