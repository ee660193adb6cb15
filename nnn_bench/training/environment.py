"""The machine a run happens on: chosen once, and said in every receipt.

What is listed here is part of the fingerprint, because each item can change the last bits of a result.
"""

from __future__ import annotations

import ctypes
import os
import platform
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, Literal

import torch

from nnn_bench.config.errors import UserError

#: Libraries whose code computes the bits of a run.
LIBRARIES = ("torch", "numpy", "numba", "llvmlite", "lion-pytorch")

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Environment:
    """Device, precision, threads and versions of one run."""

    device: str
    device_name: str
    cpu_capability: str
    precision: Precision
    threads: int
    compiled: bool
    python: str
    platform: str
    libraries: dict[str, str]

    def facts(self) -> dict[str, Any]:
        return asdict(self)

    def autocast(self) -> AbstractContextManager[object]:
        """The precision of forward passes. Recurrences and losses stay in float32 by their own care."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device, dtype=torch.bfloat16)

    def synchronize(self) -> None:
        """Wait for the device, so that a clock read next to this call means what it says."""
        if self.device == "cuda":
            torch.cuda.synchronize()


def set_up(device: str, precision: str, threads: int, compiled: bool) -> Environment:
    """Choose device and precision and set the process up for them.

    `auto` is CUDA where there is one; precision `auto` is bfloat16 on a CUDA device that has it and float32 elsewhere
    (on CPUs without bfloat16 matrix units autocast is slower: docs/log.md). Raises `UserError` if CUDA is asked for in vain.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "no CUDA device is there; set device: auto or cpu in the suite, or start where there is one", key="device"
        )
    chosen = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    if precision == "auto":
        precision = (
            "bfloat16" if chosen == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
        )
    torch.set_num_threads(threads)
    _keep_freed_memory()
    if compiled or chosen == "cuda":  # neither repeats bit for bit otherwise
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    if precision == "bfloat16":  # float32 means float32: coarser products are for those who ask for bfloat16
        torch.set_float32_matmul_precision("high")
    return Environment(
        device=chosen,
        device_name=torch.cuda.get_device_name() if chosen == "cuda" else platform.machine(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        precision="bfloat16" if precision == "bfloat16" else "float32",
        threads=threads,
        compiled=compiled,
        python=platform.python_version(),
        platform=platform.system(),
        libraries={name: version(name) for name in LIBRARIES},
    )


def _keep_freed_memory() -> None:
    """Let glibc keep what a step frees for the next one, up to a gigabyte, instead of giving its pages back.

    A step asks for the same memory again and again, and every page that comes back from the system is cleared first: thousands of
    pages a step for networks with wide windows. Results do not change. Other C libraries have no such setting.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(_TRIM_THRESHOLD, 1 << 30)
        library.mallopt(_MAP_THRESHOLD, 1 << 25)  # the largest it takes


_TRIM_THRESHOLD, _MAP_THRESHOLD = -1, -3  # of malloc.h
