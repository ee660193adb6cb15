"""The verbs of data sets: what there is, getting it, checking what is here, making tokens."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from nnn_bench.commands.shared import AsJson, open_project
from nnn_bench.config.datasets import Dataset, PackageSource, Source
from nnn_bench.config.errors import UserError
from nnn_bench.config.paths import Project
from nnn_bench.config.terminal import ERROR_PREFIX, EXIT_BAD_INPUT

DatasetName = Annotated[str, typer.Argument(metavar="DATASET", help="a file of config/datasets")]
DatasetNames = Annotated[list[str], typer.Argument(metavar="DATASET...", help="files of config/datasets")]


def data_list(as_json: AsJson = False) -> None:
    """Every data set: form, size, licence, where it comes from, whether it is here; and every tokenizer.

    `here` says `yes` where the content is in the cache, `offline` where it can be made without a network, else `no`.
    """
    project, catalog = open_project()
    told = {name: _described(name, catalog.dataset(name), project) for name in catalog.names("datasets")}
    tokenizers = {name: catalog.tokenization(name).summary for name in catalog.names("tokenizers")}
    if as_json:
        print(json.dumps({"datasets": told, "tokenizers": tokenizers}, indent=1))
        return
    rows = [["data set", "form", "bytes", "from", "here", "licence"]]
    for name, one in told.items():
        size = f"{one['bytes']:,}" if one["bytes"] else "-"
        here = "yes" if one["here"] else "offline" if one["offline"] else "no"
        rows.append([name, one["form"], size, " or ".join(one["from"]), here, licence_in_short(one["licence"])])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if i == 2 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print(f"  {'  '.join(cells)}".rstrip())
    print("tokenizers")
    for name, summary in tokenizers.items():
        print(f"  {name:<26} {summary}")


def licence_in_short(licence: str) -> str:
    """Its first words; what else there is to say stands in the file."""
    return re.split(r"[;:(]", licence)[0].strip()


def _described(name: str, dataset: Dataset, project: Project) -> dict[str, Any]:
    from nnn_bench.data.content import read_content, reader_module

    try:
        form = importlib.import_module(reader_module(dataset.reader_name)).FORM
    except UserError as error:
        raise UserError(error.message, file=f"config/datasets/{name}.yaml", key="reader") from None
    content = read_content(project.content(name))
    return {
        "summary": dataset.summary,
        "form": form,
        "bytes": content.bytes if content else dataset.bytes,
        "sha256": content.sha256 if content else dataset.sha256,
        "licence": dataset.licence,
        "citation": dataset.citation,
        "from": [source.client if isinstance(source, PackageSource) else source.kind for source in dataset.ways],
        "here": content is not None,
        "offline": any(_is_here(source, name, project) for source in dataset.ways),
    }


def _is_here(source: Source, name: str, project: Project) -> bool:
    """Whether `source` can deliver without a network, as far as the names of files tell."""
    from nnn_bench.data.delivery.shelf import Shelf

    match source.kind:
        case "synthetic":
            return True
        case "bundled":
            return importlib.util.find_spec(source.package) is not None
        case "file" | "folder":
            return (project.root / source.path).exists()
        case "hub" if _is_local(source):
            return (project.root / source.repository).is_dir()
    return Shelf.of(source, name, project).folder.is_dir()


def _is_local(source: Source) -> bool:
    """Whether `source` is a folder of the user's in the format of the hub."""
    return source.kind == "hub" and source.repository.startswith((".", "/"))


