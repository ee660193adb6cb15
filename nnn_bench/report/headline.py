"""The headline table at the terminal, from the CSV of a finished report, without any heavy library."""

from __future__ import annotations

import csv

from nnn_bench.config.errors import UserError
from nnn_bench.config.paths import Project
from nnn_bench.report.numbers import NONE, fixed, interval, power, whole

#: Columns of `tables/headline.csv` after `study`.
COLUMNS = [
    "kind",
    "name",
    "bits_per_byte",
    "bits_per_byte_low",
    "bits_per_byte_high",
    "nats_per_token",
    "body_parameters",
    "total_parameters",
    "tokens",
    "training_flops",
    "training_seconds",
    "seeds_ok",
    "seeds",
]

HEADERS = [
    "variant",
    "bits per byte",
    "95 % interval",
    "nats per token",
    "body parameters",
    "total parameters",
    "tokens",
    "training FLOPs",
    "training\u00a0s",
    "seeds",
]


def headline_lines(project: Project, suite: str) -> list[list[str]]:
    """Headers, then one list of ready texts per row, best first. `UserError` when there is no report yet."""
    path = project.reports / suite / "tables" / "headline.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise UserError(f"is missing; make it with `nnn-bench run {suite}`", file=project.relative(path)) from None
    several = len({row["study"] for row in rows}) > 1
    return [HEADERS, *(headline_cells(row, with_study=several) for row in rows)]


def headline_cells(row: dict[str, str], *, with_study: bool = False) -> list[str]:
    """One row of `headline.csv` as people read it; headers: `HEADERS`."""
    ends = (row["bits_per_byte_low"], row["bits_per_byte_high"])
    return [
        f"{row['study']}/{row['name']}" if with_study else row["name"],
        fixed(_number(row["bits_per_byte"])),
        interval((float(ends[0]), float(ends[1]))) if all(ends) else NONE,
        fixed(_number(row["nats_per_token"])),
        whole(_number(row["body_parameters"])),
        whole(_number(row["total_parameters"])),
        whole(_number(row["tokens"])),
        power(_number(row["training_flops"])),
        fixed(_number(row["training_seconds"]), 1),
        f"{row['seeds_ok']}/{row['seeds']}" if row["seeds"] else NONE,
    ]


def _number(text: str) -> float | None:
    return float(text) if text else None
