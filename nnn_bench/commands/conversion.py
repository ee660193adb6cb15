"""The verb that turns conversations from one file format into another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def data_convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="conversations: a .json, .jsonl or .parquet file")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="the file to write, of one of these endings")],
    force: Annotated[bool, typer.Option("--force", help="replace OUT if it is there")] = False,
) -> None:
    """Convert conversations between JSON, JSON lines and parquet (nnn-bench data convert in.parquet out.json)."""
    from nnn_bench.data.conversations.convert import convert

    done = convert(source, target, force=force)
    size = target.stat().st_size
    print(f"{target}: {done.conversations:,} conversations, {done.messages:,} messages, {size:,} bytes")
