"""Plays in Markdown as plain lines: `NAME:` above a speech, `[stage directions]`, titles on lines of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from nnn_bench.data.delivery.shelf import RawFile
from nnn_bench.data.readers.text import whole_text

FORM = "text"

# Emphasis opens before a word and closes after one, and never holds an empty line or more emphasis.
_DIRECTION = re.compile(r"(?<![\w\]])[*_]+\[?(?=\S)((?:(?!\n\n)[^*_])*[^\s*_\]])\]?[*_]+(?!\w)")


def read(files: Sequence[RawFile]) -> Iterator[str]:
    yield clean(whole_text(files))


def clean(text: str) -> str:
    """`text` without its markup."""
    text = re.sub(r"\\([^\w\s])", r"\1", text)  # unescape first: a direction may come as `_\[Aside]_`
    text = re.sub(r"^#+[ \t]*(.*)$", r"\n\1\n", text, flags=re.MULTILINE)
    text = re.sub(r"^\*\*(.+)\*\*[ \t]*$", r"\1:", text, flags=re.MULTILINE)
    text = _DIRECTION.sub(r"[\1]", text)
    text = re.sub(r"[*_]", "", text)  # no play uses these characters itself
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)  # two blanks end a Markdown line
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
