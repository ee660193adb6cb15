"""A Metamath database as prose and formulas: what each assertion says in English, then what it says in symbols.

    Theorem preqr2. Reverse equality lemma for unordered pairs. If two unordered pairs have the same first element, ...
        |- ( { C , A } = { C , B } -> A = B )

Taken are the assertions about truth (`|-`) whose label follows a comment; hypotheses in force stand before the statement, joined
by `&`, and `=>` leads from them to it. Left out: proofs, grammar, notes on who wrote or changed what, and assertions whose
comment says nothing beyond that, or says that they are an obsolete form of another. The language: Megill and Wheeler, "Metamath:
A Computer Language for Mathematical Proofs" (2019), sections 4.2 and 4.4.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NoReturn

from nnn_bench.config.errors import UserError
from nnn_bench.data.delivery.shelf import RawFile
from nnn_bench.data.readers.text import read_file

FORM = "text"

_MOST = 1 << 22  # characters of one word, statement or comment: far above any real one
_ASIDE = re.compile(
    r"\((?:Contributed|Revised|Pro(?:of|ve)s? shortened|Proof modification|New usage|Proposed|Moved|Corrected|Shortened)\b[^()]*"
    r"(?:\([^()]*\)[^()]*)*\)"
)
_FORMULA = re.compile(r"(?<!`)`(?!`)")  # opens and closes one; a doubled mark stands for itself
_HTML = re.compile(r"</?[A-Za-z][^<>]*>|&nbsp;")
_EMPHASIS = re.compile(r"(?<!\w)_([^\s_](?:[^_]*[^\s_])?)_(?!\w)")
_OBSOLETE = re.compile(r"\bObsolete (?:version|theorem|proof|form|as)\b")


def read(files: Sequence[RawFile]) -> Iterator[str]:
    """The entries of all files, an empty line after each."""
    for raw in files:
        yield from _entries(raw)


def _entries(raw: RawFile) -> Iterator[str]:
    """The entries of one file. Raises `UserError` for one that is no Metamath database."""
    words = _words(raw)
    scopes: list[list[str]] = [[]]  # the hypotheses of each open block
    comment, label, found = "", "", False
    for word in words:
        match word:
            case "$(":
                comment = " ".join(_until("$)", words, raw))
            case "${":
                scopes.append([])
            case "$}":
                if len(scopes) == 1:
                    _refuse(raw, "closes a block ($}) that was not opened")
                scopes.pop()
            case "$c" | "$v" | "$d" | "$f":
                _until("$.", words, raw)
            case "$e":
                statement = _until("$.", words, raw)
                if statement[:1] == ["|-"]:
                    scopes[-1].append(" ".join(statement))
            case "$a" | "$p":
                statement = _until("$." if word == "$a" else "$=", words, raw)
                if word == "$p":
                    _skip_proof(words, raw)
                described = description(comment)
                if statement[:1] == ["|-"] and described:
                    found = True
                    hypotheses = [one for scope in scopes for one in scope]
                    yield entry(word, label, described, hypotheses, " ".join(statement))
            case _:
                if word.startswith("$"):
                    _refuse(raw, f"holds {word[:20]!r} where a statement should begin")
                label = word
                continue  # a comment belongs to the label right after it
        if word != "$(":
            comment = ""
    if len(scopes) > 1:
        _refuse(raw, "ends inside a block (${ without $})")
    if not found:
        _refuse(raw, "holds no assertion with a description")


def entry(kind: str, label: str, described: str, hypotheses: list[str], statement: str) -> str:
    """An assertion as text. `kind` is `$a` or `$p`."""
    named = "Theorem" if kind == "$p" else "Definition" if label.startswith("df-") else "Axiom"
    formal = f"{'  &  '.join(hypotheses)}  =>  {statement}" if hypotheses else statement
    return f"{named} {label}. {described}\n    {formal}\n\n"


def description(comment: str) -> str:
    """What a comment says, without markup and without notes on its authors; empty where that is all it says."""
    text = ""
    for number, part in enumerate(_FORMULA.split(_ASIDE.sub(" ", comment))):
        part = " ".join((_prose(part) if number % 2 == 0 else part.replace("``", "`")).split())
        touching = not text or text[-1] == "(" or (number % 2 == 0 and part[:1] in set(".,;:?!)"))
        text += part if touching or not part else f" {part}"
    if _OBSOLETE.search(text):
        return ""  # says again what another entry says
    return text if any(character.isalpha() for character in text) else ""


def _prose(part: str) -> str:
    part = " ".join(_EMPHASIS.sub(r"\1", _HTML.sub(" ", part)).split())
    part = re.sub(r"`{2}|~{1,2}|\[\[", lambda mark: mark.group()[1:], part)  # `~` alone announces a label
    return re.sub(r" ([.,;:?!)])", r"\1", " ".join(part.split()).replace("( ", "("))


def _words(raw: RawFile) -> Iterator[str]:
    """What stands between blanks, one by one, whatever the size of the file."""
    rest = ""
    for piece in read_file(raw):
        text = rest + piece
        found = text.split()
        # the last word of a piece may go on in the next
        rest = found.pop() if found and not text[-1].isspace() else ""
        if len(rest) > _MOST:
            _refuse(raw, f"holds a word of more than {_MOST:,} characters")
        yield from found
    if rest:
        yield rest


def _until(end: str, words: Iterator[str], raw: RawFile) -> list[str]:
    """The words before `end`; comments inside a statement are no part of it."""
    found: list[str] = []
    size = 0
    while (word := next(words, None)) != end:
        if word is None:
            _refuse(raw, f"ends before the {end} of a statement or comment")
        if word == "$(" and end != "$)":
            _until("$)", words, raw)
            continue
        found.append(word)
        size += len(word)
        if size > _MOST:
            _refuse(raw, f"holds a statement or comment of more than {_MOST:,} characters")
    return found


def _skip_proof(words: Iterator[str], raw: RawFile) -> None:
    for word in words:
        if word == "$.":
            return
    _refuse(raw, "ends inside a proof")


def _refuse(raw: RawFile, what: str) -> NoReturn:
    raise UserError(f"{what}; it is no Metamath database, or a damaged one", file=raw.shown)
