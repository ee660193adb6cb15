"""How far the training of a suite is, read from the records on disk: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from nnn_bench.config.expansion import Job
from nnn_bench.config.paths import Project

_PLAIN_INTERVAL = 30.0  # seconds between plain lines
_READ_INTERVAL = 1.0


class Progress:
    """Shows runs done, tokens per second and the time left, from what the runs write anyway."""

    def __init__(self, project: Project, jobs: list[Job]):
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
        if tokens == self._first and done == len(self._runs):
            return  # nothing to train: say nothing
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
        return f"[{bar}] {done}/{len(self._runs)} runs, {rate:,.0f} tokens/s, {_duration(seconds)}{rest}"

    def _read(self) -> tuple[int, int]:
        """Tokens trained and runs finished so far."""
        tokens, done = 0, 0
        for path, target in self._runs:
            if (path / "result.json").exists():
                tokens, done = tokens + target, done + 1
            else:
                tokens += min(target, _last_tokens(path / "record.jsonl"))
        return tokens, done


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
