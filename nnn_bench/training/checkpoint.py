"""Checkpoints: safetensors and JSON in a folder that appears whole; the two newest are kept.

A damaged one (truncated, altered) is skipped in favour of the one before it, so an interrupted disk costs time, never a run.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from nnn_bench.config.files import read_json, write_atomically
from nnn_bench.training.growing import PlateauState
from nnn_bench.training.optimizers import optimizer_tensors, restore_optimizer
from nnn_bench.training.plateau import PlateauRate

_KEPT = 2


@dataclass
class Progress:
    """Where a run stands: what a resumed run must know besides tensors."""

    step: int = 0
    stage: int = 0
    flops: int = 0
    seconds: float = 0.0
    started: float = 0.0
    loss_sum: float = 0.0
    loss_count: int = 0
    record_length: int = 0
    plateau: PlateauState = field(default_factory=PlateauState)
    rate: PlateauRate = field(default_factory=PlateauRate)


def save_checkpoint(
    folder: Path, fingerprint: str, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write `folder/step-N` and drop all but the two newest."""
    tensors: dict[str, Tensor] = {f"model|{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"optimizer|{name}": value for name, value in optimizer_tensors(model, optimizer)}
    tensors["random|cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random|cuda"] = torch.cuda.get_rng_state()
    content = save_tensors({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()})
    state = {**asdict(progress), "fingerprint": fingerprint, "sha256": hashlib.sha256(content).hexdigest()}

    final = folder / f"step-{progress.step:08d}"
    waiting = folder / f".{final.name}.{os.getpid()}"
    shutil.rmtree(waiting, ignore_errors=True)
    try:
        write_atomically(waiting / "tensors.safetensors", content)
        write_atomically(waiting / "state.json", json.dumps(state).encode())
        shutil.rmtree(final, ignore_errors=True)
        waiting.replace(final)
    finally:
        shutil.rmtree(waiting, ignore_errors=True)
    for old in _newest_first(folder)[_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


@dataclass(frozen=True)
class Checkpoint:
    """A sound checkpoint as it was read."""

    progress: Progress
    tensors: dict[str, Tensor]

    def restore_model(self, model: nn.Module) -> None:
        """Put back the weights; the model is in the stage that `progress` names."""
        model.load_state_dict(_part(self.tensors, "model", next(model.parameters()).device))

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Put back weights, optimizer state and random generators."""
        self.restore_model(model)
        restore_optimizer(model, optimizer, _part(self.tensors, "optimizer", next(model.parameters()).device))
        torch.set_rng_state(self.tensors["random|cpu"])
        if "random|cuda" in self.tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.tensors["random|cuda"])


def newest_checkpoint(folder: Path, fingerprint: str) -> Checkpoint | None:
    """The newest sound checkpoint of a run; None if there is none. Nothing is changed."""
    return next((found for path in _newest_first(folder) if (found := _read(path, fingerprint))), None)


def clear_damaged(folder: Path, fingerprint: str) -> None:
    """Remove what a killed process left half-written and what cannot be used. The caller holds the run."""
    for path in (*folder.glob(".step-*"), *_newest_first(folder)):
        if path.name.startswith(".") or _read(path, fingerprint) is None:
            shutil.rmtree(path, ignore_errors=True)


def _read(path: Path, fingerprint: str) -> Checkpoint | None:
    state: Any = read_json(path / "state.json")
    try:
        content = (path / "tensors.safetensors").read_bytes()
        if not isinstance(state, dict) or hashlib.sha256(content).hexdigest() != state.pop("sha256", None):
            return None
        if state.pop("fingerprint", None) != fingerprint:
            return None
        plateau = PlateauState(**state.pop("plateau"))
        rate = PlateauRate(**state.pop("rate", {}))  # a checkpoint older than this state had the whole rate
        return Checkpoint(Progress(**state, plateau=plateau, rate=rate), load_tensors(content))
    except (OSError, KeyError, TypeError, SafetensorError):
        return None


def _part(tensors: dict[str, Tensor], prefix: str, device: torch.device) -> dict[str, Tensor]:
    """Tensors whose name starts with `prefix|`, without it, on `device`."""
    start = f"{prefix}|"
    return {name.removeprefix(start): value.to(device) for name, value in tensors.items() if name.startswith(start)}


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)
