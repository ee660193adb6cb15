"""The speed lane against itself: run twice in a row, each time in a process of its own, do its ratios agree?

For every variant of study `language` at the size of suite laptop: the ratio of its training step to that of GPT-2, with the
interval the lane gives it, from either run, and whether the two intervals overlap. Target: they all do, while absolute times may
differ. On a machine that others use too, `--clock processor` reads the processor's time, which at one thread neighbours spoil
less.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from benchmarks.timing import RESULTS
from nnn_bench.config.catalog import Catalog
from nnn_bench.config.expansion import study_specs
from nnn_bench.config.paths import Project
from nnn_bench.config.schema import Measurement

CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
SUITE, STUDY = "laptop", "language"


def one_run(names: list[str], groups: int, clock: str) -> dict[str, Any]:
    """Ratios and step times of some variants, and the machine they were taken on."""
    from nnn_bench.data.store import load
    from nnn_bench.speed.machine import machine_of
    from nnn_bench.speed.measurement import configuration_of, lane
    from nnn_bench.training.environment import set_up

    project = Project.find()
    catalog = Catalog(project)
    specs = study_specs(catalog, SUITE, STUDY)
    baseline = configuration_of(project, catalog, specs[catalog.study(STUDY).baseline])
    environment = set_up(baseline.device, baseline.training.precision, baseline.threads, baseline.training.compile)
    store = load(project, baseline.dataset, baseline.tokenizer)
    settings = (catalog.suite(SUITE).measure or Measurement()).model_copy(update={"groups": groups})
    found = {}
    for name in names:
        told = lane(
            configuration_of(project, catalog, specs[name]), baseline, store, environment, settings, CLOCKS[clock]
        )
        kept = ("ratio", "step_seconds", "baseline_step_seconds", "cores_busy_with_other_work")
        found[name] = {key: told[key] for key in kept}
    return {"machine": machine_of(environment).plain(), "variants": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variants", nargs="*", help=f"default: all of study {STUDY}")
    parser.add_argument("--groups", type=int, default=12, help="groups of four blocks")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    chosen = parser.parse_args()
    names = chosen.variants or list(Catalog(Project.find()).study(STUDY).variants)
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        runs = [pool.submit(one_run, names, chosen.groups, chosen.clock).result() for _ in range(2)]
    rows = [_row(name, *(run["variants"][name] for run in runs)) for name in names]
    agreed = sum(row["overlap"] for row in rows)
    note = f"the speed lane twice in a row, {chosen.clock} time; intervals overlap for {agreed} of {len(rows)} variants"
    print(note)
    for row in rows:
        ratios = "   ".join(
            f"{told['ratio']['median']:6.3f} [{told['ratio']['interval'][0]:.3f}, {told['ratio']['interval'][1]:.3f}] "
            f"{told['step_seconds'] * 1e3:7.2f} ms"
            for told in row["runs"]
        )
        print(f"  {row['variant']:<24} {ratios}   {'overlap' if row['overlap'] else 'APART'}")
    RESULTS.mkdir(exist_ok=True)
    machine = {**runs[0]["machine"], "clock": chosen.clock}
    (RESULTS / "speed_lane.json").write_text(
        json.dumps({"note": note, "machine": machine, "rows": rows}, indent=1) + "\n"
    )


def _row(name: str, first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    (low, high), (other_low, other_high) = first["ratio"]["interval"], second["ratio"]["interval"]
    return {"variant": name, "overlap": max(low, other_low) <= min(high, other_high), "runs": [first, second]}


if __name__ == "__main__":
    main()
