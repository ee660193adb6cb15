"""A trained network with ternary maps in one small file, and back.

The file is safetensors: every ternary matrix as packed bytes and one scale (`models/packing.py`), all other tensors as they were
trained, and JSON beside them that says what network they belong to. A hash covers all of it, so that a damaged file is never
taken for a network. Nothing in the file is executed: the JSON names components of this package by their kind.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from nnn_bench.config.errors import UserError
from nnn_bench.config.files import disk_error, read_json, write_atomically
from nnn_bench.config.paths import Project
from nnn_bench.config.recipe import PositiveInt
from nnn_bench.config.validation import Settings, validate
from nnn_bench.data.store import read_manifest
from nnn_bench.measure.ternary import model_occupancy
from nnn_bench.models.build import build
from nnn_bench.models.language_model import LanguageModel
from nnn_bench.models.packing import PackedTernary, pack_ternary_maps, sound
from nnn_bench.training.run_directory import RunDirectory
from nnn_bench.training.trained import load_trained

_FORMAT = "nnn-bench packed 1"
_HEADER_LENGTH = 8  # bytes of a safetensors file before its JSON header


class Description(Settings):
    """What a packed file says of its network. `tokenizer` is what turns ids into text, where it was at hand."""

    model: dict[str, Any]
    stage: Annotated[int, Field(ge=0)]
    vocabulary: PositiveInt
    context: PositiveInt
    variant: str
    run_key: str
    fingerprint: str
    tokenizer: dict[str, Any] | None


@dataclass(frozen=True)
class Sizes:
    """Bytes of tensors, before and after packing."""

    ternary_weights: int
    ternary_packed: int
    model: int
    model_packed: int
    occupancy: dict[str, Any]

    @property
    def bits_per_weight(self) -> float:
        """Of a packed ternary matrix, its scale included."""
        return 8 * self.ternary_packed / self.ternary_weights

    @property
    def before_bits_per_weight(self) -> float:
        return 8 * (self.model - self.model_packed + self.ternary_packed) / self.ternary_weights

    def plain(self) -> dict[str, Any]:
        """For programs."""
        return {
            "ternary_weights": self.ternary_weights,
            "ternary_bytes": self.model - self.model_packed + self.ternary_packed,
            "ternary_packed_bytes": self.ternary_packed,
            "bits_per_ternary_weight": self.bits_per_weight,
            "model_bytes": self.model,
            "model_packed_bytes": self.model_packed,
            "ternary": self.occupancy,
        }
