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


# Emphasis opens before a word and closes after one, and never holds an empty line or more emphasis.
_DIRECTION = re.compile(r"(?<![\w\]])[*_]+\[?(?=\S)((?:(?!\n\n)[^*_])*[^\s*_\]])\]?[*_]+(?!\w)")


def _markdown_play(text: str) -> str:
    """Plays in Markdown as plain lines: `NAME:` above a speech, `[stage directions]`, titles on lines of their own."""
    text = re.sub(r"\\([^\w\s])", r"\1", text)  # unescape first: a direction may come as `_\[Aside]_`
    text = re.sub(r"^#+[ \t]*(.*)$", r"\n\1\n", text, flags=re.MULTILINE)
    text = re.sub(r"^\*\*(.+)\*\*[ \t]*$", r"\1:", text, flags=re.MULTILINE)
    text = _DIRECTION.sub(r"[\1]", text)
    text = re.sub(r"[*_]", "", text)  # no play uses these characters itself
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)  # two blanks end a Markdown line
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
