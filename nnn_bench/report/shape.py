"""The columns in which ideas like these are usually published, filled from our runs and measurements."""

from __future__ import annotations

from typing import Any

from nnn_bench.report.collect import StudyView, VariantView
from nnn_bench.report.inference import inference_row
from nnn_bench.report.numbers import NONE, fixed, whole
from nnn_bench.report.shown import Cell, Shown

COLUMNS = ["model", "heads", "embedding_size", "micro_batch", "context", "batches", "milliseconds_per_batch"]
COLUMNS += ["measured_alone", "training_loss", "test_batches", "inference_milliseconds", "test_loss"]


def sources_rows(study: StudyView) -> list[list[Cell]]:
    """One row under `COLUMNS` for each variant; losses are nats per token, means over finished runs."""
    return [_row(variant) for variant in study.variants]


def sources_shape(study: StudyView) -> Shown:
    """The same for people."""
    rows = []
    for row in sources_rows(study):
        cells = dict(zip(COLUMNS, row, strict=True))
        counts = [NONE if cells[name] is None else str(cells[name]) for name in ("heads", "embedding_size")]
        sizes = [str(cells[name]) for name in ("micro_batch", "context")]
        times = [fixed(_number(cells[name]), 2) for name in ("milliseconds_per_batch", "inference_milliseconds")]
        losses = [fixed(_number(cells[name])) for name in ("training_loss", "test_loss")]
        batches, tests = (whole(_number(cells[name])) for name in ("batches", "test_batches"))
        inference = times[1] if study.timed else "not measured"
        rows.append([str(cells["model"]), *counts, *sizes, batches, times[0], losses[0], tests, inference, losses[1]])
    headers = [
        "model",
        "heads",
        "embedding size",
        "micro batch",
        "context",
        "batches",
        "ms per batch" if study.timed else "ms per batch (indicative)",
        "training loss, nats",
        "test batches (computed)",
        "inference ms",
        "test loss, nats",
    ]
    return Shown(headers, rows)


def shape_note(study: StudyView) -> str:
    """Where the times come from, and what is computed."""
    computed = "Test batches are computed, not counted: test tokens / (batch × context), rounded up."
    if not study.timed:
        return f"Milliseconds are indicative: runs shared the machine. {computed}"
    return (
        "Milliseconds were measured alone on the machine: per batch of training, and, for inference, for one window of the "
        f"longest measured context to the logits of its last position. {computed}"
    )


def _row(variant: VariantView) -> list[Cell]:
    receipt, config = variant.receipt, variant.runs[0].config
    scale = config["settings"]["scale"]
    last = [run.train[-1]["loss"] for run in variant.finished if run.train and run.train[-1]["loss"] is not None]
    shared = [run.result["seconds"] / run.result["steps"] for run in variant.finished]
    seconds = variant.measured["training"]["step_seconds"] if variant.measured else _mean(shared)
    single = inference_row(variant)
    prefill = single["prefill_seconds"] if single else None
    return [
        variant.name,
        _found(config["model"], "heads"),
        _found(config["model"], "width"),
        receipt["batch"] // scale.get("accumulation", 1),
        receipt["context"],
        receipt["steps"],
        None if seconds is None else 1000 * seconds,
        "true" if variant.measured else "false",
        _mean(last),
        -(-scale["test_tokens"] // (receipt["batch"] * receipt["context"])),
        None if prefill is None else 1000 * prefill,
        variant.mean_of("test", "loss"),
    ]


def _found(tree: Any, key: str) -> Cell:
    """The nearest value called `key` in a component tree, outer levels first; None when there is none."""
    level = [tree]
    while level:
        for node in level:
            if isinstance(node.get(key), int | float):
                found: int | float = node[key]
                return found
        level = [value for node in level for value in node.values() if isinstance(value, dict)]
    return None


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _number(cell: Cell) -> float | None:
    return None if cell is None else float(cell)
