"""What a finished run says of itself: the same fields, whatever was trained."""

from __future__ import annotations

from typing import Any

from nnn_bench.training.configuration import RunConfiguration
from nnn_bench.training.environment import Environment


def result_of(
    configuration: RunConfiguration,
    fingerprint: str,
    environment: Environment,
    *,
    status: str,
    last: dict[str, Any],
    started: float,
    validation: dict[str, Any] | None,
    test: dict[str, Any] | None,
    samples: list[dict[str, Any]],
    weights: dict[str, Any],
    selection: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of `result.json`; `last` is a row as records have them, with the totals of the run.

    `selection` holds the last statistics of each of the `layers` that select and the `swap_rises` (None: nothing selects).
    """
    return {
        "run_key": configuration.run_key,
        "fingerprint": fingerprint,
        "variant": configuration.variant,
        "dataset": configuration.dataset,
        "tokenizer": configuration.tokenizer,
        "budget": configuration.budget,
        "seed": configuration.seed,
        "status": status,
        "steps": last["step"],
        "tokens": last["tokens"],
        "flops": last["flops"],
        "seconds": last["seconds"],
        "started": started,
        "ended": last["time"],
        "validation": validation,
        "test": test,
        "samples": samples,
        "weights": weights,
        "selection": selection,
        "receipt": configuration.receipt,
        "environment": environment.facts(),
    }
