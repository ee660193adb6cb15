"""The verb that makes a tokenizer of a folder of texts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

import typer

from nnn_bench.commands.shared import AsJson
from nnn_bench.config.errors import UserError
from nnn_bench.config.paths import Project

if TYPE_CHECKING:
    from nnn_bench.data.delivery.shelf import RawFile

_MEASURED = 1 << 23  # characters on which bytes per token are measured


def data_tokenizer(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="where the texts are")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="the tokenizer.json to write")],
    vocabulary: Annotated[int, typer.Option(min=257, max=1 << 20, help="tokens, the 256 bytes among them")],
    files: Annotated[str, typer.Option(metavar="GLOB", help="which files below FOLDER")] = "*.txt",
    as_json: AsJson = False,
) -> None:
    """Train byte-level byte pairs on the text files of FOLDER, all of them, and write OUT, which other programs read too.

    A file of config/tokenizers with `tokens: {kind: tokenizer_file, path: OUT}` uses it.
    """
    from nnn_bench.config.datasets import FolderSource
    from nnn_bench.config.files import write_atomically
    from nnn_bench.data.encoding.byte_level import byte_level, encode_texts, train_byte_pairs
    from nnn_bench.data.sources.folder import deliver

    if not files or PurePosixPath(files).is_absolute() or ".." in PurePosixPath(files).parts:
        raise UserError(f"{files!r} leaves the folder; give a pattern such as '*.txt' or '**/*.txt'", key="--files")
    if output.is_dir():
        raise UserError("is a folder; name the file to write", file=output)
    source = FolderSource(kind="folder", path=str(folder), files=files)
    texts = deliver(source, "tokenizer", Project(Path.cwd())).files
    tokens, merges = train_byte_pairs(_read(texts), vocabulary)
    library = byte_level(tokens, merges)
    size = count = 0
    for text in _read(texts, _MEASURED):
        size += len(text.encode())
        count += len(encode_texts(library, [text])[0])
    write_atomically(output, (library.to_str(pretty=True) + "\n").encode())
    if as_json:
        told = {"file": str(output), "vocabulary": len(tokens), "asked": vocabulary, "bytes_per_token": size / count}
        print(json.dumps(told, indent=1))
        return
    fewer = "" if len(tokens) == vocabulary else f" of the {vocabulary:,} asked for: the text has no more pairs to join"
    print(f"{output}: {len(tokens):,} tokens{fewer}; {size / count:.2f} bytes a token on the first {size:,} bytes")


def _read(texts: Sequence[RawFile], most: int | None = None) -> Iterator[str]:
    """The text of the files, about the first `most` characters of it."""
    from nnn_bench.data.readers.text import read

    seen = 0
    for text in read(texts):
        yield text
        seen += len(text)
        if most is not None and seen >= most:
            return
