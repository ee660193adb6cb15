"""How cost grows: milliseconds per token, in training and in inference, with the length of the text and with body parameters.

    ms = factor x size^exponent              or, where the sizes do not lie on such a line,
    ms = offset + factor x size^exponent     with the 95 % interval of the exponent (`statistics/scaling.py`)

Training is a whole step (forward, backward, clipping, AdamW) on about as many tokens at every length, so that length alone
changes. Inference is a cached step of a single text at that length; a network without one is read again. A cell that would take
longer than its share of time is not measured and says so, and so do those beyond it in the same row. The offset is what calling
operations costs, whatever they work on: most of a small network's step. A fit is refused, with the reason, where neither holds.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.timing import RESULTS, arguments, machine
from nnn_bench.budget.solver import solve
from nnn_bench.config.catalog import Catalog
from nnn_bench.config.errors import UserError
from nnn_bench.config.paths import Project
from nnn_bench.models.build import build
from nnn_bench.models.language_model import LanguageModel
from nnn_bench.speed.card import ready
from nnn_bench.speed.reading import Reading
from nnn_bench.statistics.scaling import LEAST_SIZES_WITH_OFFSET, PowerLaw, fit_power_law
from nnn_bench.training.optimizers import make_optimizer

VOCABULARY = 65
CONTEXTS = (64, 128, 256, 512, 1024, 2048)
BODIES = (50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000, 5_000_000)
QUICK_CONTEXTS, QUICK_BODIES = (64, 128, 256, 512), (50_000, 100_000, 200_000, 500_000)
BODY, CONTEXT = 200_000, 64  # what the other sweep holds still
TOKENS = 2048  # of a training step
CELL_SECONDS = 20.0
FLAT = 0.2  # an interval as narrow as this is an answer whatever the exponent: "does not grow"
_ROUNDS = 5

Seconds = Callable[[], float]


class TooSlow(Exception):
    """A cell would take more than its share of time."""


def network(catalog: Catalog, name: str, body: int, context: int) -> LanguageModel:
    """A variant of so many body parameters in its last stage, the largest it gets."""
    file = str(catalog.file("variants", name))
    tree = solve(catalog.variant(name), body, vocabulary=VOCABULARY, context=context, file=file).model
    model = build(tree, vocabulary=VOCABULARY, context=context, file=file)
    while model.stage + 1 < model.stages:
        model.grow()
    return model


def training_ms(catalog: Catalog, name: str, body: int, context: int) -> float:
    """Milliseconds of a training step per token."""
    model = network(catalog, name, body, context).train()
    study = catalog.study("language")
    optimizer = make_optimizer(model, study.training.optimizer, catalog.variant(name).learning_rate)
    ids = torch.randint(VOCABULARY, (max(1, TOKENS // context), context + 1))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return 1e3 * median(step) / (len(ids) * context)


def inference_ms(catalog: Catalog, name: str, body: int, context: int) -> float:
    """Milliseconds of a cached token of a single text."""
    model = ready(network(catalog, name, body, context), torch.device("cpu"))
    tokens = torch.randint(VOCABULARY, (1, context))
    if not model.streams:
        reading = Reading.of(model, tokens, stepping=False)
        return 1e3 * median(reading.recompute)
    start = clock()
    Reading.of(model, tokens[:, :16], stepping=True)
    if (clock() - start) / 16 * context > CELL_SECONDS:
        raise TooSlow(f"steps over {context} tokens would take more than {CELL_SECONDS:g} s")
    reading = Reading.of(model, tokens, stepping=True)
    return 1e3 * median(reading.go_on) / reading.timed


def median(call: Callable[[], object]) -> float:
    """Median seconds of a few calls, after one that does not count; as many as fit into a cell."""
    start = clock()
    call()
    if (clock() - start) * (_ROUNDS + 1) > CELL_SECONDS:
        raise TooSlow(f"{_ROUNDS + 1} calls would take more than {CELL_SECONDS:g} s")
    found = []
    for _ in range(_ROUNDS):
        start = clock()
        call()
        found.append(clock() - start)
    return statistics.median(found)


def clock() -> float:
    """Seconds: the processor's at one thread, which neighbours spoil less; the wall's where threads wait for each other."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def sweep(sizes: tuple[int, ...], cell: Callable[[int], float]) -> dict[str, Any]:
    """Every cell of one row, smallest first, and the fit through those that were measured."""
    cells: list[dict[str, Any]] = []
    slow = None
    for size in sizes:
        try:
            if slow:
                raise TooSlow(slow)
            cells.append({"size": size, "ms": cell(size), "not_measured": None})
        except TooSlow as reason:
            slow = f"{reason}" if slow else f"{reason}, at {size:,}"
            cells.append({"size": size, "ms": None, "not_measured": slow})
        except UserError as reason:  # a size that no setting of the knobs reaches
            cells.append({"size": size, "ms": None, "not_measured": reason.message})
    known = {one["size"]: one["ms"] for one in cells if one["ms"] is not None}
    found = fit_power_law(list(known), list(known.values()), tolerance=FLAT)
    if not isinstance(found, PowerLaw) and len(known) >= LEAST_SIZES_WITH_OFFSET:
        found = fit_power_law(list(known), list(known.values()), offset=True)
    if not isinstance(found, PowerLaw):
        return {"cells": cells, "fit": None, "refused": found.reason}
    low, high = sorted(-end for end in found.interval)  # there values fall with size, here they rise
    told = {"factor": found.factor, "exponent": -found.exponent, "interval": [low, high], "offset": found.offset}
    return {"cells": cells, "fit": told | {"r_squared": found.r_squared}, "refused": None}


def shown(row: dict[str, Any]) -> str:
    """One line for people."""
    times = " ".join("-" if one["ms"] is None else f"{one['ms']:.4g}" for one in row["cells"])
    if row["fit"] is None:
        return f"{row['variant']:<22} {row['what']:<9} {row['against']:<10} {times}   no exponent: {row['refused']}"
    low, high = row["fit"]["interval"]
    offset = f", beside {row['fit']['offset']:.2g} ms" if row["fit"]["offset"] else ""
    exponent = f"exponent {row['fit']['exponent']:.2f} [{low:.2f}, {high:.2f}]{offset}"
    return f"{row['variant']:<22} {row['what']:<9} {row['against']:<10} {times}   {exponent}"


def main() -> None:
    chosen = arguments(__doc__ or "", quick="four lengths to 512 and four sizes to 500,000")
    torch.manual_seed(chosen.seed)
    contexts, bodies = (QUICK_CONTEXTS, QUICK_BODIES) if chosen.quick else (CONTEXTS, BODIES)
    catalog = Catalog(Project.find())
    rows = []
    for name in catalog.study("language").variants:
        for what, ms in (("training", training_ms), ("inference", inference_ms)):
            found = {
                "context": sweep(contexts, lambda size, ms=ms, name=name: ms(catalog, name, BODY, size)),
                "parameters": sweep(bodies, lambda size, ms=ms, name=name: ms(catalog, name, size, CONTEXT)),
            }
            for against, told in found.items():
                rows.append({"variant": name, "what": what, "against": against, **told})
                print(shown(rows[-1]), flush=True)
    held = {"body_parameters": BODY, "context": CONTEXT, "tokens_per_training_step": TOKENS, "vocabulary": VOCABULARY}
    note = "ms per token against context and body parameters; the other one is held still"
    told = {"note": note, "machine": machine(chosen.threads), "held": held, "quick": chosen.quick, "rows": rows}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "cost_growth.json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
