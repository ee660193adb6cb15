"""What the speed lane measured alone on the machine: training steps in turns with the baseline's."""

from __future__ import annotations

from typing import Any

from nnn_bench.report.collect import StudyView, VariantView
from nnn_bench.report.numbers import fixed, interval, memory, percent
from nnn_bench.report.shown import Cell, Shown

COLUMNS = ["variant", "milliseconds_per_step", "lower_quartile", "upper_quartile", "ratio", "ratio_low", "ratio_high"]
COLUMNS += ["microseconds_per_predicted_token", "peak_memory_bytes", "compile_seconds", "cores_busy_with_other_work"]
_MUCH_OTHER_WORK = 0.1  # cores
_COVERAGE = 0.95  # of an interval, where there are groups enough


def training_rows(study: StudyView) -> list[list[Cell]]:
    """One row under `COLUMNS` for each variant that was measured."""
    rows: list[list[Cell]] = []
    for variant in study.timed:
        found = _training(variant)
        ratio, per_token = found["ratio"], 1e6 * found["seconds_per_predicted_token"]
        times = [1000 * seconds for seconds in (found["step_seconds"], *found["quartiles"])]
        sizes = [found["peak_memory_bytes"], found["compile_seconds"], found["cores_busy_with_other_work"]]
        rows.append([variant.name, *times, ratio["median"], *ratio["interval"], per_token, *sizes])
    return rows


def training(study: StudyView) -> Shown | None:
    """The same for people; None where nothing was measured."""
    rows = []
    for name, step, low, high, ratio, ratio_low, ratio_high, per_token, peak, compiling, _ in training_rows(study):
        quartiles = interval((_number(low), _number(high)), 2)
        ends = interval((_number(ratio_low), _number(ratio_high)), 2)
        times = [fixed(_number(step), 2), quartiles, fixed(_number(ratio), 2), ends, fixed(_number(per_token), 1)]
        seconds = fixed(None if compiling is None else _number(compiling), 1)
        rows.append([str(name), *times, memory(None if peak is None else _number(peak)), seconds])
    headers = [
        "variant",
        "ms per step",
        "quartiles, ms",
        f"times {study.baseline.name}’s",
        f"{_coverage(study)} interval",
        "µs per predicted token",
        "peak memory, MiB",
        "compiling, s",
    ]
    return Shown(headers, rows).without_empty() if rows else None


def machine_note(study: StudyView) -> str:
    """On what, and how; and how busy other work kept the machine meanwhile, where that was much."""
    machines = list(dict.fromkeys(_machine_words((variant.measured or {})["machine"]) for variant in study.timed))
    groups = min(_training(variant)["ratio"]["groups"] for variant in study.timed)
    busiest = max((_training(variant)["cores_busy_with_other_work"] or 0.0 for variant in study.timed), default=0.0)
    baseline = study.baseline.name
    said = (
        f"Measured alone on the machine: {'; '.join(machines)}. Training steps of each variant took turns with those of "
        f"{baseline} in one process, in at least {groups} groups of four blocks in the order A B B A; times are medians. "
        f"Absolute times hold for this machine, ratios to {baseline} may travel."
    )
    if busiest > _MUCH_OTHER_WORK:
        said += f" It was not quite alone: other work kept up to {busiest:.1f} cores busy, so trust the ratios."
    return said


def step_seconds(study: StudyView, variant: VariantView) -> float | None:
    """Seconds of a step alone on the machine: the baseline's times the ratio to it, as a budget of time counts them."""
    if variant.measured is None or study.baseline.measured is None:
        return None
    return float(_training(study.baseline)["step_seconds"] * _training(variant)["ratio"]["median"])


def _coverage(study: StudyView) -> str:
    """How surely the intervals of ratios hold the true one: 95 %, or less where there are too few groups for that."""
    least = min((_training(variant)["ratio"]["coverage"] for variant in study.timed), default=_COVERAGE)
    return percent(min(least, _COVERAGE), 0)


def _training(variant: VariantView) -> dict[str, Any]:
    assert variant.measured is not None
    found: dict[str, Any] = variant.measured["training"]
    return found


def _machine_words(machine: dict[str, Any]) -> str:
    threads = f"{machine['threads']} thread{'s' if machine['threads'] != 1 else ''}"
    device = f"{machine['device']} ({machine['capability']}, {machine['cores']} cores, {threads})"
    return f"{device}, torch {machine['torch']}, {machine['platform']}"


def _number(cell: Cell) -> float:
    assert cell is not None
    return float(cell)
