"""The markup of MediaWiki, taken off: what a reader of the page would see as running text.

A page is scanned once. Whatever opens and closes (templates, tables, references, links) is kept on a stack, so nesting costs no
more than the length of the text, and markup that is never closed loses its marks and not the text after it.

- Templates, tables, references, formulas, source code, comments, files and categories go. Of a few templates that only dress up
  text (a foreign word, a quotation, a measure) the text stays.
- A link becomes its label, or else its target. Emphasis and HTML lose their marks, a list its bullets.
- A heading of level n becomes ` = = Title = = ` with n equals signs a side; one with nothing below it goes, and so do the
  sections that list sources and other pages.
"""

from __future__ import annotations

import html
import re

_OPAQUE = "math|ce|chem|nowiki|pre|source|syntaxhighlight|gallery|timeline|score|imagemap|hiero|mapframe|templatestyles"
#: What the scan stops at. Comments and opaque elements come whole; where they are not closed, they last to the end.
_MARK = re.compile(
    rf"""<!--.*?(?:-->|\Z)
    | <(?P<opaque>{_OPAQUE})\b[^<>]*(?:/>|(?<!/)>.*?(?:</(?P=opaque)\s*>|\Z))
    | <(?:ref|references)\b[^<>]*/> | <ref\b[^<>]*> | </ref\s*>
    | <table\b[^<>]*> | </table\s*>
    | \{{\{{ | \}}\}} | \[\[ | \]\]
    | ^[ \t:*]*\{{\| | ^[ \t]*\|\}}(?!\}})""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE | re.MULTILINE,
)
_DEEPEST = 60  # open marks; below that they are taken for text without meaning

#: Links that show no text, or show a picture: their spaces, and other languages.
_UNSEEN = re.compile(
    r"\s*(?:(?:file|image|category|media|template|portal)\s*:|[a-z]{2,3}(?:-[a-z-]+)?:)", re.IGNORECASE
)
#: Templates of which an argument is the text (its number); all others are dropped.
_DRESSING = {
    "lang": 2,
    "transl": 2,
    "nowrap": 1,
    "nobr": 1,
    "quote": 1,
    "blockquote": 1,
    "cquote": 1,
    "nihongo": 1,
    "ipa": 1,
}
_MEASURES = ("convert", "cvt")

_OUTSIDE_LINK = re.compile(r"\[(?:https?:|ftp:|mailto:|//)[^\s\[\]]*+[ \t]*+([^\[\]\n]*+)\]", re.IGNORECASE)
_HEADING = re.compile(r"(={1,6})([^\n]{1,300}?)\1")
#: Sections that list sources and other pages.
_LISTS = {
    *("references", "notes", "footnotes", "citations", "sources", "notes and references", "references and notes"),
    *("external links", "further reading", "see also", "bibliography"),
}


def plain(source: str) -> str:
    """Running text of a page: paragraphs and headings, an empty line between them, no blank at either end."""
    text = _scanned(source)
    text = _OUTSIDE_LINK.sub(r"\1", text)
    text = re.sub(r"'{2,5}", "", text)
    text = re.sub(r"<(?:br|hr|p|/p|/?blockquote|/?div)\b[^<>]*>", "\n", text, flags=re.IGNORECASE)
    text = re.sub(r"</?[A-Za-z][^<>]*>", "", text)
    text = re.sub(r"__[A-Z]{3,}__", "", text)
    text = html.unescape(text).replace("\N{NO-BREAK SPACE}", " ")
    return _laid_out(text)


def heading(title: str, level: int) -> str:
    """A title as its own line: ` = = Title = = ` at level 2."""
    marks = " ".join("=" * level)
    return f" {marks} {title} {marks} "


def _scanned(source: str) -> str:
    """`source` without templates, tables, references and links."""
    stack: list[tuple[str, list[str]]] = [("", [])]
    place = 0
    for mark in _MARK.finditer(source):
        stack[-1][1].append(source[place : mark.start()])
        place = mark.end()
        word = mark.group().strip(" \t:*").lower()
        if word.startswith(("{{", "[[", "{|", "<ref", "<table")) and not word.endswith("/>"):
            if len(stack) <= _DEEPEST:
                stack.append((_closer(word), []))
        elif any(closer == _named(word) for closer, _ in stack):
            while stack[-1][0] != _named(word):  # what was left open inside ends here, and keeps its text
                _, pieces = stack.pop()
                stack[-1][1].extend(pieces)
            closer, pieces = stack.pop()
            stack[-1][1].append(_shown(closer, "".join(pieces)))
    stack[-1][1].append(source[place:])
    return "".join("".join(pieces) for _, pieces in stack)


def _named(word: str) -> str:
    return "</ref>" if word.startswith("</ref") else "</table>" if word.startswith("</table") else word


def _closer(word: str) -> str:
    return {"{{": "}}", "[[": "]]", "{|": "|}"}.get(word, "</ref>" if word.startswith("<ref") else "</table>")


def _shown(closer: str, inside: str) -> str:
    """What is seen of something whole."""
    if closer == "]]":
        if _UNSEEN.match(inside):
            return ""
        target, _, label = inside.partition("|")
        return label.rpartition("|")[2].strip() or target.lstrip(":")
    if closer == "}}":
        name, *given = inside.split("|")
        name = name.strip().lower()
        values = [one.strip() for one in given if "=" not in one]
        if name in _MEASURES and len(values) >= 2:
            return f"{values[0]} {values[1]}"
        wanted = 1 if name.startswith("lang-") else _DRESSING.get(name, 0)
        return values[wanted - 1] if 0 < wanted <= len(values) else ""
    return ""


def _laid_out(text: str) -> str:
    """Lines as paragraphs and headings; what the markup left behind goes."""
    paragraphs: list[str] = []
    waiting: list[tuple[int, str]] = []  # headings with nothing below them yet
    dropped = 0  # level of the section that is left out
    for line in text.split("\n"):
        line = line.strip()
        if found := _HEADING.fullmatch(line):
            level, title = len(found[1]), found[2].strip("= \t")
            if dropped and level > dropped:
                continue
            dropped = level if title.lower() in _LISTS else 0
            waiting = [one for one in waiting if one[0] < level]
            if title and not dropped:
                waiting.append((level, heading(title, level)))
        elif not dropped and (line := _tidy(line)):
            paragraphs += [one for _, one in waiting]
            waiting = []
            paragraphs.append(line)
    return "\n\n".join(paragraphs)


def _tidy(line: str) -> str:
    """A line without bullets, without what held something that is gone, with single blanks."""
    if line.startswith(("|", "!", "{|", "}}")):  # a row of a table that was never opened
        return ""
    line = " ".join(re.sub(r"^[*#:;]+", "", line).split())
    line = re.sub(r"\([ ,;:]*\)|\[ ?\]", "", line)  # held a reference or a pronunciation
    line = re.sub(r"\( ?[,;] ?|\( ", "(", line)
    line = " ".join(re.sub(r" +([,.;:)])(?=[\s)]|$)", r"\1", line).split())
    return line if any(character.isalnum() for character in line) else ""
