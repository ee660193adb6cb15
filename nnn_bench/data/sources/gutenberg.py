"""Books of Project Gutenberg by number, one at a time and not too fast.

`NNN_BENCH_GUTENBERG` names a mirror that has the same paths; without it the project's own site is asked.
"""

from __future__ import annotations

import codecs
import http.client
import os
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from nnn_bench.config.datasets import GutenbergSource
from nnn_bench.config.errors import UserError
from nnn_bench.config.files import write_atomically
from nnn_bench.config.paths import Project
from nnn_bench.data.delivery.shelf import Delivery, Shelf, Unavailable
from nnn_bench.data.readers.gutenberg import body

MIRROR = "NNN_BENCH_GUTENBERG"

_SITE = "https://www.gutenberg.org"
_AGENT = {"User-Agent": "nnn_bench (benchmark of small networks; fetches a few books once)"}
_TIMEOUT = 30.0  # seconds without a byte
_PAUSE = 2.0  # seconds between books
_LARGEST_BOOK = 64 << 20  # bytes; the longest there is has 15 MB


def deliver(source: GutenbergSource, name: str, project: Project) -> Delivery:
    """One file for each book, as it was published. Books that were fetched before another failed are not fetched again.

    Raises `UserError` for a number without a book, `Unavailable` where the site does not answer, or not with a book.
    """

    def fill(folder: Path) -> tuple[list[str], dict[str, Any]]:
        site = _site()
        asked = False
        names = []
        for book in source.books:
            names.append(f"pg{book}.txt")
            path = folder / names[-1]
            if path.is_file():
                continue
            if asked:
                time.sleep(_PAUSE)
            asked = True
            write_atomically(path, _book(site, book, name))
        return names, {"kind": "gutenberg", "books": list(source.books), "site": site}

    return Shelf.of(source, name, project).filled(fill)


def _site() -> str:
    site = os.environ.get(MIRROR, "").rstrip("/") or _SITE
    if not site.startswith(("https://", "http://")):
        raise UserError(f"{site!r} is not the address of a mirror; it begins with https://", key=MIRROR)
    return site


def _book(site: str, number: int, name: str) -> bytes:
    """The bytes of one book, known to hold its first and last line."""
    address = f"{site}/cache/epub/{number}/pg{number}.txt"
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=_AGENT), timeout=_TIMEOUT) as answer:
            kind = answer.headers.get_content_type()
            content: bytes = answer.read(_LARGEST_BOOK + 1)
            expected = answer.headers.get("Content-Length", "")
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 404:
            raise UserError(
                f"Project Gutenberg has no plain text of book {number} at {address}",
                file=f"config/datasets/{name}.yaml",
                key="books",
            ) from None
        raise Unavailable(f"{address} answered {error.code} {error.reason}; try again later") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise Unavailable(f"{address} cannot be reached: {reason}; try again with a network") from None
    if len(content) > _LARGEST_BOOK:
        raise Unavailable(f"{address} sent more than {_LARGEST_BOOK >> 20} MiB, which is no book")
    if expected.isdigit() and len(content) < int(expected):
        raise Unavailable(f"{address} sent {len(content):,} of {int(expected):,} bytes; try again")
    if kind == "text/html" or content.lstrip(codecs.BOM_UTF8 + b" \t\r\n")[:1] == b"<":
        raise Unavailable(f"{address} answered with a web page, not a book; look at it in a browser, or set {MIRROR}")
    try:
        body(content.decode("utf-8-sig").replace("\r\n", "\n"))
    except UnicodeDecodeError:
        raise Unavailable(f"{address} is not UTF-8; it is not the plain text of a book") from None
    except UserError as error:
        raise Unavailable(f"{address} {error.message}") from None
    return content
