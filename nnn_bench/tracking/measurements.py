"""What jobs of their own found out about a variant, as metrics: its times and memory, and the trials of its learning rate.

They are looked for where the variant's first run says that they lie, so that a configuration that was changed since shows nothing
of another network. A suite that asks for neither has no such files, and that is no error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnn_bench.config.files import digest
from nnn_bench.config.paths import Project
from nnn_bench.statistics.records import read_object

Values = dict[str, float | None]


def variant_measurements(project: Project, suite: str, run_key: str, baseline_key: str) -> Values:
    """Metrics of the variant that `run_key` is a run of, beside the baseline that `baseline_key` is a run of.

    Raises `UserError` for a file that is there and damaged.
    """
    own, base = (_settings(project, suite, key) for key in (run_key, baseline_key))
    pair = f"{_spec_key(own, 'anchor', 'search')}-{_spec_id(base, 'anchor', 'search')}"
    measured = _where_there(project, project.measured(pair), f"nnn-bench run {suite} speed")
    rates = _where_there(project, project.rates(_spec_key(own, "anchor")), f"nnn-bench run {suite} rates")
    return {**(measured_values(measured) if measured else {}), **(rate_values(rates) if rates else {})}


def measured_values(measured: dict[str, Any]) -> Values:
    """Metrics of what the speed lane and the inference card measured; None where they could not."""
    training, card = measured["training"], measured["inference"] or {}
    low, high = training["ratio"]["interval"]
    values: Values = {
        "time/ms_per_step": _times(training["step_seconds"], 1e3),
        "time/microseconds_per_predicted_token": _times(training["seconds_per_predicted_token"], 1e6),
        "time/ratio_to_baseline": training["ratio"]["median"],
        "time/ratio_to_baseline_low": low,
        "time/ratio_to_baseline_high": high,
        "time/compile_seconds": training["compile_seconds"],
        "memory/peak_bytes": training["peak_memory_bytes"],
        "inference/packed_bits_per_weight": card.get("packed_bits_per_weight"),
        "inference/joules_per_token": card.get("energy", {}).get("joules_per_token"),
    }
    for row in card.get("rows", ()):
        place = f"T{row['context']}_B{row['batch']}"
        values |= {
            f"inference/prefill_ms_{place}": _times(row["prefill_seconds"], 1e3),
            f"inference/ms_per_token_{place}": _times(row["token_seconds"], 1e3),
            f"inference/recomputed_ms_per_token_{place}": _times(row["recomputed_token_seconds"], 1e3),
            f"inference/state_bytes_{place}": row["state_bytes"],
        }
    return values


def rate_values(ledger: dict[str, Any]) -> Values:
    """Metrics of a search for the learning rate."""
    return {
        "rates/trials": len(ledger["trials"]),
        "rates/chosen_factor": ledger["chosen"]["factor"],
        "rates/chosen_learning_rate": ledger["chosen"]["learning_rate"],
        "rates/at_edge": float(ledger["at_edge"]),
    }


def _settings(project: Project, suite: str, run_key: str) -> dict[str, Any]:
    config = read_object(project, project.run(run_key) / "config.json", f"nnn-bench run {suite}")
    settings: dict[str, Any] = config["settings"]
    return settings


def _spec_id(settings: dict[str, Any], *without: str) -> str:
    """`RunSpec.id` of the spec with these settings under the budget of tokens, without its `anchor` or its `search`."""
    return digest({key: value for key, value in settings.items() if key not in without} | {"budget": "tokens"})[:10]


def _spec_key(settings: dict[str, Any], *without: str) -> str:
    return f"{settings['dataset']}/{settings['variant']}-{_spec_id(settings, *without)}"


def _where_there(project: Project, path: Path, command: str) -> dict[str, Any] | None:
    return read_object(project, path, command) if path.exists() else None


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
