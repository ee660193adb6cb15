"""A network in the middle of some texts: how it may go on, and what it holds in mind meanwhile."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nnn_bench.models.cache import Cache
from nnn_bench.models.language_model import LanguageModel
from nnn_bench.models.window import WindowNetwork
from nnn_bench.speed.roofline import synchronize

_TIMED = 16  # steps; a multiple of every granularity of the networks of the suites


@dataclass(frozen=True)
class Reading:
    """`model` has read `tokens (B, T)` but for the last `timed`, and is in `state`; None, where it does not go token by token.

    `window (B, W)` is what the answer at the last position depends on, and `prefix_seconds` what it took to come to the state.
    """

    model: LanguageModel
    tokens: Tensor
    window: Tensor
    timed: int
    state: Any
    state_bytes: int | None
    prefix_seconds: float

    @classmethod
    def of(cls, model: LanguageModel, tokens: Tensor, *, stepping: bool) -> Reading:
        """Of texts that `model` has room for; `stepping`: whether it can go token by token through them."""
        batch, context = tokens.shape
        timed = max(1, min(_TIMED, context // 2))
        window = tokens[:, -_seen(model, context) :]
        if not stepping:
            return cls(model, tokens, window, timed, None, None, 0.0)
        start = _now(tokens.device)
        _, state = stepped(model, tokens[:, :-timed], model.initial_state(batch))
        seconds = _now(tokens.device) - start
        _, after = stepped(model, tokens[:, -timed:], copy.deepcopy(state))
        return cls(model, tokens, window, timed, state, state_bytes(after), seconds)

    @torch.no_grad()
    def prefill(self) -> Tensor:
        return self.model(self.tokens)[:, -1]

    @torch.no_grad()
    def recompute(self) -> Tensor:
        return self.model(self.window)[:, -1]

    def go_on(self) -> Tensor:
        """Logits `(B, V)` after the last token. The state before the timed ones is kept."""
        return stepped(self.model, self.tokens[:, -self.timed :], copy.deepcopy(self.state))[0][-1]

    def time_steps(self) -> float:
        """Seconds per step of the timed ones."""
        state = copy.deepcopy(self.state)
        start = _now(self.tokens.device)
        stepped(self.model, self.tokens[:, -self.timed :], state)
        return (_now(self.tokens.device) - start) / self.timed

    def time(self, call: Callable[[], object]) -> Callable[[], float]:
        """`call`, so that it gives its seconds."""

        def seconds() -> float:
            start = _now(self.tokens.device)
            call()
            return _now(self.tokens.device) - start

        return seconds

    def work(self) -> int:
        """Go on as quickly as the network can, and say how many tokens that gave."""
        if self.state is None:
            self.recompute()
            made = 1
        else:
            self.go_on()
            made = self.timed
        synchronize(self.tokens.device)
        return made * len(self.tokens)

    def peak_memory(self) -> int | None:
        """Most bytes that a GPU has in use while the network goes on, weights included; None on a processor, which has one count
        for all that a process ever did."""
        device = self.tokens.device
        if device.type != "cuda":
            return None
        torch.cuda.reset_peak_memory_stats(device)
        self.work()
        return torch.cuda.max_memory_allocated(device)


@torch.no_grad()
def stepped(model: LanguageModel, tokens: Tensor, state: Any) -> tuple[list[Tensor], Any]:
    """Logits `(B, V)` after each of `tokens (B, T)`, one by one from `state`, which may be overwritten; and the state then."""
    told = []
    for token in tokens.unbind(1):
        logits, state = model.step(token, state)
        told.append(logits)
    return told, state


def state_bytes(state: Any) -> int:
    """Bytes of all tensors in a state; of a cache those that are filled, whatever it has room for."""
    if isinstance(state, Cache):
        return sum(part.numel() * part.element_size() for part in state.filled)
    if isinstance(state, Tensor):
        return state.numel() * state.element_size()
    if isinstance(state, dict):
        return sum(state_bytes(part) for part in state.values())
    if isinstance(state, list | tuple):
        return sum(state_bytes(part) for part in state)
    return 0


def _seen(model: LanguageModel, context: int) -> int:
    """How many of the last tokens the answer at the last position depends on, for a network in which places have no numbers."""
    if isinstance(model, WindowNetwork) and model.ahead > 0:
        return min(context, 1 - min(model.offsets))
    return context


def _now(device: torch.device) -> float:
    synchronize(device)
    return time.perf_counter()
