"""Joules per token, where the machine counts them.

Two counters are read, both of energy since some start, never of power, which must be polled and is missed in between: NVML's of a
GPU, and RAPL's of the processor packages, summed. Both hold for the whole device, so what it takes when idle is measured first
and told beside, not taken off. Where neither can be read (a virtual machine, a counter for administrators) nothing is told.
"""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

NOT_MEASURED = "not measured"
_POWERCAP = Path("/sys/class/powercap")
_IDLE_SECONDS = 1.0
_WORK_SECONDS = 3.0  # counters move in steps of up to a tenth of a second


@dataclass(frozen=True)
class Meter:
    """Counters of energy: `read` gives each in units of `joules`; one that has reached `ranges` goes on from zero."""

    source: str
    read: Callable[[], list[int]]
    joules: float
    ranges: tuple[int, ...] | None = None  # None: never comes back to zero

    def between(self, before: list[int], after: list[int]) -> float:
        """Joules from one reading to another, between which a counter may have begun anew once."""
        if self.ranges is None:
            moved = [b - a for a, b in zip(before, after, strict=True)]
        else:
            moved = [(b - a) % most for a, b, most in zip(before, after, self.ranges, strict=True)]
        return sum(moved) * self.joules


def meter_of(device: torch.device, powercap: Path = _POWERCAP) -> Meter | None:
    """What counts the energy of `device`; None where nothing does that may be read."""
    return _nvml(device) if device.type == "cuda" else _rapl(powercap)


def energy_per_token(
    work: Callable[[], int],
    meter: Meter | None,
    *,
    work_seconds: float = _WORK_SECONDS,
    idle_seconds: float = _IDLE_SECONDS,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """`{"joules_per_token", "source", "idle_watts"}` of `work`, which is called again and again and says how many tokens it made.

    `work` must have waited for its device when it returns.
    """
    if meter is None:
        return {"joules_per_token": None, "source": NOT_MEASURED, "idle_watts": None}
    start, before = clock(), meter.read()
    sleep(idle_seconds)
    idle = meter.between(before, meter.read()) / (clock() - start)
    start, before, tokens = clock(), meter.read(), 0
    while clock() - start < work_seconds:
        tokens += work()
    spent = meter.between(before, meter.read())
    return {"joules_per_token": spent / tokens, "source": meter.source, "idle_watts": idle}


def _rapl(powercap: Path) -> Meter | None:
    """The packages among the zones in `powercap`; a zone inside a package (cores, memory) is part of it already."""
    try:
        zones = [zone for zone in sorted(powercap.glob("intel-rapl:*")) if _text(zone / "name").startswith("package")]
        ranges = tuple(int(_text(zone / "max_energy_range_uj")) for zone in zones)
        counters = [zone / "energy_uj" for zone in zones]
        for counter in counters:
            _text(counter)
    except OSError:  # kept from all but administrators since their readings told of secrets
        return None
    if not zones:
        return None
    return Meter("RAPL package", lambda: [int(_text(counter)) for counter in counters], 1e-6, ranges)


def _nvml(device: torch.device) -> Meter | None:
    """NVML's counter of a GPU, found by its identity, since a process may see the GPUs under other numbers."""
    if importlib.util.find_spec("pynvml") is None:
        return None
    nvml: Any = importlib.import_module("pynvml")
    try:
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except nvml.NVMLError:  # no driver, or a GPU that does not count
        return None
    return Meter("NVML total-energy counter", lambda: [nvml.nvmlDeviceGetTotalEnergyConsumption(handle)], 1e-3)


def _text(path: Path) -> str:
    return path.read_text().strip()
