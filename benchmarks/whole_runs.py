"""Whole runs of a suite through the pipeline, first and again with nothing to do: seconds by the clock.

    python -m benchmarks.whole_runs smoke [laptop ...]

Each suite runs in an empty folder of its own with this checkout's code and settings and its downloads, so that every result is
made anew. The machine should have nothing else to do.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.timing import publish

ROOT = Path(__file__).parent.parent
NEEDED = ("config", "workflow", "Snakefile", "nnn_bench", "pyproject.toml", "requirements.lock")


def project(folder: Path) -> None:
    for name in NEEDED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name)
        else:
            shutil.copy(source, folder / name)
    downloads = ROOT / ".cache" / "downloads"
    if downloads.exists():
        shutil.copytree(downloads, folder / ".cache" / "downloads")


def seconds_of(suite: str, folder: Path) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "nnn_bench", "run", suite], cwd=folder, check=True)
    return time.perf_counter() - start


def rows_of(suite: str) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as name:
        project(Path(name))
        return [
            {"case": f"{suite} {which}", "ms": {"run": seconds * 1e3}, "ratio": {}, "seconds": seconds}
            for which in ("first", "again")
            for seconds in [seconds_of(suite, Path(name))]
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suites", nargs="*", default=["smoke", "laptop"])
    chosen = parser.parse_args()
    rows = [one for suite in chosen.suites for one in rows_of(suite)]
    publish("whole_runs", rows, 1, "whole pipeline; targets: smoke 90 s, laptop 20 min, nothing to do 5 s")


if __name__ == "__main__":
    main()
