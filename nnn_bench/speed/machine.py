"""What a measurement was made on, and how much else that machine was doing."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from nnn_bench.training.environment import Environment


@dataclass(frozen=True)
class Machine:
    """`device` in words, `capability` of its instruction set, `cores` this process may use, `threads` it does use."""

    device: str
    kind: str
    capability: str
    cores: int
    threads: int
    torch: str
    python: str
    platform: str

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def machine_of(environment: Environment) -> Machine:
    """The machine a measurement in this environment is made on."""
    on_gpu = environment.device == "cuda"
    return Machine(
        device=environment.device_name if on_gpu else processor_name(),
        kind=environment.device,
        capability=".".join(map(str, torch.cuda.get_device_capability())) if on_gpu else environment.cpu_capability,
        cores=usable_cores(),
        threads=environment.threads,
        torch=torch.__version__,
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
    )


def in_words(machine: dict[str, Any]) -> str:
    """One line for people: the device, cores and threads, and the versions that matter."""
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    return (
        f"{machine['device']} ({machine['capability']}), {machine['cores']} cores, {threads} of torch {machine['torch']}, "
        f"Python {machine['python']}, {machine['platform']}"
    )


def processor_name() -> str:
    """The processor's name for itself where the system tells it, else that of its architecture."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class OtherWork:
    """Cores that other processes kept busy between its making and a later look; unknown (None) but on Linux."""

    def __init__(self) -> None:
        self._wall, self._own, self._all = time.perf_counter(), time.process_time(), _busy_seconds()

    def cores(self) -> float | None:
        busy = _busy_seconds()
        if busy is None or self._all is None:
            return None
        own, wall = time.process_time() - self._own, time.perf_counter() - self._wall
        return max(0.0, busy - self._all - own) / wall


def _busy_seconds() -> float | None:
    """Processor seconds that all processes of the system have used since it started."""
    told = Path("/proc/stat")
    if not told.is_file():
        return None
    user, nice, system, _idle, _waiting, interrupts, soft = map(int, told.read_text().split(maxsplit=8)[1:8])
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")
