"""How far a suite is, read from the files its jobs write anyway: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from nnn_bench.config.catalog import Catalog
from nnn_bench.config.expansion import Job, audit_key, measured_key, suite_specs
from nnn_bench.config.paths import Project

_PLAIN_INTERVAL = 30.0  # seconds between plain lines
_READ_INTERVAL = 1.0


class Progress:
    """Shows runs done, tokens per second and the time left; and of the stages around them (name -> files), those under way."""

    def __init__(self, project: Project, jobs: list[Job], stages: Mapping[str, Sequence[Path]]):
        self._stages = {name: files for name, files in stages.items() if not all(file.exists() for file in files)}
        self._runs = [
            (project.run(f"{job.spec.key}/s{seed}"), job.spec.scale.tokens) for job in jobs for seed in job.seeds
        ]
        self._total = sum(tokens for _, tokens in self._runs)
        self._started = time.monotonic()
        self._first, self._done = self._read()
        self._last_read, self._last_plain = self._started, self._started
        self._shown = ""

    def show(self) -> None:
        """Refresh what is shown, if it is time to."""
        now = time.monotonic()
        if now - self._last_read < _READ_INTERVAL:
            return
        self._last_read = now
        tokens, done = self._read()
        if tokens == self._first and done == len(self._runs) and not self._stages:
            return  # nothing to do: say nothing
        line = self._line(tokens, done, now)
        if sys.stderr.isatty():
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
        elif done != self._done or now - self._last_plain >= _PLAIN_INTERVAL:
            print(line, file=sys.stderr, flush=True)
            self._last_plain = now
        self._done, self._shown = done, line

    def close(self) -> None:
        if self._shown and sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def _line(self, tokens: int, done: int, now: float) -> str:
        seconds = now - self._started
        rate = max(0, tokens - self._first) / seconds
        left = (self._total - tokens) / rate if rate else 0.0
        share = tokens / self._total
        bar = "#" * round(24 * share) + "." * (24 - round(24 * share))
        rest = f", about {_duration(left)} left" if rate and tokens < self._total else ""
        told = f"[{bar}] {done}/{len(self._runs)} runs, {rate:,.0f} tokens/s, {_duration(seconds)}{rest}"
        return ", ".join([told, *self._under_way()])

    def _under_way(self) -> list[str]:
        """The stages that still lack files, and how many they have."""
        counts = {name: (sum(file.exists() for file in files), len(files)) for name, files in self._stages.items()}
        return [f"{name} {have}/{wanted}" for name, (have, wanted) in counts.items() if have < wanted]

    def _read(self) -> tuple[int, int]:
        """Tokens trained and runs finished so far."""
        tokens, done = 0, 0
        for path, target in self._runs:
            if (path / "result.json").exists():
                tokens, done = tokens + target, done + 1
            else:
                tokens += min(target, _last_tokens(path / "record.jsonl"))
        return tokens, done


def stages_of(project: Project, catalog: Catalog, suite: str, wanted: list[Job]) -> dict[str, list[Path]]:
    """What is done around the training of the `wanted` jobs, and the file each step of it leaves."""
    keys = {job.spec.key for job in wanted}
    found: dict[str, set[Path]] = {name: set() for name in ("audits before", "learning rates", "speed", "audits after")}
    for study, specs in suite_specs(catalog, suite).items():
        baseline = specs[catalog.study(study).baseline]
        for spec in (spec for spec in specs.values() if spec.key in keys):
            found["audits before"].add(project.audit(audit_key(spec, "untrained"), "untrained"))
            found["audits after"].add(project.audit(audit_key(spec, "trained"), "trained"))
            if spec.search:
                found["learning rates"].add(project.rates(spec.searched.key))
            if catalog.suite(suite).measure and spec.variant_config.knobs:
                found["speed"].add(project.measured(measured_key(spec, baseline)))
    return {name: sorted(files) for name, files in found.items()}


def _last_tokens(record: Path) -> int:
    """Tokens in the last whole line of a record; 0 when there is none."""
    try:
        with record.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 8192))
            lines = file.read().rpartition(b"\n")[0].splitlines()
        return int(json.loads(lines[-1])["tokens"])
    except (OSError, ValueError, LookupError):
        return 0


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
