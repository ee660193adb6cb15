"""What MLflow shall show of a run, as plain data: no MLflow in here.

A `Publication` is made from the files of a run (or from a row of a comparison) and from nothing else, so making it
twice gives the same thing. Its `content` hash says whether the tracker already shows it.
"""

from __future__ import annotations

import json
import string
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from nnn_bench.config.files import digest
from nnn_bench.config.paths import Project
from nnn_bench.statistics.audits import audit_words
from nnn_bench.statistics.records import flat, read_object, read_record
from nnn_bench.tracking.selection_curves import selection_values

POINTS_PER_CURVE = 200
LONGEST_KEY = 250
LONGEST_PARAMETER = 6000
LONGEST_TAG = 5000

_KEY_LETTERS = frozenset(string.ascii_letters + string.digits + "_-.")
_TRAIN = {"loss": "train/loss", "learning_rate": "train/learning_rate", "gradient_norm": "train/gradient_norm"}
_VALIDATION = {
    "loss": "validation/loss",
    "bits_per_byte": "validation/bits_per_byte",
    "all_positions_loss": "validation/all_positions_loss",
}
_PROGRESS = {"tokens": "progress/tokens", "flops": "progress/flops", "seconds": "time/seconds"}
_NAMES = {"train": _TRAIN | _PROGRESS, "validation": _VALIDATION, "growth": {"stage": "growth/stage"}}
_TEST = ("bits_per_byte", "loss", "all_positions_bits_per_byte", "all_positions_loss")


@dataclass(frozen=True)
class Point:
    """One value of one curve; `timestamp` in milliseconds, from the record, so that a replay repeats it exactly."""

    key: str
    value: float
    timestamp: int
    step: int


@dataclass(frozen=True)
class Publication:
    """One MLflow run: `key` finds it again, `content` tells whether it is up to date. Times in milliseconds."""

    key: str
    kind: str
    name: str
    content: str
    started: int
    ended: int
    finished: bool
    parent: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)


def run_publication(
    project: Project, suite: str, study: str, run_key: str, parent: str, audit: dict[str, Any]
) -> Publication:
    """A run with its curves and the audit of its variant; `UserError` when its files are missing or damaged."""
    command = f"nnn-bench run {suite}"
    folder = project.run(run_key)
    config = read_object(project, folder / "config.json", command)
    result = read_object(project, folder / "result.json", command)
    record = read_record(project, run_key, command)
    receipt, environment = result["receipt"], result["environment"]
    parts = {
        "fingerprint": result["fingerprint"],
        "variant": result["variant"],
        "seed": result["seed"],
        "source": receipt["source_sha256"],
        "dataset": receipt["dataset"]["sha256"],
        "device": environment.get("device"),
        "torch": environment.get("libraries", {}).get("torch"),
        "budget": result["budget"],
        "status": result["status"],
    } | _audit_parts(audit)
    return Publication(
        key=run_key,
        kind="run",
        name=f"{result['variant']} seed {result['seed']}",
        content=digest([config, result, record, audit]),
        started=_milliseconds(result["started"]),
        ended=_milliseconds(result["ended"]),
        finished=result["status"] == "ok",
        parent=parent,
        tags=_own_tags(suite, study, parts) | _source_tags(suite, result["variant"]),
        parameters=_parameters({**config["settings"], "knobs": receipt["knobs"], "parameters": receipt["parameters"]}),
        points=[*_curves(record), *_finals(result)],
        texts={"config.json": json.dumps(config, indent=1), "samples.txt": _samples(result)},
    )


