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
    "ahead",
    "objective",
    "audit_passed",
    "audit_failed",
    "quarantined",
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
    "audit",
]

#: What of it a terminal has room for beside long names.
TERMINAL_HEADERS = [header for header in HEADERS if header not in ("nats per token", "total parameters", "tokens")]


def headline_lines(project: Project, suite: str) -> list[list[str]]:
    """`TERMINAL_HEADERS`, then one list of ready texts per row: ranked rows best first, then those in quarantine, and last what
    stands outside the budget.

    Raises `UserError` when there is no report yet.
    """
    rows = _read(project, suite, "headline.csv")
    several = len({row["study"] for row in rows}) > 1
    outside = [_outside_cells(row, with_study=several) for row in _read(project, suite, "outside.csv")]
    return [TERMINAL_HEADERS, *(_terminal_cells(row, with_study=several) for row in rows), *outside]


def _read(project: Project, suite: str, table: str) -> list[dict[str, str]]:
    path = project.reports / suite / "tables" / table
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        raise UserError(f"is missing; make it with `nnn-bench run {suite}`", file=project.relative(path)) from None


def _terminal_cells(row: dict[str, str], *, with_study: bool) -> list[str]:
    """One row under `TERMINAL_HEADERS`: a name says its study, and how far ahead its targets lie, where there are several."""
    shown = dict(zip(HEADERS, headline_cells(row), strict=True))
    far = {"0": "\u00a0(both sides)", "1": ""}.get(row["ahead"], f"\u00a0(+{row['ahead']})")
    far += "" if row["objective"] == "next" else f"\u00a0({row['objective']})"
    shown["variant"] = f"{row['study']}/{row['name']}{far}" if with_study else row["name"]
    shown["audit"] = shown["audit"].partition(":")[0]
    return [shown[header] for header in TERMINAL_HEADERS]


def _outside_cells(row: dict[str, str], *, with_study: bool) -> list[str]:
    """One row of `outside.csv` under `TERMINAL_HEADERS`, with a name that says where it stands."""
    name = f"{row['study']}/{row['variant']}" if with_study else row["variant"]
    shown = dict.fromkeys(TERMINAL_HEADERS, NONE) | {
        "variant": f"{name}, outside the budget",
        "bits per byte": fixed(_number(row["bits_per_byte"])),
        "training\u00a0s": fixed(_number(row["training_seconds"]), 1),
        "seeds": f"{row['seeds_ok']}/{row['seeds']}",
        "audit": "passed" if row["audit_passed"] == "true" else "failed",
    }
    return [shown[header] for header in TERMINAL_HEADERS]


def headline_cells(row: dict[str, str]) -> list[str]:
    """One row of `headline.csv` as people read it; headers: `HEADERS`."""
    ends = (row["bits_per_byte_low"], row["bits_per_byte_high"])
    return [
        row["name"],
        fixed(_number(row["bits_per_byte"])),
        interval((float(ends[0]), float(ends[1]))) if all(ends) else NONE,
        fixed(_number(row["nats_per_token"])),
        whole(_number(row["body_parameters"])),
        whole(_number(row["total_parameters"])),
        whole(_number(row["tokens"])),
        power(_number(row["training_flops"])),
        fixed(_number(row["training_seconds"]), 1),
        f"{row['seeds_ok']}/{row['seeds']}" if row["seeds"] else NONE,
        _audit(row),
    ]


def _audit(row: dict[str, str]) -> str:
    """`passed`, or the first failed test and how many more there are; the report names them all."""
    if not row["audit_passed"]:
        return NONE
    if row["quarantined"] == "false":
        return "passed"
    first, *more = row["audit_failed"].split()
    return f"quarantined: {first}{f' +{len(more)}' if more else ''}"


def _number(text: str) -> float | None:
    return float(text) if text else None
