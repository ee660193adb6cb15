"""The inference card: what it costs a variant to go on with a text, by the length of the text and the number of texts at once."""

from __future__ import annotations

from typing import Any

from nnn_bench.report.collect import StudyView, VariantView
from nnn_bench.report.numbers import NONE, fixed, memory, percent, power, whole
from nnn_bench.report.shown import Cell, Shown

COLUMNS = ["variant", "context", "batch", "prefill_milliseconds", "milliseconds_per_token"]
COLUMNS += ["recomputed_milliseconds_per_token", "cached_speedup", "state_bytes", "peak_memory_bytes"]
COLUMNS += ["roofline_share_prefill", "roofline_share_token", "unavailable"]

Row = dict[str, Any]


def inference_rows(study: StudyView) -> list[list[Cell]]:
    """One row under `COLUMNS` for each variant, context and batch."""
    rows: list[list[Cell]] = []
    for variant in carded(study):
        for row in _card(variant)["rows"]:
            names = ("prefill_seconds", "token_seconds", "recomputed_token_seconds")
            times = [_thousand(row[name]) for name in names]
            sizes = [row[name] for name in ("cached_speedup", "state_bytes", "peak_memory_bytes")]
            share = _share(variant, row)
            places = [variant.name, row["context"], row["batch"]]
            rows.append([*places, *times, *sizes, share["prefill"], share["token"], row["unavailable"]])
    return rows


def inference(study: StudyView) -> Shown | None:
    """A row for each variant and context, of one text first; None where nothing was measured."""
    rows = []
    batches = sorted({row["batch"] for variant in carded(study) for row in _card(variant)["rows"]})
    for variant in carded(study):
        by_place = {(row["context"], row["batch"]): row for row in _card(variant)["rows"]}
        for context in sorted({context for context, _ in by_place}):
            rows.append(
                [variant.name, whole(context), *_cells(variant, [by_place[context, batch] for batch in batches])]
            )
    first = f"batch {batches[0]}" if batches else ""
    headers = [
        "variant",
        "context",
        f"prefill ms, {first}",
        *(f"ms per token, batch {batch}" for batch in batches),
        f"recomputed ms, {first}",
        "gain by a state",
        f"of the roofline, token, {first}",
        f"state bytes, {first}",
        "peak memory, MiB",
        "remark",
    ]
    return Shown(headers, rows, texts=(0, len(headers) - 1)).without_empty() if rows else None


def card(study: StudyView) -> Shown | None:
    """What does not depend on the batch: operations per token, packed bits, energy; None where nothing was measured."""
    rows = []
    for variant in carded(study):
        found = _card(variant)
        longest = max(found["flops"], key=int, default=None)
        flops = found["flops"][longest] if longest else dict.fromkeys(("declared", "matrix_declared", "counted"))
        energy, joules = found["energy"], found["energy"]["joules_per_token"]
        spent = energy["source"] if joules is None else f"{fixed(1000 * joules, 2)} ({energy['source']})"
        counts = [power(flops[name]) for name in ("declared", "matrix_declared", "counted")]
        rows.append([variant.name, longest or NONE, *counts, fixed(found["packed_bits_per_weight"], 2), spent])
    headers = [
        "variant",
        "context",
        "declared FLOPs per token",
        "of those, in matrices",
        "counted by torch",
        "packed bits per ternary weight",
        "energy per token, mJ",
    ]
    return Shown(headers, rows, texts=(0, 6)).without_empty() if rows else None


def card_note(study: StudyView) -> str:
    """How the columns are to be read, with the rates that the machine itself reached."""
    roofs = [_card(variant)["roofline"] for variant in carded(study)]
    products, copies = (
        max((roof[name] for roof in roofs), default=None)
        for name in ("matrix_flops_per_second", "copy_bytes_per_second")
    )
    return (
        "Prefill is one pass over the whole text, to the first token; a token costs one step from a state, or, recomputed, all "
        "that its answer depends on. The roofline is the least time that the machine’s own rates, measured on the spot, allow: "
        f"up to {power(products)} FLOPs/s in a matrix product, {power(copies)} bytes/s in a copy."
    )


def carded(study: StudyView) -> list[VariantView]:
    """The variants that have a card."""
    return [variant for variant in study.timed if (variant.measured or {})["inference"] is not None]


def inference_row(variant: VariantView) -> Row | None:
    """The row of fewest texts at the longest context that has times; None where there is none."""
    rows = _card(variant)["rows"] if variant.measured and variant.measured["inference"] else []
    told = [row for row in rows if row["prefill_seconds"] is not None]
    return max(told, key=lambda row: (-row["batch"], row["context"]), default=None)


def _cells(variant: VariantView, rows: list[Row]) -> list[str]:
    """One context: `rows` by batch, the smallest first."""
    first = rows[0]
    tokens = [_milliseconds(row["token_seconds"]) for row in rows]
    prefill, again = _milliseconds(first["prefill_seconds"]), _milliseconds(first["recomputed_token_seconds"])
    gain = NONE if first["cached_speedup"] is None else f"{first['cached_speedup']:.1f} times"
    share = _share(variant, first)["token"]
    peak = max((row["peak_memory_bytes"] for row in rows if row["peak_memory_bytes"] is not None), default=None)
    sizes = [whole(first["state_bytes"]), memory(peak)]
    return [
        prefill,
        *tokens,
        again,
        gain,
        NONE if share is None else percent(share, 1),
        *sizes,
        first["unavailable"] or "",
    ]


def _share(variant: VariantView, row: Row) -> dict[str, float | None]:
    """Shares of the roofline; none where a row has no times."""
    shares = _card(variant)["roofline_share"]
    found: dict[str, float | None] = shares.get(f"{row['context']}x{row['batch']}", {"prefill": None, "token": None})
    return found


def _card(variant: VariantView) -> dict[str, Any]:
    assert variant.measured is not None
    found: dict[str, Any] = variant.measured["inference"]
    return found


def _milliseconds(seconds: float | None) -> str:
    return fixed(_thousand(seconds), 2)


def _thousand(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds
