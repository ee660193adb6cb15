"""Peak memory of training steps, each network in a fresh process.

On a CPU it is how far resident memory rises above what stands before the network is built: weights, gradients, optimizer,
activations, and what the allocator wastes on them. A rehearsal comes first, so that code loaded and compiled at the first step
does not count. On a CUDA device it is the most its allocator had given out. Processes are started anew, never forked: a parent
with threads may hold locks, and a child begins with its parent's peak.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnn_bench.config.errors import UserError
from nnn_bench.config.paths import Project

if TYPE_CHECKING:
    from nnn_bench.training.configuration import RunConfiguration

STEPS = 3


def peak_memory(project: Project, configuration: RunConfiguration) -> int | None:
    """Bytes that training steps of a run need at their peak, its network at its last stage; None where the system does not tell.

    Raises `UserError` where the process that trains ends without an answer, for lack of memory for example.
    """
    request = {"root": str(project.root), "configuration": configuration.model_dump(mode="json")}
    done = subprocess.run(
        [sys.executable, "-m", "nnn_bench.speed.memory"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": str(configuration.threads)},
    )
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2] or "it said nothing"
        raise UserError(
            f"{configuration.variant}: the process that measures memory ended with code {done.returncode} ({last}); "
            "free some memory, or make the scale of the suite smaller"
        )
    peak: int | None = json.loads(done.stdout)["peak_bytes"]
    return peak


def resident_peak(work: Callable[[], object]) -> int | None:
    """Bytes by which resident memory rises at most while `work` is done, once it has been rehearsed.

    None where the high-water mark cannot be set back, which is Linux's alone to offer.
    """
    work()
    gc.collect()
    _give_back_freed_memory()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark becomes what is resident now
    except OSError:
        return None
    before = _status_bytes("VmRSS")
    work()
    return max(0, _status_bytes("VmHWM") - before)


def _give_back_freed_memory() -> None:
    """Let the C library return free pages, so that the second time does not hide in what the first one left."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it
    if trim is not None:
        trim(0)


def _status_bytes(name: str) -> int:
    """A figure of the kernel's account of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _measured(root: str, settings: dict[str, Any]) -> int | None:
    """What the fresh process does."""
    import torch

    from nnn_bench.data.store import load
    from nnn_bench.speed.contender import last_contender
    from nnn_bench.training.configuration import RunConfiguration
    from nnn_bench.training.environment import set_up

    configuration = RunConfiguration.model_validate(settings)
    training = configuration.training
    environment = set_up(configuration.device, training.precision, configuration.threads, training.compile)
    store = load(Project(Path(root)), configuration.dataset, configuration.tokenizer)

    def work() -> None:
        contender = last_contender(configuration, store, environment)
        for _ in range(STEPS):
            contender.step()
        environment.synchronize()

    if environment.device == "cpu":
        return resident_peak(work)
    work()
    return torch.cuda.max_memory_allocated()


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    print(json.dumps({"peak_bytes": _measured(asked["root"], asked["configuration"])}))
