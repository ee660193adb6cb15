"""Make the token store of a data set: content, splits, tokenizer, shards, manifest.

The tokenizer is trained on the training split alone. Text is encoded block by block and written as it comes, several blocks at
once where the tokenizer can; conversations likewise, some hundred at a time. What is made lies in a folder of its own until it
is whole: a process that is killed goes on there, an error leaves nothing.
"""

from __future__ import annotations

import shutil
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from nnn_bench.config.closure import closure_hash
from nnn_bench.config.datasets import Dataset, TokenSettings, token_files
from nnn_bench.config.errors import UserError
from nnn_bench.config.files import digest, disk_error, read_json, sha256_of_file, write_json
from nnn_bench.config.paths import Project
from nnn_bench.data.content import Content, locked, make_content
from nnn_bench.data.conversations.stream import mark_ids
from nnn_bench.data.encoding.tokenizer import BaseTokenizer, tokenizer_class, tokenizer_module
from nnn_bench.data.names import SPLITS, SplitName
from nnn_bench.data.parts import Encoded, Parts, parts_of
from nnn_bench.data.shards import ShardWriter
from nnn_bench.data.store import Manifest, Split, read_manifest

_SIDE_BY_SIDE = 2  # pieces: while the library encodes one, the ids of another become numbers


def prepare(name: str, dataset: Dataset, tokenizer: str, settings: TokenSettings, project: Project) -> Manifest:
    """The manifest of the token store of `dataset`; made if absent, damaged, or made from something else.

    `settings` are those of `config/tokenizers/TOKENIZER.yaml`. Raises `UserError` for content that cannot be had or used;
    what was there before stays.
    """
    content = make_content(name, dataset, project)
    folder = project.tokens(name, tokenizer)
    with locked(folder):
        fingerprint = _fingerprint(content, dataset, settings, project)
        there = read_manifest(folder)
        if there is not None and there.fingerprint == fingerprint:
            return there
        parts = parts_of(name, dataset, content, project)
        making = folder / ".making"
        try:
            if read_json(making / "fingerprint.json") != fingerprint:
                shutil.rmtree(making, ignore_errors=True)
                making.mkdir()
                write_json(making / "fingerprint.json", fingerprint)
            manifest = _made(name, tokenizer, settings, content, parts, making, fingerprint, project)
            _put_in_place(making, folder)
        except OSError as error:
            shutil.rmtree(making, ignore_errors=True)
            raise disk_error(folder, error) from error
        except Exception:
            shutil.rmtree(making, ignore_errors=True)
            raise
        return manifest


def _made(
    name: str,
    tokenizer: str,
    settings: TokenSettings,
    content: Content,
    parts: Parts,
    folder: Path,
    fingerprint: str,
    project: Project,
) -> Manifest:
    """Write the store into `folder`, or what is still lacking of it there."""
    masked = content.form == "conversations"
    made = _tokenizer(settings, parts, folder, project)
    marks = mark_ids(made.size) if masked else {}
    vocabulary = made.size + len(marks)
    dtype: Literal["uint16", "uint32"] = "uint16" if vocabulary <= 1 << 16 else "uint32"
    splits: dict[SplitName, Split] = {}
    for split in SPLITS:
        writer = ShardWriter(folder, split, dtype, masked=masked)
        splits[split] = writer.done or _written(writer, parts, split, made)
    manifest = Manifest(
        dataset=name,
        content_sha256=content.sha256,
        form="conversations" if masked else "text",
        origin=content.origin,
        tokenizer=tokenizer,
        vocabulary=vocabulary,
        marks=marks,
        token_bytes=made.token_bytes + [0] * len(marks),
        token_characters=made.token_characters + [0] * len(marks),
        bytes_per_token=splits["train"].bytes / splits["train"].tokens,
        dtype=dtype,
        fingerprint=fingerprint,
        splits=splits,
    )
    write_json(folder / "manifest.json", manifest.model_dump(mode="json"))
    return manifest


def _tokenizer(settings: TokenSettings, parts: Parts, folder: Path, project: Project) -> BaseTokenizer:
    """The tokenizer that was begun with, or a new one."""
    path, kind = folder / "vocabulary.json", tokenizer_class(settings.kind)
    known = read_json(path)
    if known is not None:
        return kind.from_data(known)
    made = kind.train(settings, parts.texts("train"), project)
    write_json(path, made.to_data())
    return made


def _written(writer: ShardWriter, parts: Parts, split: SplitName, tokenizer: BaseTokenizer) -> Split:
    """Encode a split from where its writer stands, two pieces side by side, and write them in their order."""
    waiting: deque[tuple[Future[Encoded], int]] = deque()
    try:
        with ThreadPoolExecutor(max_workers=_SIDE_BY_SIDE) as pool:
            for piece in parts.pieces(split, writer.place):
                waiting.append((pool.submit(piece.encoded, tokenizer), piece.after))
                if len(waiting) > _SIDE_BY_SIDE:
                    _append(writer, *waiting.popleft())
            for one in waiting:
                _append(writer, *one)
        return writer.close()
    finally:
        writer.abandon()


def _append(writer: ShardWriter, coming: Future[Encoded], after: int) -> None:
    writer.append(coming.result())
    writer.reached(after)


def _put_in_place(making: Path, folder: Path) -> None:
    """Move a whole store to where it belongs; the manifest goes first and comes last."""
    (folder / "manifest.json").unlink(missing_ok=True)
    for note in (making / "fingerprint.json", *making.glob("*.note.json")):
        note.unlink()
    for path in sorted(making.iterdir(), key=lambda one: one.name == "manifest.json"):
        path.replace(folder / path.name)
    making.rmdir()


def _fingerprint(content: Content, dataset: Dataset, settings: TokenSettings, project: Project) -> str:
    cut = dataset.model_dump(mode="json", include={"validation_share", "test_share", "gap"})
    files = [_hash_of(project, path) for path in token_files(settings)]
    source = closure_hash("nnn_bench.data.prepare", tokenizer_module(settings.kind))
    return digest([content.sha256, content.form, cut, settings.model_dump(mode="json"), files, source])


def _hash_of(project: Project, path: str) -> str:
    try:
        return sha256_of_file(project.root / path)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}; give the path from the project root", file=path) from None
