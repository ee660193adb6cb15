"""Whether what the cache holds of a data set is what its records say. Nothing is fetched, nothing is changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from nnn_bench.config.datasets import Dataset
from nnn_bench.config.errors import UserError
from nnn_bench.config.files import read_json, sha256_of_file
from nnn_bench.config.paths import Project
from nnn_bench.data import splits
from nnn_bench.data.content import FILES, Content, read_content
from nnn_bench.data.delivery.fetch import source_module
from nnn_bench.data.delivery.shelf import Shelf
from nnn_bench.data.labelled.arrays import cut_labelled, load_labelled
from nnn_bench.data.names import SPLITS
from nnn_bench.data.store import read_manifest

#: sources whose files stay where they are
_IN_PLACE = ("bundled", "file", "folder")


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
        if source.kind in _IN_PLACE:
            try:
                files = source_module(source).deliver(source, name, project).files
            except UserError as error:
                yield Finding(f"files, {source.kind}", False, str(error))
            else:
                yield Finding(f"files, {source.kind}", True, f"{len(files)} where they are kept")


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


def damaged_shards(folder: Path) -> list[str]:
    """The files of a token store that no longer have their hashes; none where there is no store."""
    manifest = read_manifest(folder)
    told = manifest.splits.items() if manifest else ()
    hashes = [(f"{name}.bin", split.sha256) for name, split in told]
    hashes += [(f"{name}.targets", split.targets_sha256) for name, split in told if split.targets_sha256]
    return [file for file, sha256 in hashes if sha256_of_file(folder / file) != sha256]