def data_fetch(datasets: DatasetNames, as_json: AsJson = False) -> None:
    """Get the content of each DATASET into the cache and check its hash; what is there and sound is reused.

    One that fails does not stop the others; each says why on a line of its own, and the exit code is 2.
    """
    from nnn_bench.data.checking import is_damaged
    from nnn_bench.data.content import make_content
    from nnn_bench.data.delivery.shelf import Unavailable

    project, catalog = open_project()
    told: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(datasets):
        begun = time.perf_counter()
        try:
            dataset = catalog.dataset(name)
            if not as_json:
                print(f"{name}: {dataset.summary}", flush=True)
            _forget(project.content(name), "content.json", is_damaged)
            content = make_content(name, dataset, project)
        except UserError as error:
            reason = f"{name}: not run: {error}" if isinstance(error, Unavailable) else str(error)
            told[name] = {"error": reason}
            print(f"{ERROR_PREFIX}{reason}", file=sys.stderr, flush=True)
            continue
        seconds = round(time.perf_counter() - begun, 3)
        told[name] = {**content.model_dump(mode="json"), "pinned": dataset.sha256 is not None, "seconds": seconds}
        if not as_json:
            counts = ", ".join(f"{count:,} {what}" for what, count in content.counts.items())
            pinned = f"{content.sha256[:12]}, as pinned" if dataset.sha256 else f"{content.sha256}, not pinned"
            print(f"  {content.bytes:,} bytes, {counts}; sha256 {pinned}; {seconds:.1f} s")
            print(f"  from {content.origin['kind']}: {' '.join(_whereabouts(content.origin))}")
    if as_json:
        print(json.dumps(told, indent=1))
    if any("error" in one for one in told.values()):
        raise typer.Exit(EXIT_BAD_INPUT)


def _whereabouts(origin: dict[str, Any]) -> Iterator[str]:
    """The facts by which a source is found again."""
    for key in ("client", "package", "version", "repository", "configuration", "revision", "books", "path", "task"):
        if origin.get(key):
            yield str(origin[key])


def _forget(folder: Path, record: str, is_wrong: Callable[[Path], object]) -> None:
    """Let what is wrong in `folder` be made again, by taking away its record: where it is used, sizes alone are looked at.

    Under the lock of the folder: what another process has just made must stay, and what it is making is not looked at.
    """
    from nnn_bench.data.content import locked

    if folder.is_dir():
        with locked(folder):
            if is_wrong(folder):
                (folder / record).unlink(missing_ok=True)


def data_prepare(
    dataset: DatasetName,
    tokenizer: Annotated[str, typer.Option(metavar="NAME", help="a file of config/tokenizers")] = "characters",
    as_json: AsJson = False,
) -> None:
    """Fetch, check, split and tokenize DATASET; what is there and sound is reused."""
    from nnn_bench.data.checking import damaged_shards, is_damaged
    from nnn_bench.data.names import SPLITS
    from nnn_bench.data.prepare import prepare

    project, catalog = open_project()
    described, settings = catalog.dataset(dataset), catalog.tokenization(tokenizer).tokens
    _forget(project.content(dataset), "content.json", is_damaged)
    _forget(project.tokens(dataset, tokenizer), "manifest.json", damaged_shards)
    manifest = prepare(dataset, described, tokenizer, settings, project)
    if as_json:
        print(json.dumps(manifest.model_dump(mode="json", exclude={"token_bytes", "token_characters"}), indent=1))
        return
    print(
        f"{dataset}: {manifest.vocabulary:,} tokens in the vocabulary, {manifest.bytes_per_token:.2f} bytes a token, "
        f"content {manifest.content_sha256[:12]}"
    )
    for name in SPLITS:
        split = manifest.splits[name]
        answers = "" if split.targets is None else f"  {split.targets:>12,} in answers"
        print(f"  {name:<10} {split.tokens:>12,} tokens{answers}  {split.bytes:>12,} bytes  {split.unknown:,} unknown")


def data_check(datasets: DatasetNames, as_json: AsJson = False) -> None:
    """Hash again what the cache holds of each DATASET, and see that its parts share nothing. Exit 1 when something is wrong.

    Looked at: the content against its record and the pin in the YAML file, the files it was made from, how it is split, and
    every token store; of conversations also how much of what is scored repeats what is trained on. Fetches and changes nothing.
    """
    from nnn_bench.data.checking import findings as findings_of

    project, catalog = open_project()
    found = {name: list(findings_of(name, catalog.dataset(name), project)) for name in dict.fromkeys(datasets)}
    if as_json:
        print(json.dumps({name: [one._asdict() for one in findings] for name, findings in found.items()}, indent=1))
    else:
        for name, findings in found.items():
            print(name)
            for one in findings:
                print(f"  {'ok' if one.sound else 'WRONG':<5}  {one.what:<24}  {one.saw}")
    if not all(one.sound for findings in found.values() for one in findings):
        raise typer.Exit(1)
