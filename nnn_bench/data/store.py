"""A tokenized data set on disk: three memory-mapped shards, a vocabulary, and a manifest that says what they are."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nnn_bench.config.errors import UserError, nearest
from nnn_bench.config.files import digest, read_json
from nnn_bench.config.paths import Project
from nnn_bench.config.validation import Settings, validate

Tokens = NDArray[np.unsignedinteger]
SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


class Split(Settings):
    """What one shard holds."""

    tokens: int
    characters: int
    bytes: int
    unknown: int
    sha256: str


class Manifest(Settings):
    """What the store of one (dataset, tokenizer) holds. `fingerprint` is the hash of all it was made from and by."""

    dataset: str
    content_sha256: str
    tokenizer: str
    vocabulary: int
    token_bytes: list[int]
    dtype: Literal["uint16", "uint32"]
    fingerprint: str
    splits: Mapping[SplitName, Split]

    @property
    def content(self) -> str:
        """Hash of what a run reads, whichever code made it."""
        shards = {name: split.sha256 for name, split in self.splits.items()}
        return digest([self.tokenizer, self.vocabulary, self.token_bytes, self.dtype, shards])


class TokenStore:
    """The shards of a data set, as arrays that are read when they are touched."""

    def __init__(self, folder: Path, manifest: Manifest):
        self._folder, self.manifest = folder, manifest

    @cached_property
    def train(self) -> Tokens:
        return self._shard("train")

    @cached_property
    def validation(self) -> Tokens:
        return self._shard("validation")

    @cached_property
    def test(self) -> Tokens:
        return self._shard("test")

    def decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids))

    @cached_property
    def _tokenizer(self) -> Any:
        return tokenizer_class(self.manifest.tokenizer).from_data(read_json(self._folder / "vocabulary.json"))

    def _shard(self, name: SplitName) -> Tokens:
        return np.memmap(self._folder / f"{name}.bin", dtype=np.dtype(self.manifest.dtype).newbyteorder("<"), mode="r")


def tokenizer_module(name: str) -> str:
    """Dotted module of the tokenizer `name`; its file name is the name the YAML uses."""
    known = [path.stem for path in (Path(__file__).parent / "tokenizers").glob("[a-z]*.py")]
    if name not in known:
        raise UserError(f"there is no tokenizer {name!r}; {nearest(name, known)}")
    return f"nnn_bench.data.tokenizers.{name}"


def tokenizer_class(name: str) -> Any:
    """The class `Tokenizer` of the file `tokenizers/NAME.py`.

    It is looked up by name, so a tokenizer's source is no part of a run's closure: a run depends on token ids, which the
    manifest hashes, not on the code that made them.
    """
    return importlib.import_module(tokenizer_module(name)).Tokenizer


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest in `folder`, if there is one and the shards beside it have the sizes it says."""
    data = read_json(folder / "manifest.json")
    if not isinstance(data, dict):
        return None
    try:
        manifest = validate(Manifest, data, file=folder / "manifest.json")
    except UserError:
        return None
    width = np.dtype(manifest.dtype).itemsize
    shards = {name: folder / f"{name}.bin" for name in SPLITS}
    sound = all(
        path.is_file() and path.stat().st_size == manifest.splits[name].tokens * width for name, path in shards.items()
    )
    return manifest if sound and isinstance(read_json(folder / "vocabulary.json"), dict) else None


def load(project: Project, dataset: str, tokenizer: str) -> TokenStore:
    """The prepared store; raises `UserError` when it is absent or damaged."""
    folder = project.tokens(dataset, tokenizer)
    manifest = read_manifest(folder)
    if manifest is None:
        raise UserError(
            f"is absent or damaged; `nnn-bench data prepare {dataset}` makes it again", file=project.relative(folder)
        )
    return TokenStore(folder, manifest)
