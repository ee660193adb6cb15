"""Articles of a MediaWiki export (XML, plain or bz2) as plain text, in the look of the data set wikitext.

     = Title =                  each article; its sections stand under ` = = Section = = `, an empty line between paragraphs

Redirects and pages that are no articles are left out. The file is read as it streams in, a page at a time. A document type, with
which XML can define what expands without end, is refused: an export has none. `wikitext.py` says what happens to the markup.
"""

from __future__ import annotations

import bz2
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NoReturn
from xml.parsers import expat

from nnn_bench.config.errors import UserError
from nnn_bench.data.delivery.shelf import RawFile
from nnn_bench.data.wikitext import heading, plain

FORM = "text"

_AT_ONCE = 1 << 16  # bytes
_MOST = 1 << 24  # characters of a page; MediaWiki itself allows 2 MiB
_TOLD = ("title", "ns", "text")


def read(files: Sequence[RawFile]) -> Iterator[str]:
    """The articles of all files. Raises `UserError` for a file that is no export, is damaged, or holds no article."""
    for raw in files:
        found = False
        for title, source in _articles(raw):
            text = plain(source)
            if text:
                found = True
                yield f"{heading(title, 1)}\n\n{text}\n\n"
        if not found:
            raise UserError("holds no article; an export of MediaWiki with <page> elements is expected", file=raw.shown)


class _Pages:
    """What the parser has met: the page it is in, and those that are whole."""

    def __init__(self, raw: RawFile):
        self.raw = raw
        self.whole: list[tuple[str, str]] = []
        self._page: dict[str, list[str]] = {}
        self._inside: str | None = None
        self._redirect = False
        self._size = 0
        self.parser = expat.ParserCreate("utf-8")  # whatever the file declares: an export is in no other
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        self.parser.StartDoctypeDeclHandler = self._document_type

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "page":
            self._page, self._redirect, self._size = {}, False, 0
        elif name == "redirect":
            self._redirect = True
        elif name in _TOLD:
            self._inside, self._page[name] = name, []

    def _end(self, name: str) -> None:
        self._inside = None
        if name == "page":
            title, space, text = ("".join(self._page.get(key, [])) for key in _TOLD)
            self._page = {}
            if title and space in ("", "0") and not self._redirect and not text[:20].lower().startswith("#redirect"):
                self.whole.append((title, text))

    def _characters(self, data: str) -> None:
        if self._inside is None:
            return
        self._size += len(data)
        if self._size > _MOST:
            _refuse(self.raw, f"holds a page of more than {_MOST:,} characters")
        self._page[self._inside].append(data)

    def _document_type(self, name: str, system: str | None, public: str | None, internal: bool) -> None:
        _refuse(self.raw, "has a document type, which no export of MediaWiki has")


def _articles(raw: RawFile) -> Iterator[tuple[str, str]]:
    """Title and wikitext of each article."""
    pages = _Pages(raw)
    try:
        with _opened(raw) as file:
            read = 0
            while block := file.read(_AT_ONCE):
                pages.parser.Parse(block, False)
                read += len(block)
                if read - pages.parser.CurrentByteIndex > _MOST:  # the parser keeps a tag until it is whole
                    _refuse(raw, f"holds a tag of more than {_MOST:,} bytes")
                yield from pages.whole
                pages.whole.clear()
            pages.parser.Parse(b"", True)
    except expat.ExpatError as error:
        _refuse(raw, f"is no XML (line {error.lineno}, column {error.offset + 1}: {expat.ErrorString(error.code)})")
    except (EOFError, OSError) as error:
        what = getattr(error, "strerror", None) or "it is damaged or cut off; fetch it again"
        raise UserError(f"cannot be read: {what}", file=raw.shown) from None


def _opened(raw: RawFile) -> BinaryIO:
    """The bytes of the XML; packed or not is told by the content."""
    with raw.path.open("rb") as file:
        packed = file.read(3) == b"BZh"
    return bz2.open(raw.path, "rb") if packed else raw.path.open("rb")  # type: ignore[return-value]


def _refuse(raw: RawFile, what: str) -> NoReturn:
    raise UserError(f"{what}; an export of MediaWiki is expected", file=raw.shown)
