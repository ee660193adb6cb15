"""How every benchmark here measures: contenders interleaved in one process, medians, ratios.

Machines are noisy, so an absolute time means little and a ratio measured in one run means something. Each round times every
contender once, in an order that turns round from round to round; what is reported is the median over rounds, and the median
and quartiles of the round-by-round ratio to the first contender. At one thread it is the processor's time that is read, which
neighbours on the machine spoil less than the clock's; with several threads, which may wait for each other, it is the clock's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


def interleaved(
    contenders: dict[str, Callable[[], Any]],
    *,
    rounds: int,
    calls: int = 1,
    clock: Callable[[], float] | None = None,
) -> dict[str, list[float]]:
    """Seconds per call of each contender in each round, after one untimed warm-up of each."""
    clock = clock or (time.process_time if torch.get_num_threads() == 1 else time.perf_counter)
    for call in contenders.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        names = list(contenders) if number % 2 == 0 else list(reversed(contenders))
        for name in names:
            start = clock()
            for _ in range(calls):
                contenders[name]()
            seconds[name].append((clock() - start) / calls)
    return seconds


def row(case: str, seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Medians in ms, and how many times slower than the first contender each other one is."""
    names = list(seconds)
    found: dict[str, Any] = {
        "case": case,
        "ms": {name: statistics.median(seconds[name]) * 1e3 for name in names},
        "ratio": {},
    }
    for name in names[1:]:
        found["ratio"][name] = ratio_of(seconds[names[0]], seconds[name])
    return found


def ratio_of(base: list[float], other: list[float]) -> dict[str, Any]:
    """`other / base`, round by round: its median and quartiles."""
    ratios = sorted(b / a for a, b in zip(base, other, strict=True))
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return {"median": middle, "quartiles": [low, high]}


def arguments(description: str, seed: int = 0, quick: str | None = None, threads: int = 1) -> argparse.Namespace:
    """The options every benchmark has, and `--quick` where one says what that leaves."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=15, help="rounds of interleaved timing")
    parser.add_argument("--threads", type=int, default=threads, help="threads of torch")
    parser.add_argument("--seed", type=int, default=seed, help="of weights and batches")
    if quick is not None:
        parser.add_argument("--quick", action="store_true", help=quick)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    return chosen


def machine(threads: int) -> dict[str, Any]:
    """What a figure was measured on."""
    return {
        "device": device_name(),
        "processor": platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def device_name() -> str:
    """A readable name of this machine, fit for a file: `cpu-x86_64-avx2-2cores`, or that of the GPU before it."""
    cpu = f"cpu-{platform.machine()}-{torch.backends.cpu.get_cpu_capability().lower()}-{os.cpu_count()}cores"
    if not torch.cuda.is_available():
        return cpu
    return f"{torch.cuda.get_device_name().lower().replace(' ', '-')}-{cpu}"


def publish(name: str, rows: list[dict[str, Any]], threads: int, note: str) -> None:
    """Print one table and write `benchmarks/results/NAME.json`."""
    print(note)
    for one in rows:
        times = "  ".join(f"{key} {value:9.3f} ms" for key, value in one["ms"].items())
        ratios = "  ".join(
            f"{key} / {next(iter(one['ms']))} = {value['median']:.2f} [{value['quartiles'][0]:.2f}, {value['quartiles'][1]:.2f}]"
            for key, value in one["ratio"].items()
        )
        print(f"  {one['case']:<28} {times}   {ratios}")
    RESULTS.mkdir(exist_ok=True)
    told = {"note": note, "machine": machine(threads), "rows": rows}
    (RESULTS / f"{name}.json").write_text(json.dumps(told, indent=1) + "\n")
