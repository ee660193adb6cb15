"""Books of Project Gutenberg, less what the project put around them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from nnn_bench.config.errors import UserError
from nnn_bench.data.delivery.shelf import RawFile
from nnn_bench.data.readers.text import whole_text

FORM = "text"

# a long title may break the opening line, so it ends at its closing stars
_START = re.compile(
    r"^\*\*\* ?START OF (?:THE|THIS) PROJECT GUTENBERG[^*]*\*\*\*[^\n]*\n", re.MULTILINE | re.IGNORECASE
)
_END = re.compile(r"^\*\*\* ?END OF (?:THE|THIS) PROJECT GUTENBERG", re.MULTILINE | re.IGNORECASE)
# who made the file, in the paragraph below the opening line
_CREDIT = re.compile(r"\s*(?:produced|e-?text prepared) by\b(?:[^\n]*\S[^\n]*(?:\n|\Z))*", re.IGNORECASE)
# older files say so once more in words, above the closing line
_LAST_WORDS = re.compile(
    r"^end of (?:the )?project gutenberg(?:[^\n]*\S[^\n]*(?:\n|\Z))*\s*\Z", re.MULTILINE | re.IGNORECASE
)


def read(files: Sequence[RawFile]) -> Iterator[str]:
    """The books in the order of `files`, two empty lines between them; each ends with one line end.

    Raises `UserError` for a file that is no book of the project.
    """
    for number, raw in enumerate(files):
        try:
            book = body(whole_text([raw]))
        except UserError as error:
            raise error.located(raw.shown) from None
        yield ("\n\n" if number else "") + book


def body(text: str) -> str:
    """What stands between the lines `*** START OF` and `*** END OF`, less the credits. Raises `UserError` without them."""
    start = _START.search(text)
    end = _END.search(text, start.end()) if start else None
    if start is None or end is None:
        absent = "START" if start is None else "END"
        raise UserError(
            f"has no line '*** {absent} OF ...'; it is not a whole book of Project Gutenberg, fetch it again"
        )
    inner = text[start.end() : end.start()]
    if credit := _CREDIT.match(inner):
        inner = inner[credit.end() :]
    inner = _LAST_WORDS.sub("", inner)
    lines = inner.split("\n")
    kept = [number for number, line in enumerate(lines) if line.strip()]
    if not kept:
        raise UserError("holds nothing between its first and its last line; it is not a book")
    return "\n".join(lines[kept[0] : kept[-1] + 1]) + "\n"  # the blanks before the first word may centre a title
