"""A tokenized data set on disk: three memory-mapped shards, a vocabulary, and a manifest that says what they are.

.cache/tokens/DATASET.TOKENIZER/{train,validation,test}.bin        ids, uint16 or uint32, little-endian
                                {train,validation,test}.targets    conversations alone: 1 where an answer stands, uint8
                                vocabulary.json manifest.json
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nnn_bench.config.errors import UserError
from nnn_bench.config.files import digest, read_json
from nnn_bench.config.paths import Project
from nnn_bench.config.validation import Settings, validate
from nnn_bench.data.encoding.tokenizer import BaseTokenizer, tokenizer_class
from nnn_bench.data.names import SPLITS, SplitName

Tokens = NDArray[np.unsignedinteger]

_AT_ONCE = 1 << 22  # tokens


class Split(Settings):
    """What one shard holds. `targets` of its tokens belong to answers; `unknown` of its characters to no vocabulary."""

    tokens: int
    characters: int
    bytes: int
    unknown: int
    sha256: str
    targets: int | None = None
    targets_sha256: str | None = None


class Manifest(Settings):
    """What the store of one (dataset, tokenizer) holds. `fingerprint` is the hash of all it was made from and by.

    `token_bytes` and `token_characters` are those of each id, `(vocabulary,)`; the marks of conversations, its last ids, have
    none. `origin` says where the content came from.
    """

    dataset: str
    content_sha256: str
    form: Literal["text", "conversations"]
    origin: dict[str, Any]
    tokenizer: str
    vocabulary: int
    marks: dict[str, int]
    token_bytes: list[int]
    token_characters: list[int]
    bytes_per_token: float
    dtype: Literal["uint16", "uint32"]
    fingerprint: str
    splits: Mapping[SplitName, Split]

    @property
    def content(self) -> str:
        """Hash of what a run reads, whichever code made it."""
        shards = {name: [split.sha256, split.targets_sha256] for name, split in self.splits.items()}
        return digest([self.tokenizer, self.vocabulary, self.marks, self.token_bytes, self.dtype, shards])


class TokenStore:
    """The shards of a data set, as arrays that are read when they are touched."""

    def __init__(self, folder: Path, manifest: Manifest):
        self._folder, self.manifest = folder, manifest

    @cached_property
    def train(self) -> Tokens:
        return self.tokens("train")

    @cached_property
    def validation(self) -> Tokens:
        return self.tokens("validation")

    @cached_property
    def test(self) -> Tokens:
        return self.tokens("test")

    def tokens(self, split: SplitName) -> Tokens:
        dtype = np.dtype(self.manifest.dtype).newbyteorder("<")
        return np.memmap(self._folder / f"{split}.bin", dtype=dtype, mode="r")

    def targets(self, split: SplitName) -> NDArray[np.uint8]:
        """1 where a token of a split belongs to an answer, `(tokens,)`. Raises `UserError` for text, which has none."""
        if self.manifest.form != "conversations":
            raise UserError(
                f"is {self.manifest.form}, in which nothing is an answer; use objective: next",
                file=f"config/datasets/{self.manifest.dataset}.yaml",
                key="reader",
            )
        return np.memmap(self._folder / f"{split}.targets", dtype=np.uint8, mode="r")

    def seen(self, characters: int) -> Tokens:
        """The tokens of the first `characters` characters of the training split. Raises `UserError` when it has fewer."""
        there = self.manifest.splits["train"].characters
        if characters > there:
            raise UserError(
                f"is {characters:,}, but the training split has {there:,}", key="language.training_characters"
            )
        return self.train[: self._tokens_of(characters)]

    def _tokens_of(self, characters: int) -> int:
        """How many tokens the first `characters` of the training split make, without one that goes beyond them."""
        lengths = np.asarray(self.manifest.token_characters)
        if (lengths == 1).all():
            return characters
        for first in range(0, len(self.train), _AT_ONCE):
            reached = lengths[self.train[first : first + _AT_ONCE]].cumsum()
            if reached[-1] > characters:
                return first + int(np.searchsorted(reached, characters, side="right"))
            characters -= int(reached[-1])
        return len(self.train)

    @cached_property
    def token_bytes(self) -> NDArray[np.int64]:
        return np.asarray(self.manifest.token_bytes, dtype=np.int64)

    @cached_property
    def tokenizer(self) -> BaseTokenizer:
        data: dict[str, Any] = read_json(self._folder / "vocabulary.json") or {}
        return tokenizer_class(data["kind"]).from_data(data)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, marks of a conversation as `<|user|>`."""
        names = self._shown_marks
        return "".join(
            "".join(names[one] for one in several) if is_mark else self.tokenizer.decode(list(several))
            for is_mark, several in groupby(ids, key=names.__contains__)
        )

    def streamed(self, ids: Iterable[int]) -> Iterator[str]:
        """The same for ids that come one by one, in pieces of whole characters."""
        names = self._shown_marks
        for is_mark, several in groupby(ids, key=names.__contains__):
            yield from map(names.__getitem__, several) if is_mark else self.tokenizer.streamed(several)  # noqa: B031

    @property
    def _shown_marks(self) -> dict[int, str]:
        return {number: f"<|{mark}|>" for mark, number in self.manifest.marks.items()}


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
    sizes = {f"{name}.bin": manifest.splits[name].tokens * width for name in SPLITS}
    if manifest.form == "conversations":
        sizes |= {f"{name}.targets": manifest.splits[name].tokens for name in SPLITS}
    sound = all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in sizes.items())
    return manifest if sound and isinstance(read_json(folder / "vocabulary.json"), dict) else None


def load(project: Project, dataset: str, tokenizer: str) -> TokenStore:
    """The prepared store; raises `UserError` when it is absent or damaged."""
    folder = project.tokens(dataset, tokenizer)
    manifest = read_manifest(folder)
    if manifest is None:
        raise UserError(
            f"is absent or damaged; `nnn-bench data prepare {dataset} --tokenizer {tokenizer}` makes it again",
            file=project.relative(folder),
        )
    return TokenStore(folder, manifest)
