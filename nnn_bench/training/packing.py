"""A trained network with ternary maps in one small file, and back.

The file is safetensors: every ternary matrix as packed bytes and one scale (`models/packing.py`), all other tensors as they were
trained, and under one key of its metadata `HASH JSON`: the JSON says what network they belong to, the hash covers it and all
tensors, so that a damaged file is never taken for a network. Nothing in the file is executed: the JSON names components by kind.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, StringConstraints
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from nnn_bench.config.errors import UserError
from nnn_bench.config.files import read_json, write_atomically
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
_LENGTH_BYTES = 8  # a safetensors file begins with the length of its JSON header
_LONGEST_HEADER = 1 << 26

_Role = Annotated[str, StringConstraints(pattern="^(topology|window)$")]


class Description(Settings):
    """What a packed file says of its network. `tokenizer` is what turns ids into text, where it was at hand."""

    model: Annotated[dict[_Role, Any], Field(min_length=1, max_length=1)]
    stage: Annotated[int, Field(ge=0)]
    vocabulary: PositiveInt
    context: PositiveInt
    variant: str
    run_key: str
    fingerprint: str
    tokenizer: dict[str, Any] | None


@dataclass(frozen=True)
class Sizes:
    """Bytes of the tensors of a network, and of its ternary matrices among them, before and after packing."""

    weights: int  # in ternary matrices
    ternary_before: int
    ternary_packed: int
    model_before: int
    model_packed: int

    @classmethod
    def of(cls, model: LanguageModel) -> Sizes:
        """Of a network that is packed."""
        maps = [module for module in model.modules() if isinstance(module, PackedTernary)]
        weights = sum(one.shape.numel() for one in maps)
        before = sum(one.shape.numel() * one.scale.element_size() for one in maps)
        packed = sum(one.packed.nbytes + one.scale.nbytes for one in maps)
        whole = sum(value.nbytes for value in model.state_dict().values())
        return cls(weights, before, packed, whole - packed + before, whole)

    @property
    def bits_per_weight(self) -> float:
        """Of a packed ternary matrix, its scale and its unfilled last byte included."""
        return 8 * self.ternary_packed / self.weights


@dataclass(frozen=True)
class Packed:
    """A packed network and what its file says of it."""

    model: LanguageModel
    description: Description

    @property
    def sizes(self) -> Sizes:
        return Sizes.of(self.model)

    @property
    def occupancy(self) -> dict[str, Any]:
        return model_occupancy(self.model)


def pack_run(project: Project, path: Path) -> Packed:
    """The network that the run in `path` trained, packed. Raises `UserError` where there is nothing to pack."""
    directory, shown = RunDirectory(path), project.relative(path)
    told = read_json(directory.config)
    if not isinstance(told, dict) or "fingerprint" not in told:
        raise UserError("holds no run; give a run's key, as DATASET/VARIANT-SPEC/s0", file=shown)
    if directory.finished(told["fingerprint"]) is None:
        raise UserError("holds no finished run; train it to its end first", file=shown)
    dataset = told["receipt"]["dataset"]
    model = load_trained(path, dataset["vocabulary"])
    if not pack_ternary_maps(model):
        raise UserError(f"{told['variant']} has no ternary maps, so there is nothing to pack", file=shown)
    description = Description(
        model=told["model"],
        stage=model.stage,
        vocabulary=model.vocabulary,
        context=model.context,
        variant=told["variant"],
        run_key=told["run_key"],
        fingerprint=told["fingerprint"],
        tokenizer=_tokenizer(project, dataset),
    )
    return Packed(model.eval(), description)


def write_packed(packed: Packed, path: Path) -> None:
    """Write the file whole, or not at all."""
    if os.path.isdir(path):  # noqa: PTH112  the method of Path fails on a name that is too long to be one
        raise UserError("is a folder; name a file to write", file=path)
    tensors = {name: value.detach().contiguous().clone() for name, value in packed.model.state_dict().items()}
    text = packed.description.model_dump_json()
    # one key: safetensors writes several in no fixed order, and packing twice shall give the same file
    write_atomically(path, save_tensors(tensors, metadata={_FORMAT: f"{_digest(text, tensors)} {text}"}))


def load_packed(path: Path) -> LanguageModel:
    """The network in a packed file, on the CPU, to be used, not trained: its ternary maps hold their packed bytes.

    Raises `UserError` for a file that is absent, damaged, or no packed network.
    """
    return read_packed(path).model


def read_packed(path: Path) -> Packed:
    """`load_packed`, with what the file says of the network. Torch's random generator stays as it was."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=path) from None
    told = _told(content)
    if told is None:
        raise UserError("is no packed network; `nnn-bench pack RUN` writes one", file=path)
    damaged = UserError("is damaged; pack its run again", file=path)
    try:
        tensors = load_tensors(content)
    except SafetensorError:
        raise damaged from None
    digest, _, text = told.partition(" ")
    if digest != _digest(text, tensors):
        raise damaged
    description = validate(Description, _parsed(text), file=path)
    if not _fits(description, len(content), path):
        raise damaged
    with torch.random.fork_rng(devices=[]):
        model = build(description.model, vocabulary=description.vocabulary, context=description.context, file=str(path))
        while model.stage < min(description.stage, model.stages - 1):
            model.grow()
    if model.stage != description.stage:
        raise damaged
    pack_ternary_maps(model)
    try:
        model.load_state_dict(tensors)
    except RuntimeError:  # another release of the package may name its tensors otherwise
        raise UserError("holds other tensors than its network has; pack its run again", file=path) from None
    if not all(
        sound(module.packed) and bool(torch.isfinite(module.scale).all())
        for module in model.modules()
        if isinstance(module, PackedTernary)
    ):
        raise damaged
    return Packed(model.eval(), description)


def _fits(description: Description, size: int, path: Path) -> bool:
    """Whether a file of so many bytes can hold the weights of the network it describes, four of them a byte at most."""
    try:
        with torch.device("meta"):
            told = build(
                description.model, vocabulary=description.vocabulary, context=description.context, file=str(path)
            )
    except (RuntimeError, TypeError, OverflowError, ValueError):
        return False  # sizes that no tensor can have
    return sum(parameter.numel() for parameter in told.parameters()) <= 4 * size


def _told(content: bytes) -> str | None:
    """What we wrote into the metadata of a safetensors file; None for a file that is something else."""
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    if length > _LONGEST_HEADER:
        return None
    found = _parsed(content[_LENGTH_BYTES : _LENGTH_BYTES + length])
    metadata = found.get("__metadata__") if isinstance(found, dict) else None
    told = metadata.get(_FORMAT) if isinstance(metadata, dict) else None
    return told if isinstance(told, str) else None


def _parsed(text: str | bytes) -> Any | None:
    """What JSON says; None for what is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _digest(text: str, tensors: dict[str, Tensor]) -> str:
    """SHA-256 over the description and every tensor with its name, type and shape."""
    hashed = hashlib.sha256(text.encode())
    for name, value in sorted(tensors.items()):
        hashed.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
        hashed.update(value.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return hashed.hexdigest()


def _tokenizer(project: Project, dataset: dict[str, Any]) -> dict[str, Any] | None:
    """The vocabulary that a run's data had, if its store is still there and made of the same text."""
    folder = project.tokens(dataset["name"], dataset["tokenizer"])
    manifest = read_manifest(folder)
    if manifest is None or (manifest.content_sha256, manifest.vocabulary) != (dataset["sha256"], dataset["vocabulary"]):
        return None
    found = read_json(folder / "vocabulary.json")
    return found if isinstance(found, dict) else None
