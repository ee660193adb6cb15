"""Make the token store of a data set: fetch, clean, check, split, tokenize, write.

The text is cut into contiguous training, validation and test parts with a gap between, so that no window of one part overlaps
another. The tokenizer sees the training part alone.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from nnn_bench.config.closure import closure_hash
from nnn_bench.config.errors import UserError
from nnn_bench.config.files import digest, write_atomically, write_json
from nnn_bench.config.paths import Project
from nnn_bench.config.schema import Dataset
from nnn_bench.data.cleaning import as_text, clean
from nnn_bench.data.sources import fetch
from nnn_bench.data.store import SPLITS, Manifest, Split, SplitName, read_manifest, tokenizer_class, tokenizer_module

_LEAST_TOKENS = 2  # of a split: one input and its target


def prepare(name: str, dataset: Dataset, tokenizer: str, project: Project) -> Manifest:
    """The manifest of the token store of `dataset`; made if absent, damaged, or made from something else.

    Raises `UserError` for content that cannot be had or used; what was there before stays.
    """
    tokenizer_module(tokenizer)  # refuse an unknown one before anything is made
    folder = project.tokens(name, tokenizer)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        content = fetch(name, dataset, project)
        fingerprint = _fingerprint(dataset, tokenizer, content)
        there = read_manifest(folder)
        if there is not None and there.fingerprint == fingerprint:
            return there
        text = clean(as_text(content, file=_shown(name, dataset)), dataset.cleaning)
        content_sha256 = hashlib.sha256(text.encode()).hexdigest()
        if dataset.sha256 and content_sha256 != dataset.sha256:
            raise UserError(
                f"the cleaned text has hash {content_sha256}; pin that one if the change is meant",
                file=f"config/datasets/{name}.yaml",
                key="sha256",
            )
        parts = split(text, dataset, file=_shown(name, dataset))
        made = tokenizer_class(tokenizer).train(parts["train"])
        dtype: Literal["uint16", "uint32"] = "uint16" if made.size <= 1 << 16 else "uint32"
        (folder / "manifest.json").unlink(
            missing_ok=True
        )  # from here on the store is not sound until the new one is there
        splits = {}
        for part in SPLITS:
            ids = made.encode(parts[part])
            shard = ids.astype(f"<{'u2' if dtype == 'uint16' else 'u4'}").tobytes()
            write_atomically(folder / f"{part}.bin", shard)
            splits[part] = Split(
                tokens=len(ids),
                characters=len(parts[part]),
                bytes=len(parts[part].encode()),
                unknown=int((ids == 0).sum()),
                sha256=hashlib.sha256(shard).hexdigest(),
            )
        write_json(folder / "vocabulary.json", made.to_data())
        manifest = Manifest(
            dataset=name,
            content_sha256=content_sha256,
            tokenizer=tokenizer,
            vocabulary=made.size,
            token_bytes=made.token_bytes,
            dtype=dtype,
            fingerprint=fingerprint,
            splits=splits,
        )
        write_json(folder / "manifest.json", manifest.model_dump(mode="json"))
        return manifest


def split(text: str, dataset: Dataset, *, file: str) -> dict[SplitName, str]:
    """Contiguous parts of `text` with `gap` characters left out between them."""
    length, gap = len(text), dataset.gap
    validation, test = int(length * dataset.validation_share), int(length * dataset.test_share)
    train = length - validation - test - 2 * gap
    if min(train, validation, test) < _LEAST_TOKENS:
        raise UserError(
            f"has {length:,} characters: too few for three splits with gaps of {gap:,}; give more text or lower gap",
            file=file,
        )
    second = train + gap
    third = second + validation + gap
    return {"train": text[:train], "validation": text[second : second + validation], "test": text[third:]}


def _fingerprint(dataset: Dataset, tokenizer: str, content: bytes) -> str:
    settings = dataset.model_dump(mode="json", exclude={"summary", "licence", "citation", "source"})
    source = closure_hash("nnn_bench.data.prepare", tokenizer_module(tokenizer))
    return digest([settings, tokenizer, hashlib.sha256(content).hexdigest(), source])


def _shown(name: str, dataset: Dataset) -> str:
    """What to call the data in messages: the user's own file, or the data set."""
    return dataset.source.path if dataset.source.kind == "file" else f"data set {name}"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time prepares a store; the others wait, and then find it made."""
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
