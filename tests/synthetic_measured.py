"""Ledgers of learning rates and measured files as a search and a speed lane leave them, made from formulas; and a suite under all
three budgets.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from nnn_bench.budget.rates import ledger
from nnn_bench.config.catalog import Catalog
from nnn_bench.config.expansion import RunSpec, measured_key, study_specs
from nnn_bench.config.paths import Project
from nnn_bench.statistics.comparison import write_comparison
from tests.synthetic_runs import CHARACTER, UNKNOWN, Synthetic, make_project, make_runs

FACTORS = (0.5, 1.0, 2.0)
BASE_SECONDS = 0.020
BUDGETS: dict[str, dict[str, Any]] = {
    "language_flops": {"budget": "flops", "title": "Language modelling at equal arithmetic"},
    "language_time": {"budget": "time", "title": "Language modelling at equal time"},
}
MACHINE = {
    "device": "Some Processor 9000",
    "capability": "AVX512",
    "cores": 2,
    "threads": 2,
    "torch": "2.13.0",
    "python": "3.11.9",
    "platform": "Linux x86_64",
}


def make_budgets(root: Path, wanted: Synthetic) -> tuple[Project, Catalog]:
    """A project whose suite searches for rates, measures, and holds its `language` study under each budget."""
    make_project(root, replace(wanted, studies={}))
    folder = root / "config"
    for name, changes in BUDGETS.items():
        _copy(folder / "studies" / "language.yaml", folder / "studies" / f"{name}.yaml", changes)
    suite = folder / "suites" / f"{wanted.suite}.yaml"
    asked = {"studies": ["language", *BUDGETS], "search": {"factors": list(FACTORS)}, "measure": {}}
    _copy(suite, suite, asked)
    project = Project(root)
    catalog = Catalog(project)
    make_runs(project, catalog, wanted)
    for study in catalog.suite(wanted.suite).studies:
        write_comparison(project, catalog, wanted.suite, study)
    make_found(project, catalog, wanted.suite)
    return project, catalog


def make_found(project: Project, catalog: Catalog, suite: str) -> None:
    """Write every ledger and every measured file that the suite asks for."""
    asked = catalog.suite(suite)
    for study in asked.studies:
        specs = study_specs(catalog, suite, study)
        baseline = specs[catalog.study(study).baseline]
        for spec in specs.values():
            if spec.search:
                _write(project.rates(spec.searched.key), rates_of(spec))
            if asked.measure and spec.variant_config.knobs:
                _write(project.measured(measured_key(spec, baseline)), measured_of(spec, baseline))


def rates_of(spec: RunSpec) -> dict[str, Any]:
    """A parabola of validation losses, best at the declared rate, but for selection's, whose best lies at the upper edge; the
    trial beyond it diverged."""
    declared = spec.variant_config.learning_rate

    def trial(factor: float) -> dict[str, Any]:
        best = 2.0 if spec.variant.startswith("selection") else 1.0
        gone = best == 2.0 and factor > 2
        loss = None if gone else 0.8 * CHARACTER.get(spec.variant, UNKNOWN)[0] + 0.05 * math.log2(factor / best) ** 2
        status = "diverged" if gone else "ok"
        return {
            "factor": factor,
            "learning_rate": declared * factor,
            "steps": math.ceil(0.2 * spec.scale.tokens / (spec.scale.batch * spec.scale.context)),
            "statuses": [status],
            "losses": [loss],
            "loss": loss,
        }

    return ledger(spec.variant, declared, [trial(factor) for factor in FACTORS], [trial(4.0)])


def measured_of(spec: RunSpec, baseline: RunSpec) -> dict[str, Any]:
    """Step times in proportion to `CHARACTER`'s seconds; token times that grow with the context where attention is."""
    ratio, scale = _ratio(spec, baseline), spec.scale
    seconds = BASE_SECONDS * ratio
    grows = "matmul_free" not in spec.variant
    rows = [
        {
            "context": context,
            "batch": batch,
            "prefill_seconds": 2e-5 * ratio * context * batch,
            "state_seconds": 1e-3 * context,
            "token_seconds": 1e-3 * ratio * (1 + context / 1000 * grows) * batch**0.5,
            "recomputed_token_seconds": 2e-5 * ratio * context * batch,
            "cached_speedup": 0.02 * context * batch**0.5,
            "state_bytes": 1024 * (context if grows else 4) * batch,
            "peak_memory_bytes": None,
            "rounds": 5,
            "unavailable": None,
        }
        for context in (64, 256)
        for batch in (1, 8)
    ]
    if spec.variant == "conv_attention":
        for row in rows:
            row |= {
                "token_seconds": None,
                "cached_speedup": None,
                "state_bytes": None,
                "unavailable": "the network has no step",
            }
    return {
        "variant": spec.variant,
        "baseline": baseline.variant,
        "machine": MACHINE,
        "shape": {"batch": scale.batch, "context": scale.context, "vocabulary": 81, "accumulation": scale.accumulation},
        "training": {
            "blocks": [],
            "step_seconds": seconds,
            "quartiles": [0.98 * seconds, 1.03 * seconds],
            "baseline_step_seconds": BASE_SECONDS,
            "ratio": {"median": ratio, "interval": [0.97 * ratio, 1.02 * ratio], "coverage": 0.97, "groups": 12},
            "seconds_per_predicted_token": seconds / (scale.batch * scale.context),
            "peak_memory_bytes": int(3e8 * ratio),
            "baseline_peak_memory_bytes": int(3e8),
            "compile_seconds": None,
            "cores_busy_with_other_work": 0.01,
        },
        "inference": {
            "rows": rows,
            "packed_bits_per_weight": 2.07 if "matmul_free" in spec.variant else None,
            "flops": {
                "64": {"declared": 4.4e5 * ratio, "counted": 4.2e5 * ratio, "matrix_declared": 4.2e5 * ratio},
                "256": {"declared": 4.8e5 * ratio, "counted": 4.6e5 * ratio, "matrix_declared": 4.6e5 * ratio},
            },
            "roofline": {"matrix_flops_per_second": 9.1e10, "copy_bytes_per_second": 1.2e10},
            "roofline_share": {f"{row['context']}x{row['batch']}": {"prefill": 0.3, "token": 0.05} for row in rows},
            "energy": {"joules_per_token": None, "source": "not measured", "idle_watts": None},
        },
    }


def _ratio(spec: RunSpec, baseline: RunSpec) -> float:
    return CHARACTER.get(spec.variant, UNKNOWN)[2] / CHARACTER.get(baseline.variant, UNKNOWN)[2]


def _copy(old: Path, new: Path, changes: dict[str, Any]) -> None:
    settings = yaml.safe_load(old.read_text(encoding="utf-8")) | changes
    new.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")


def _write(path: Path, data: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), encoding="utf-8")
