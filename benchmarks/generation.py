"""Going on with a text from a state, against reading all of it again for every token; and what a longer text costs each token.

The texts are single. `recomputed / cached` is at 256 tokens. `T 1024 / T 64` is of cached steps alone: 1 is flat, as it must be
where a state does not grow. Every network has 200,000 body parameters, fresh weights, and room for just the text; before it is
timed, its step must say what it says of the whole text at once.
"""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.timing import arguments, interleaved, publish, row
from nnn_bench.budget.solver import solve
from nnn_bench.config.catalog import Catalog
from nnn_bench.config.paths import Project
from nnn_bench.models.build import build
from nnn_bench.speed.agreement import refusal
from nnn_bench.speed.card import ready
from nnn_bench.speed.reading import Reading

BODY, VOCABULARY, CONTEXT = 200_000, 65, 256
SHORT, LONG = 64, 1024
FLAT = ("matmul_free", "mlgru_dense", "mamba", "high_order_mlp")  # a state of one size, whatever the text


def reading(catalog: Catalog, name: str, context: int) -> Reading:
    """A variant in the middle of one text of `context` tokens."""
    file = str(catalog.file("variants", name))
    tree = solve(catalog.variant(name), BODY, vocabulary=VOCABULARY, context=context, file=file).model
    model = ready(build(tree, vocabulary=VOCABULARY, context=context, file=file), torch.device("cpu"))
    tokens = torch.randint(VOCABULARY, (1, context))
    unavailable = refusal(model, tokens)
    assert unavailable is None, f"{name}: {unavailable}"
    return Reading.of(model, tokens, stepping=True)


def gained(catalog: Catalog, name: str, rounds: int) -> dict[str, Any]:
    """`recomputed / cached`, per token; the steps are timed as many as a reading has, and shared out."""
    at = reading(catalog, name, CONTEXT)
    seconds = interleaved({"cached": at.go_on, "recomputed": at.recompute}, rounds=rounds)
    seconds["cached"] = [one / at.timed for one in seconds["cached"]]
    return row(f"{name} T {CONTEXT}", seconds)


def flatness(catalog: Catalog, name: str, rounds: int) -> dict[str, Any]:
    """What a cached token costs after a long text, in units of one after a short text."""
    at = {f"T {context}": reading(catalog, name, context) for context in (SHORT, LONG)}
    return row(f"{name} cached", interleaved({name: one.go_on for name, one in at.items()}, rounds=rounds))


def main() -> None:
    chosen = arguments(__doc__ or "")
    torch.manual_seed(chosen.seed)
    catalog = Catalog(Project.find())
    rows = [gained(catalog, name, chosen.rounds) for name in catalog.study("language").variants]
    rows += [flatness(catalog, name, chosen.rounds) for name in ("gpt2", *FLAT)]
    note = (
        "a cached token against a recomputed one; target: recomputed / cached >= 5, T 1024 / T 64 near 1 but for gpt2"
    )
    publish("generation", rows, chosen.threads, note)


if __name__ == "__main__":
    main()
