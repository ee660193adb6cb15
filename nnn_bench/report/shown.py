"""A table for people, and as Markdown."""

from __future__ import annotations

from dataclasses import dataclass

from nnn_bench.report.numbers import NONE

Cell = str | int | float | None


@dataclass(frozen=True)
class Shown:
    """A table for people: headers with units, and rows of ready texts; the first column names the row.

    `texts` are the columns of words, aligned left; all others hold numbers.
    """

    headers: list[str]
    rows: list[list[str]]
    texts: tuple[int, ...] = (0,)

    def without_empty(self) -> Shown:
        """The same without the columns in which no row has anything."""
        kept = [i for i in range(len(self.headers)) if any(row[i] not in ("", NONE) for row in self.rows)]
        texts = tuple(new for new, old in enumerate(kept) if old in self.texts)
        return Shown([self.headers[i] for i in kept], [[row[i] for i in kept] for row in self.rows], texts)


def markdown(table: Shown) -> str:
    """A Markdown table; cells are escaped, columns of numbers aligned right."""
    head, *body = (" | ".join(markdown_text(cell) for cell in row) for row in [table.headers, *table.rows])
    rule = " | ".join("---" if index in table.texts else "---:" for index in range(len(table.headers)))
    return "\n".join(f"| {line} |" for line in [head, rule, *body])


def markdown_text(text: str) -> str:
    """`text` so that Markdown shows it as it is."""
    for letter, shown in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|"), ("*", "\\*"), ("`", "\\`")):
        text = text.replace(letter, shown)
    for letter in "_[]":
        text = text.replace(letter, f"\\{letter}")
    return " ".join(text.split())