def variant_publication(
    comparison: dict[str, Any],
    row: dict[str, Any],
    children: list[Publication],
    measurements: dict[str, float | None],
) -> Publication:
    """The parent of a variant's runs: what all its seeds say together, and the `measurements`, metrics of the variant itself."""
    suite, study = comparison["suite"], comparison["study"]
    ended = max(child.ended for child in children)
    difference = row["difference"] or {}
    low, high = row["interval"] or (None, None)
    difference_low, difference_high = difference.get("interval") or (None, None)
    values = {
        "test/bits_per_byte": row["mean"],
        "comparison/standard_deviation": row["standard_deviation"],
        "comparison/interval_low": low,
        "comparison/interval_high": high,
        "comparison/difference": difference.get("mean"),
        "comparison/difference_low": difference_low,
        "comparison/difference_high": difference_high,
        "comparison/difference_p": difference.get("p"),
        "comparison/difference_p_holm": difference.get("p_holm"),
        "comparison/seeds_ok": row["statuses"].count("ok"),
        "comparison/seeds": len(row["seeds"]),
        "time/seconds": row["seconds_mean"],
        **measurements,
    }
    parts = {"variant": row["variant"], "budget": comparison["budget"], "baseline": comparison["baseline"]}
    parts |= {
        "conclusive": _truth(comparison["conclusive"]),
        "verdict": row.get("verdict"),
        "reason": row.get("reason"),
    }
    parts |= _audit_parts(row["audit"])
    return Publication(
        key=f"{suite}/{study}/{row['variant']}",
        kind="variant",
        name=f"{row['variant']} ({suite}, {len(row['seeds'])} seeds)",
        content=digest([comparison["baseline"], comparison["conclusive"], row, measurements]),
        started=min(child.started for child in children),
        ended=ended,
        finished=True,
        tags=_own_tags(suite, study, parts)
        | _source_tags(suite, row["variant"])
        | {"mlflow.note.content": f"{row['summary']}. {comparison['question']}"[:LONGEST_TAG]},
        parameters=_parameters({"receipt": row["receipt"]}),
        points=[Point(key, float(value), ended, 0) for key, value in values.items() if value is not None],
    )


def thin(points: list[Point], most: int = POINTS_PER_CURVE) -> list[Point]:
    """At most `most` points of one curve, evenly spread by index, the first and the last always among them."""
    if len(points) <= most:
        return points
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]


def _curves(record: list[dict[str, Any]]) -> Iterator[Point]:
    """Every curve of a record, thinned; the full one stays in the record."""
    curves: dict[str, list[Point]] = {}
    for row in record:
        for key, value in _row_values(row):
            if value is not None:
                curves.setdefault(key, []).append(Point(key, float(value), _milliseconds(row["time"]), row["step"]))
    for points in curves.values():
        yield from thin(points)


def _row_values(row: dict[str, Any]) -> Iterator[tuple[str, float | None]]:
    yield from ((key, row.get(name)) for name, key in _NAMES[row["kind"]].items())
    if row["kind"] == "growth" and None not in (row["loss_before"], row["loss_after"]):
        yield "growth/loss_change", row["loss_after"] - row["loss_before"]
    for layer, name, value in selection_values(row):
        yield f"selection/{_metric_name(layer)}/{name}", value


def _finals(result: dict[str, Any]) -> Iterator[Point]:
    receipt = result["receipt"]
    values = {f"test/{name}": (result["test"] or {}).get(name) for name in _TEST}
    values |= {"receipt/body_parameters": receipt["parameters"]["body"], "receipt/residual": receipt["residual"]}
    values |= {"receipt/total_parameters": receipt["parameters"]["total"], "receipt/flops": result["flops"]}
    for key, value in values.items():
        if value is not None:
            yield Point(key, float(value), _milliseconds(result["ended"]), result["steps"])


def _samples(result: dict[str, Any]) -> str:
    return "\n\n".join(f"--- prompt: {s['prompt']!r}\n{s['text']}" for s in result.get("samples") or []) + "\n"


def _own_tags(suite: str, study: str, parts: dict[str, Any]) -> dict[str, str]:
    named = {"suite": suite, "study": study, **parts}
    return {f"nnn.{name}": str(value)[:LONGEST_TAG] for name, value in named.items() if value is not None}


def _audit_parts(audit: dict[str, Any]) -> dict[str, str]:
    return {"audit": audit_words(audit), "quarantined": _truth(not audit["passed"])}


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _source_tags(suite: str, variant: str) -> dict[str, str]:
    return {"mlflow.source.name": f"nnn-bench run {suite} {variant}", "mlflow.source.type": "LOCAL"}


def _parameters(data: dict[str, Any]) -> dict[str, str]:
    """Nested plain data as dotted names and short texts, as MLflow takes them."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in flat(data)}
    return {_metric_name(name)[:LONGEST_KEY]: text[:LONGEST_PARAMETER] for name, text in texts.items()}


def _metric_name(name: str) -> str:
    """`name` with the letters MLflow does not take in a key made into `_`."""
    return "".join(letter if letter in _KEY_LETTERS else "_" for letter in str(name))


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
