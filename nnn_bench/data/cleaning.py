"""From what a source delivers to plain text."""

from __future__ import annotations

import re

from nnn_bench.config.errors import UserError


def as_text(raw: bytes, *, file: str) -> str:
    """`raw` as UTF-8 without byte-order mark and with `\\n` line ends; refuses anything that is not text."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"is not UTF-8 (byte {error.start}); convert it first", file=file) from None
    if "\0" in text:
        raise UserError(f"holds a NUL character (place {text.index(chr(0))}); it is not a text", file=file)
    if not text.strip():
        raise UserError("is empty", file=file)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def clean(text: str, cleaning: str) -> str:
    """Apply the named cleaning."""
    return {"none": lambda same: same, "markdown_play": _markdown_play}[cleaning](text)


def _markdown_play(text: str) -> str:
    """Plays in Markdown as plain lines: `NAME:` on a line of its own before the speech, directions and titles unmarked."""
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)  # two blanks end a Markdown line
    text = re.sub(r"^#+\s*", "", text, flags=re.MULTILINE)
    text = re.sub(r"^\*\*(.+?)\*\*:?$", r"\1:", text, flags=re.MULTILINE)
    text = re.sub(r"[*_\\]", "", text)  # emphasis, directions, escapes: no play uses these characters itself
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
