"""The targets of the plan, and where in the scripts' results the figure of each one stands.

A target names a script, the rows of it that count (by how their case is called), and a figure of a row: a path of keys, or the
quotient of two. The worst of the rows counts. What no script measured has no figure, so nothing here can claim one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Figure = Callable[[dict[str, Any]], float]


def at(*path: str) -> Figure:
    """The number that `path` leads to."""

    def found(row: dict[str, Any]) -> float:
        value: Any = row
        for key in path:
            value = value[key]
        return float(max(value) if isinstance(value, list) else value)

    return found


def quotient(above: tuple[str, ...], below: tuple[str, ...]) -> Figure:
    return lambda row: at(*above)(row) / at(*below)(row)


def of_own_algorithm(against: str) -> Figure:
    """Times of the algorithm that a piecewise map chooses, in those of `against`."""
    return lambda row: row["ms"][row["algorithm"]] / row["ms"][against]


@dataclass(frozen=True)
class Target:
    """`rows` is a pattern that a row's whole case must match; `limit` says what no program could better, and why."""

    name: str
    script: str
    rows: str
    figure: Figure
    direction: Literal["at least", "at most"]
    bound: float
    unit: str = "x"
    limit: str = ""

    def holds(self, figure: float) -> bool:
        return figure >= self.bound if self.direction == "at least" else figure <= self.bound

    def measured(self, results: dict[str, dict[str, Any]]) -> tuple[float, str] | None:
        """The worst figure and the case it was found in; None if there is none."""
        rows = results.get(self.script, {"rows": []})["rows"]
        cases = [(row.get("case") or row["variant"], row) for row in rows]
        found = [(self.figure(row), case) for case, row in cases if re.fullmatch(self.rows, case)]
        worst = min if self.direction == "at least" else max
        return worst(found, default=None)


_LOOP = at("ratio", "loop", "median")
_RECOMPUTED = at("ratio", "recomputed", "median")
_TWO = ".* n .* S 2, .*"
_PRODUCTS = "products alone: V = (n - 1) S + 1 dense maps (continuous) or n S, for the basis is spread over all weights"

TARGETS = [
    Target("smoke, whole pipeline, s", "whole_runs", "smoke first", at("seconds"), "at most", 90, "s"),
    Target("laptop, whole pipeline, s", "whole_runs", "laptop first", at("seconds"), "at most", 1200, "s"),
    Target("laptop, nothing to do, s", "whole_runs", "laptop again", at("seconds"), "at most", 5, "s"),
    Target("piecewise S = 2: published / ours", "high_order", _TWO, at("times_faster"), "at least", 150),
    Target("piecewise S = 128: published / ours", "high_order", ".* S 128, .*", at("times_faster"), "at least", 20),
    Target("piecewise S = 2: memory, published / ours", "high_order", _TWO, at("times_less_memory"), "at least", 50),
    Target("piecewise: largest difference", "high_order", ".*", at("differences"), "at most", 1e-5, ""),
    Target(
        "piecewise S = 2, two lines: ours / dense map",
        "high_order",
        "cont n 2 S 2, .*",
        of_own_algorithm("linear"),
        "at most",
        4,
        limit="2.0: two products of a dense map's size",
    ),
    Target(
        "piecewise S = 2, other orders and forms: ours / dense map",
        "high_order",
        "(disc n . S 2, .*|cont n 3 S 2, .*)",
        of_own_algorithm("linear"),
        "at most",
        4,
        limit=_PRODUCTS + ": 4 to 6",
    ),
    Target("MLGRU recurrence, T 256 and 1024: loop / ours", "recurrence", ".* T (256|1024) .*", _LOOP, "at least", 5),
    Target(
        "recurrence: largest gradient difference",
        "recurrence",
        ".*",
        at("largest_gradient_difference"),
        "at most",
        1e-5,
        "",
    ),
    Target("selective scan: loop / ours", "selective_scan", "B 16 T 128 D 128 N 16", _LOOP, "at least", 3),
    Target(
        "selection K = 2: ours / dense map",
        "selection",
        "N .* K 2",
        at("ratio", "selection", "median"),
        "at most",
        4,
        limit="3.0: three products of a dense map's size each way",
    ),
    Target(
        "selection K = 2: plain straight-through / ours",
        "selection",
        "N .* K 2",
        quotient(("ms", "plain"), ("ms", "selection")),
        "at least",
        3,
    ),
    Target(
        "selection K = 75: kept for the backward pass, ours / dense map",
        "selection",
        "N .* K 75",
        quotient(("kept_bytes", "selection"), ("kept_bytes", "dense")),
        "at most",
        3,
    ),
    Target(
        "selection per layer, K = 2: ours / dense map",
        "selection",
        "N .* K 2",
        at("ratio", "per_layer", "median"),
        "at most",
        1.5,
        limit="1.0 and the rows moved: a dense map's products, and x, y and dy read and written once more",
    ),
    Target(
        "GPT-2 step, eager: nanoGPT / ours", "gpt2_step", "L 4 d 64 .*", at("ratio", "nanogpt", "median"), "at least", 1
    ),
    Target(
        "GPT-2 step, best setting of each, 2 threads: nanoGPT / ours",
        "best_setting",
        ".*",
        at("best_ratio", "median"),
        "at least",
        1.15,
    ),
    Target(
        "GPT-2 step, d >= 256: share of the machine's GEMM rate",
        "gemm_share",
        ".* d (256|512) .*",
        at("share"),
        "at least",
        0.75,
        "",
        "products at the GEMM rate, all else at the copy rate: key `limit` of the row",
    ),
    Target("harness / bare loop", "harness", ".*", at("ratio", "harness", "median"), "at most", 1.02),
    Target(
        "cached generation, T 256: recomputed / cached, GPT-2", "generation", "gpt2 T 256", _RECOMPUTED, "at least", 5
    ),
    Target(
        "cached generation, T 256: recomputed / cached, other headline variants",
        "generation",
        "(?!gpt2 ).* T 256",
        _RECOMPUTED,
        "at least",
        5,
    ),
    Target(
        "cached step of recurrent variants, T 1024 / T 64",
        "generation",
        "(matmul_free|mlgru_dense|mamba) cached",
        at("ratio", "T 1024", "median"),
        "at most",
        1.1,
    ),
    Target("tokenizing: rate / library alone", "tokenizing", ".* MB", at("rate_to_library"), "at least", 0.8),
    Target(
        "tokenizing: memory, MB",
        "tokenizing",
        ".* MB",
        lambda row: row["peak_bytes"]["product"] / 1e6,
        "at most",
        500,
        "MB",
    ),
    Target(
        "selection statistics: looks / steps",
        "selection_statistics",
        "selection_transformer .*",
        at("share"),
        "at most",
        0.02,
        "",
    ),
    Target(
        "equal time: farthest from the budget",
        "iso_time",
        ".*",
        lambda row: abs(row["ratio"]["taken"]["median"] - 1),
        "at most",
        0.1,
        "",
    ),
    Target("speed lane twice: intervals overlap (1) or not (0)", "speed_lane", ".*", at("overlap"), "at least", 1, ""),
]
