"""All benchmarks, one after another, and what they found as one file and one table: `make benchmarks`.

    python -m benchmarks                 run every script, then gather
    python -m benchmarks NAME ...        run these, then gather
    python -m benchmarks --gather        gather what lies in benchmarks/results

Each script keeps its own `benchmarks/results/NAME.json`. Gathering writes `benchmarks/results/DEVICE.json` and the table between
two marks in docs/performance.md. What was measured on another machine than this one is left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.targets import TARGETS, Target
from benchmarks.timing import RESULTS, device_name, machine

#: In the order they run, the quick ones first, with what they are given.
SCRIPTS: dict[str, list[str]] = {
    "recurrence": [],
    "selective_scan": [],
    "gpt2_step": [],
    "gemm_share": [],
    "best_setting": [],
    "harness": [],
    "selection": [],
    "selection_statistics": [],
    "comb": [],
    "high_order": [],
    "generation": [],
    "tokenizing": ["--megabytes", "150"],
    "speed_lane": [],
    "iso_time": [],
    "cost_growth": [],
    "whole_runs": [],
}
PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- table: written by python -m benchmarks -->", "<!-- end of table -->"


def results_here(folder: Path) -> dict[str, dict[str, Any]]:
    """What each script found on a machine like this one: of the same instruction set and, where that is told, as many cores."""
    here, found = machine(1), {}
    for name in SCRIPTS:
        path = folder / f"{name}.json"
        told = json.loads(path.read_text()) if path.exists() else {"machine": {}}
        there = {"cores": here["cores"], **told["machine"]}
        if all(there.get(key) == here[key] for key in ("capability", "cores")):
            found[name] = told
    return found


def line(target: Target, results: dict[str, dict[str, Any]]) -> str:
    measured = target.measured(results)
    wanted = f"{target.direction} {target.bound:g} {target.unit}".rstrip()
    if measured is None:
        return f"| {target.name} | {wanted} | none | not measured on this machine | {target.limit} |"
    figure, case = measured
    threads = results[target.script]["machine"].get("threads", 1)
    digits = f"{figure:.1e}" if figure < 1e-3 else f"{figure:.2f}" if figure < 100 else f"{figure:,.0f}"
    verdict = "held" if target.holds(figure) else "**missed**"
    return f"| {target.name} | {wanted} | {digits} ({case}; {threads} thread{'s' * (threads > 1)}) | {verdict} | {target.limit} |"


def table(results: dict[str, dict[str, Any]], device: str) -> str:
    """Markdown: the machine, and a line for each target."""
    versions = sorted(
        {f"torch {told['machine']['torch']}, Python {told['machine']['python']}" for told in results.values()}
    )
    head = ["| target | wanted | worst figure (case) | | limit by bytes and FLOPs |", "| --- | --- | --- | --- | --- |"]
    return "\n".join(
        [f"Machine: `{device}`; {'; '.join(versions)}.", "", *head, *(line(one, results) for one in TARGETS)]
    )


def gather(folder: Path, page: Path, device: str) -> None:
    results = results_here(folder)
    (folder / f"{device}.json").write_text(json.dumps({"device": device, "scripts": results}, indent=1) + "\n")
    text = page.read_text()
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    page.write_text(f"{before}\n\n{table(results, device)}\n\n{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scripts", nargs="*", metavar="NAME", help=f"of {', '.join(SCRIPTS)}; default: all")
    parser.add_argument("--gather", action="store_true", help="run none")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.scripts if name not in SCRIPTS]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(SCRIPTS)}")
    failed = []
    for name in [] if chosen.gather else chosen.scripts or SCRIPTS:
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *SCRIPTS[name]]).returncode:
            failed.append(name)
    gather(RESULTS, PAGE, device_name())
    print(f"{PAGE} and {RESULTS / (device_name() + '.json')} are written")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
