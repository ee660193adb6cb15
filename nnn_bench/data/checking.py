"""Whether what the cache holds of a data set is what its records say. Nothing is fetched, nothing is changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnn_bench.config.datasets import Dataset, Source
from nnn_bench.config.errors import UserError
from nnn_bench.config.files import read_json, sha256_of_file
from nnn_bench.config.paths import Project
from nnn_bench.data import splits
from nnn_bench.data.content import FILES, Content, read_content
from nnn_bench.data.delivery.fetch import source_module
from nnn_bench.data.delivery.hub_repository import Repository
from nnn_bench.data.delivery.shelf import Shelf
from nnn_bench.data.labelled.arrays import cut_labelled, load_labelled
from nnn_bench.data.names import SPLITS
from nnn_bench.data.store import Tokens, TokenStore, read_manifest

#: sources whose files stay where they are
_IN_PLACE = ("bundled", "file", "folder")

_WINDOW = 64  # tokens, a power of two
_BASE = 0x9E3779B97F4A7C15  # of the hash of a window: odd, with bits everywhere
_AT_ONCE = 1 << 18  # windows, a multiple of those


class Finding(NamedTuple):
    """One thing that was looked at: whether it is as it should be, and what was seen, with the mend where it is not."""

    what: str
    sound: bool
    saw: str


def findings(name: str, dataset: Dataset, project: Project) -> Iterator[Finding]:
    """All that can be told of a data set without making any of it again."""
    folder, again = project.content(name), f"`nnn-bench data fetch {name}` makes it again"
    content = read_content(folder)
    if content is None:
        yield Finding("content", False, f"absent or damaged; {again}")
        return
    found = content_hash(content, folder)
    for what, expected in (("record", content.sha256), ("pin", dataset.sha256)):
        if expected:
            saw = f"sha256 {found[:12]}, {content.bytes:,} bytes"
            wrong = f"hash {found[:12]}, expected {expected[:12]}; {again}"
            yield Finding(f"content as in {what}", found == expected, saw if found == expected else wrong)
    yield from _delivered(name, dataset, content, project)
    yield from _stores(name, content, project)
    if found != content.sha256:
        return  # what is not the content has no parts
    try:
        if content.form == "text":
            yield _text_apart(content, folder / FILES["text"], dataset)
        elif content.form == "conversations":
            yield from _conversations_apart(folder / FILES["conversations"], dataset, f"data set {name}")
        else:
            cut = cut_labelled(
                load_labelled(folder, content.counts),
                dataset.validation_share,
                dataset.test_share,
                file=f"data set {name}",
            )
            told = f"train {len(cut.train):,}, validation {len(cut.validation):,}, test {len(cut.test):,}"
            yield Finding("splits", True, f"{told}; {cut.classes} classes in each")
    except UserError as error:
        yield Finding("splits", False, str(error))


def content_hash(content: Content, folder: Path) -> str:
    """The hash of the content as it lies there now."""
    if content.form == "labelled":
        return load_labelled(folder, content.counts).sha256
    return sha256_of_file(folder / FILES[content.form])


def is_damaged(folder: Path) -> bool:
    """Whether content lies there with another hash than its record says."""
    content = read_content(folder)
    return content is not None and content_hash(content, folder) != content.sha256


def _delivered(name: str, dataset: Dataset, content: Content, project: Project) -> Iterator[Finding]:
    """The files the content was made from: on a shelf, where none is no fault, or where the user or a package keeps them."""
    kind = content.origin["kind"]
    for record in sorted(project.delivered(kind, "x").parent.glob(f"{kind}-*/delivery.json")):
        told = read_json(record)
        if isinstance(told, dict) and told.get("origin") == content.origin:
            there = Shelf(record.parent, name).delivery()
            saw = f"damaged; `nnn-bench data fetch {name}` makes them again"
            yield Finding(
                f"files, {kind}", there is not None, f"{len(there.files)} with their hashes" if there else saw
            )
    for source in dataset.ways:
        try:
            changed, told = _kept(source, name, content, project)
        except UserError as error:
            yield Finding(f"files, {source.kind}", False, str(error))
        else:
            if told:
                saw = f"changed since it was read; `nnn-bench data fetch {name}` reads it anew"
                yield Finding(f"files, {source.kind}", not changed, saw if changed else told)


def _kept(source: Source, name: str, content: Content, project: Project) -> tuple[bool, str]:
    """Whether what the user or a package keeps is another than was read, and what there is: nothing, of what lies elsewhere.

    Content that came from another source of the data set tells nothing of this one.
    """
    if source.kind in _IN_PLACE:
        delivery = source_module(source).deliver(source, name, project)
        hashes = [file.sha256 for file in delivery.files]
        read_here = delivery.origin == content.origin
        return read_here and hashes != content.files, f"{len(hashes)} where they are kept"
    if source.kind == "hub":
        repository = Repository.of(source, name, project)
        if repository.folder is not None:
            read_here = content.origin.get("repository") == source.repository
            return read_here and repository.revision != content.origin["revision"], "a repository where it is kept"
    return False, ""


def _text_apart(content: Content, path: Path, dataset: Dataset) -> Finding:
    """The three ranges, and how many characters really lie between them."""
    ranges = splits.text_ranges(path, content.counts["characters"], dataset, file=f"data set {content.dataset}")
    train, validation, test = ranges.values()
    between = []
    with path.open("rb") as file:
        for begin, end in ((train[1], validation[0]), (validation[1], test[0])):
            file.seek(begin)
            between.append(len(file.read(max(0, end - begin)).decode()))
    whole = train[0] == 0 and test[1] == content.bytes and all(begin < end for begin, end in ranges.values())
    told = ", ".join(f"{name} {end - begin:,}" for name, (begin, end) in ranges.items())
    saw = f"{told} bytes; {between[0]:,} and {between[1]:,} characters left out between"
    return Finding("splits", whole and between == [dataset.gap] * 2, saw)


def _conversations_apart(path: Path, dataset: Dataset, shown: str) -> Iterator[Finding]:
    """Hashes of the conversations and of their groups, compared between the parts."""
    index = splits.conversation_index(path, dataset, file=shown)
    seen: dict[str, list[set[bytes]]] = {"conversations": [], "groups": []}
    for name in SPLITS:
        told, groups = set(), set()
        for conversation in index.read(name):
            told.add(hashlib.sha256(repr(conversation.messages).encode()).digest())
            groups.add(hashlib.sha256(conversation.group.encode()).digest())
        seen["conversations"].append(told)
        seen["groups"].append(groups)
    for what, parts in seen.items():
        shared = sum(len(one & other) for one, other in combinations(parts, 2))
        counts = ", ".join(f"{name} {len(part):,}" for name, part in zip(SPLITS, parts, strict=True))
        yield Finding(f"{what} of splits", shared == 0, f"{counts}; {shared:,} shared")


def _stores(name: str, content: Content, project: Project) -> Iterator[Finding]:
    """Every token store of the data set: its files against its manifest, the manifest against the content."""
    for folder in sorted(project.tokens(name, "x").parent.glob(f"{name}.*")):
        tokenizer = folder.name.partition(".")[2]
        again = f"; `nnn-bench data prepare {name} --tokenizer {tokenizer}` makes it again"
        manifest = read_manifest(folder)
        if manifest is None:
            if list(folder.glob("[!.]*")):  # a folder that only was locked is no store
                yield Finding(f"tokens, {tokenizer}", False, f"damaged{again}")
            continue
        wrong = damaged_shards(folder)
        if manifest.content_sha256 != content.sha256:
            yield Finding(f"tokens, {tokenizer}", False, f"of another content, {manifest.content_sha256[:12]}{again}")
        else:
            saw = f"damaged: {', '.join(wrong)}{again}" if wrong else f"{len(manifest.splits)} splits with their hashes"
            yield Finding(f"tokens, {tokenizer}", not wrong, saw)
            if manifest.form == "conversations" and tokenizer == "characters" and not wrong:
                yield Finding("windows shared", True, _windows_shared(TokenStore(folder, manifest)))


def damaged_shards(folder: Path) -> list[str]:
    """The files of a token store that no longer have their hashes; none where there is no store."""
    manifest = read_manifest(folder)
    told = manifest.splits.items() if manifest else ()
    hashes = [(f"{name}.bin", split.sha256) for name, split in told]
    hashes += [(f"{name}.targets", split.targets_sha256) for name, split in told if split.targets_sha256]
    return [file for file, sha256 in hashes if sha256_of_file(folder / file) != sha256]


def _windows_shared(store: TokenStore) -> str:
    """How many windows of what is scored, one behind the other, stand anywhere in the training split.

    All of them, and those in which all tokens are an answer's. Prompts repeat, and short answers; it is told, never a fault.
    """
    windows = {
        name: np.concatenate([some[::_WINDOW] for some in _hashes(store.tokens(name))] or [np.empty(0, np.uint64)])
        for name in SPLITS[1:]
    }
    scored = np.unique(np.concatenate(list(windows.values())))
    met = np.zeros(len(scored), dtype=bool)
    for some in _hashes(store.train) if len(scored) else ():
        place = np.searchsorted(scored[:-1], some)
        met[place[scored[place] == some]] = True
    told = []
    for name, hashes in windows.items():
        shared = met[np.searchsorted(scored, hashes)]
        answers = store.targets(name)[: len(hashes) * _WINDOW].reshape(-1, _WINDOW).all(axis=1)
        told.append(f"{name} {_share(shared)}, of answers alone {_share(shared[answers])}")
    return f"{_WINDOW} tokens word for word in train: {'; '.join(told)}"


def _share(shared: NDArray[np.bool_]) -> str:
    return f"{shared.sum():,} of {len(shared):,} ({shared.mean() if len(shared) else 0:.2%})"


def _hashes(tokens: Tokens) -> Iterator[NDArray[np.uint64]]:
    """Polynomial hash modulo 2^64 of the window that begins at each token and is whole, many at once.

    That of twice the length is made of two neighbours: h(2n, i) = h(n, i) BASE^n + h(n, i + n). Of a
    million windows and a hundred million others, two are wrongly taken for the same once in a hundred thousand data sets.
    """
    for first in range(0, len(tokens) - _WINDOW + 1, _AT_ONCE):
        hashes = tokens[first : first + _AT_ONCE + _WINDOW - 1].astype(np.uint64)
        length = 1
        while length < _WINDOW:
            hashes = hashes[:-length] * np.uint64(pow(_BASE, length, 1 << 64)) + hashes[length:]
            length *= 2
        yield hashes
