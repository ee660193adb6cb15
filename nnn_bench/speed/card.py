"""The inference card: what it costs a network to go on with a text that is `context` tokens long, `batch` texts at once.

prefill      forward over the text, to the logits of its last position: time to the first token
token        one `step` from the state at that length, which gives every text a token: the mean of the last few, since a network
             of several granularities works harder every so many tokens
recomputed   the same token without a state: forward over all that its answer depends on. The prefill again, but for a network
             that reads a window

No network here turns a text into a state at once: `state_seconds` is what the steps over the text take, the time to the first
token where a text is to be gone on with from its state. All is in the precision of the weights, without autocast.

Before anything is timed, `step` must say what `forward` says (`agreement.py`). One that has no step, or another one, has no
cached times, and `unavailable` in the row says why.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch

from nnn_bench.audit.probes import dice
from nnn_bench.config.errors import UserError
from nnn_bench.config.schema import Measurement
from nnn_bench.models.flops import Flops
from nnn_bench.models.language_model import LanguageModel
from nnn_bench.models.packing import pack_ternary_maps
from nnn_bench.speed.agreement import refusal
from nnn_bench.speed.counted import Work, counted
from nnn_bench.speed.energy import energy_per_token, meter_of
from nnn_bench.speed.reading import Reading
from nnn_bench.speed.roofline import Roofline, measure_roofline, weight_bytes
from nnn_bench.training.packing import Sizes

_LEAST_ROUNDS, _MOST_ROUNDS, _ROW_SECONDS = 3, 9, 0.4
_CHECKED = 2  # texts


def inference_card(
    model: LanguageModel,
    vocabulary: int,
    settings: Measurement,
    device: torch.device,
    *,
    larger: Callable[[int], LanguageModel] | None = None,
) -> dict[str, Any]:
    """The card of `model` in its last stage, at `settings.contexts` and `settings.batches`; the given model stays as it is.

    `larger(context)` builds the same network with room for longer texts than `model` has. Without it, rows of longer texts hold
    no times, and say so.
    """
    rows: list[dict[str, Any]] = []
    flops: dict[str, Any] = {}
    shares: dict[str, Any] = {}
    with torch.random.fork_rng(devices=[]):
        roofline = measure_roofline(device)
        longest: Reading | None = None
        for context in settings.contexts:
            roomy = _roomy(model, context, larger)
            if isinstance(roomy, str):
                rows += [_row(context, batch, roomy) for batch in settings.batches]
                continue
            asked = ready(roomy, device)
            tokens = torch.randint(vocabulary, (max(_CHECKED, *settings.batches), context), generator=dice(context))
            tokens = tokens.to(device)
            unavailable = refusal(asked, tokens[:_CHECKED])
            readings = [Reading.of(asked, tokens[:batch], stepping=unavailable is None) for batch in settings.batches]
            token, prefill = token_work(readings[0]), prefill_work(readings[0])
            flops[str(context)] = {**token.plain, "prefill": prefill.plain}
            if longest is None or context > longest.tokens.shape[1]:
                longest = readings[0]
            for reading in readings:
                row = measured_row(reading, unavailable)
                rows.append(row)
                shares[f"{context}x{row['batch']}"] = roofline_share(asked, row, token, prefill, roofline)
        return {
            "rows": rows,
            "packed_bits_per_weight": packed_bits(model),
            "flops": flops,
            "roofline": asdict(roofline),
            "roofline_share": shares,
            "energy": _energy(longest, device),
        }


def _roomy(model: LanguageModel, context: int, larger: Callable[[int], LanguageModel] | None) -> LanguageModel | str:
    """The network with room for `context` tokens, or why there is none."""
    if context <= model.context:
        return model
    if larger is None:
        return f"the network has room for {model.context} tokens"
    try:
        return larger(context)
    except UserError as error:  # a part that fits into its own context alone
        return error.message


def ready(model: LanguageModel, device: torch.device) -> LanguageModel:
    """A copy of `model` on `device` to be asked, not trained, in its last stage."""
    twin = copy.deepcopy(model).cpu()
    while twin.stage + 1 < twin.stages:
        twin.grow()
    return twin.to(device).eval().requires_grad_(False)


def packed_bits(model: LanguageModel) -> float | None:
    """Bits that a ternary weight takes when it is packed, scales included; None of a network without any."""
    twin = copy.deepcopy(model)
    return Sizes.of(twin).bits_per_weight if pack_ternary_maps(twin) else None


def token_work(reading: Reading) -> Work:
    """Operations for a token of one text, by the steps that are timed; without any, by the window that is read instead."""
    model, (batch, context) = reading.model, reading.tokens.shape
    if reading.state is None:
        return Work(model.window_flops(reading.window.shape[1]) * batch, counted(reading.recompute), batch)
    positions = range(context - reading.timed + 1, context + 1)
    declared = sum((model.inference_flops(position) for position in positions), Flops())
    return Work(declared * batch, counted(reading.go_on), reading.timed * batch)


def prefill_work(reading: Reading) -> Work:
    """Operations of a forward pass over one text."""
    batch, context = reading.tokens.shape
    return Work(reading.model.window_flops(context) * batch, counted(reading.prefill), batch)


def measured_row(reading: Reading, unavailable: str | None) -> dict[str, Any]:
    """Medians over a few rounds, in which each way of going on is taken once, in an order that turns round every time."""
    row = _row(reading.tokens.shape[1], len(reading.tokens), unavailable)
    same = reading.window.shape == reading.tokens.shape
    ways = {} if reading.state is None else {"token_seconds": reading.time_steps}
    ways["recomputed_token_seconds"] = reading.time(reading.recompute)
    if not same:
        ways["prefill_seconds"] = reading.time(reading.prefill)
        reading.prefill()  # once untimed; the steps have been taken once already
    reading.recompute()
    seconds, row["rounds"] = _interleaved(ways)
    row |= seconds
    if same:
        row["prefill_seconds"] = row["recomputed_token_seconds"]
    if reading.state is not None:
        row["state_bytes"] = reading.state_bytes
        row["state_seconds"] = reading.prefix_seconds + reading.timed * row["token_seconds"]
        row["cached_speedup"] = row["recomputed_token_seconds"] / row["token_seconds"]
    row["peak_memory_bytes"] = reading.peak_memory()
    return row


def roofline_share(
    model: LanguageModel, row: dict[str, Any], token: Work, prefill: Work, roofline: Roofline
) -> dict[str, float | None]:
    """How near a row comes to what the machine could do: of its prefill, and of a cached token."""
    batch, context = row["batch"], row["context"]
    answers = batch * context * model.vocabulary * next(model.parameters()).element_size()
    whole = roofline.share(
        batch * prefill.plain["declared"], weight_bytes(model, batch * context) + answers, row["prefill_seconds"]
    )
    if row["token_seconds"] is None:
        return {"prefill": whole, "token": None}
    touched = weight_bytes(model, batch) + row["state_bytes"]
    share = roofline.share(batch * token.plain["declared"], touched, row["token_seconds"])
    return {"prefill": whole, "token": share}


def _row(context: int, batch: int, unavailable: str | None) -> dict[str, Any]:
    """A row that is still to be filled in."""
    return {
        "context": context,
        "batch": batch,
        "prefill_seconds": None,
        "state_seconds": None,
        "token_seconds": None,
        "recomputed_token_seconds": None,
        "cached_speedup": None,
        "state_bytes": None,
        "peak_memory_bytes": None,
        "rounds": 0,
        "unavailable": unavailable,
    }


def _energy(reading: Reading | None, device: torch.device) -> dict[str, Any]:
    """Energy per token of the longest text that was read, and which text that is."""
    if reading is None:
        return {**energy_per_token(lambda: 0, None), "context": None, "batch": None}
    batch, context = reading.tokens.shape
    return {**energy_per_token(reading.work, meter_of(device)), "context": context, "batch": batch}


def _interleaved(ways: dict[str, Callable[[], float]]) -> tuple[dict[str, float], int]:
    """Median seconds of each way, and the number of rounds: as many as fit into a while."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    start, rounds = time.perf_counter(), 0
    while rounds < _LEAST_ROUNDS or (rounds < _MOST_ROUNDS and time.perf_counter() - start < _ROW_SECONDS):
        for name in list(ways) if rounds % 2 == 0 else reversed(ways):
            found[name].append(ways[name]())
        rounds += 1
    return {name: statistics.median(seconds) for name, seconds in found.items()}, rounds
