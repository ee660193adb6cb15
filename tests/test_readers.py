"""Readers of text: streaming gives what reading at once would, and of markup the text is what stays."""

from __future__ import annotations

import bz2
import random
import re

import pytest

from nnn_bench.config.errors import UserError
from nnn_bench.data.delivery.shelf import RawFile
from nnn_bench.data.readers import markdown_play, metamath, text, wikipedia
from nnn_bench.data.wikitext import plain

BOM = b"\xef\xbb\xbf"


@pytest.fixture
def raw(tmp_path):
    def written(content: bytes, name: str = "user.txt") -> RawFile:
        (tmp_path / name).write_bytes(content)
        return RawFile(tmp_path / name, name, "")

    return written


def refused(reader, file: RawFile) -> str:
    with pytest.raises(UserError) as error:
        list(reader.read([file]))
    said = str(error.value)
    assert said.startswith(f"{file.shown}: ") and "\n" not in said
    return said


# text


def at_once(content: bytes) -> str:
    return content.removeprefix(BOM).decode().replace("\r\n", "\n").replace("\r", "\n")


def test_text_in_pieces_of_any_size_is_the_text_read_at_once(raw, monkeypatch):
    dice = random.Random(0)
    for number in range(300):
        words = "".join(dice.choices(["a", "é", "€", "😀", "\r", "\n", "\r\n", " ", "\ufeff"], k=dice.randint(1, 20)))
        content = (BOM if number % 3 == 0 else b"") + words.encode() + b"z"
        monkeypatch.setattr(text, "_AT_ONCE", dice.randint(1, 7))
        pieces = list(text.read([raw(content)]))
        assert "".join(pieces) == at_once(content)
        assert all(pieces) and max(map(len, pieces)) <= text._AT_ONCE + 1


def test_the_first_byte_that_is_not_utf8_is_named_wherever_it_is(raw, monkeypatch):
    dice = random.Random(1)
    for _ in range(300):
        content = bytearray("".join(dice.choices("aé€😀\r\n", k=12)).encode())
        content[dice.randrange(len(content))] = dice.choice([0x80, 0xC3, 0xE2, 0xFF])
        content = BOM * dice.randrange(2) + bytes(content)
        try:
            content.decode()
        except UnicodeDecodeError as error:
            monkeypatch.setattr(text, "_AT_ONCE", dice.randint(1, 7))
            assert f"not UTF-8 (byte {error.start})" in refused(text, raw(content))


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_the_place_of_a_nul_counts_characters(raw, monkeypatch, size):
    monkeypatch.setattr(text, "_AT_ONCE", size)
    assert "NUL character (place 5)" in refused(text, raw(BOM + "aé\r\n€\0b".encode()))


@pytest.mark.parametrize("content", [b"", BOM, b" \r\n\t ", b"\xc3", b"\xff\xfea\0"])
def test_what_holds_no_text_is_refused(raw, content):
    said = refused(text, raw(content))
    assert ("is empty" in said) != ("not UTF-8" in said)


def test_files_are_joined_without_gluing_words_together(raw):
    files = [raw(b"one\n", "1"), raw(BOM + b"two", "2"), raw(b"three\r", "3"), raw(b"four", "4")]
    assert "".join(text.read(files)) == "one\ntwo\nthree\nfour"
    assert "".join(text.read(files[1:2])) == "two"


def test_a_line_without_end_comes_in_bounded_pieces(raw):
    content = "€a".encode() * 2_000_000  # 8 MB, characters across the pieces
    size = 0
    for piece in text.read([raw(content)]):
        assert 0 < len(piece) <= (1 << 20) + 1
        assert set(piece) == {"€", "a"}
        size += len(piece)
    assert size == 4_000_000


# plays in Markdown


def test_a_play_in_markdown_becomes_names_and_lines():
    play = "# The Play\n\n\n\n## ACT I\n\n**FIRST LORD**  \nGood morrow;\\--so  \nsay I.\n\n**PAGE**  \nAy.\n"
    cleaned = markdown_play.clean(play)
    assert cleaned == "The Play\n\nACT I\n\nFIRST LORD:\nGood morrow;--so\nsay I.\n\nPAGE:\nAy.\n"
    assert markdown_play.clean(cleaned) == cleaned


def test_no_mark_of_markdown_is_left_and_no_word_is_lost(raw):
    play = "_Enter HAMLET, and\r\nothers_\r\n\r\n**HAMLET**  \r\n_\\[Aside]_  \r\nA little more than kin.\r\n"
    cleaned = "".join(markdown_play.read([raw(play.encode())]))
    assert not set("*_#\\") & set(cleaned)
    for word in ("Enter HAMLET, and\nothers", "HAMLET:\n", "Aside", "A little more than kin.\n"):
        assert word in cleaned


# MediaWiki


def page(title: str, source: str, *, inside: str = "<ns>0</ns>") -> str:
    source = source.replace("&", "&amp;").replace("<", "&lt;")
    return f"<page><title>{title}</title>{inside}<revision><text>{source}</text></revision></page>"


def export(*pages: str) -> bytes:
    return f"<mediawiki><siteinfo><base>x</base></siteinfo>{''.join(pages)}</mediawiki>".encode()


PAGES = export(
    page(
        "Ox &amp; Cart", "An '''ox''' pulls.\n== Use ==\nA [[cart]].<ref>Smith 1900</ref>\n\n== References ==\n* Smith"
    ),
    page("Oxen", "#REDIRECT [[Ox]]"),
    page("Kine", "see", inside='<ns>0</ns><redirect title="Ox" />'),
    page("Talk:Ox", "I think so.", inside="<ns>1</ns>"),
    page("Empty", "{{stub}}"),
    page("Été", "Summer."),
)


@pytest.mark.parametrize("pack", [bytes, bz2.compress])
@pytest.mark.parametrize("at_once", [7, 1 << 16])
def test_articles_of_an_export_become_text(raw, monkeypatch, pack, at_once):
    monkeypatch.setattr(wikipedia, "_AT_ONCE", at_once)
    assert list(wikipedia.read([raw(pack(PAGES))])) == [
        " = Ox & Cart = \n\nAn ox pulls.\n\n = = Use = = \n\nA cart.\n\n",
        " = Été = \n\nSummer.\n\n",
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'<!DOCTYPE m [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>' + PAGES, "document type"),
        (PAGES[:-3], "line 6, column"),
        (b"<mediawiki>\n<page></title>", "line 2, column 9: mismatched tag"),
        (bz2.compress(PAGES)[:-9], "cut off"),
        (b"BZh9" + bytes(40), "damaged"),
        (export(page("Oxen", "#redirect [[Ox]]")), "no article"),
        (b"", "no element found"),
    ],
)
def test_what_is_no_whole_export_is_refused(raw, content, says):
    assert says in refused(wikipedia, raw(content))


def test_pages_and_tags_without_end_are_refused(raw, monkeypatch):
    monkeypatch.setattr(wikipedia, "_MOST", 100_000)
    assert "page of more than 100,000" in refused(wikipedia, raw(export(page("Long", "a" * 100_001))))
    assert "tag of more than 100,000" in refused(wikipedia, raw(b'<a b="' + b"c" * 300_000))


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("a {{t|{{u|[[x]]}} y}} b", "a b"),
        ("a{{t\n|}} b", "a b"),  # the end of an argument, not of a table
        ("{| class=x\n|-\n| cell {{t}}\n{|\n| inner\n|}\n|}\nafter", "after"),
        ("[[Paris|the city]] and [[Rome]] and [[:Category:Ox]]", "the city and Rome and Category:Ox"),
        ("[[File:a.png|thumb|of [[Rome]] by night]]b [[Category:Ox|x]] [[de:Ochse]]", "b"),
        ("see [http://x.y/z?a=b this page] and [https://x.y]", "see this page and"),
        ("a<!-- {{ [[ -->b", "ab"),
        ("a<ref name=x/> b<ref>c {{t}}</ref>.<references/>", "a b."),
        ("f<math>\\frac{{a}}{b}}} [[</math>g", "fg"),
        ("weighs {{convert|5|kg|lb|abbr=on}}, {{lang|fr|mot}}, {{lang-de|Wort}}", "weighs 5 kg, mot, Wort"),
        ("(; {{IPA}} ) Ox ( {{t}}, cow)", "Ox (cow)"),
        ("* one\n*# two\n: three\n----\n,", "one\n\ntwo\n\nthree"),
        ("a<br/>b &lt;i&gt; &amp;nbsp;&nbsp;c <small>d</small>", "a\n\nb <i> &nbsp; c d"),
        ("== A ==\n=== B ===\nb\n== C ==\n== See also ==\nd\n=== E ===\ne\n== F ==\nf", None),
        ("open [[ox and {{cart\nmore ]] text }} end", "open ox and cart\n\nmore text  end"),
        ("never {{closed and [[text", "never closed and text"),
        ("closed }} twice ]]\n|}", "closed twice"),
        ("'''bold''' ''it'' O'Neill", "bold it O'Neill"),
    ],
)
def test_what_is_seen_of_wikitext(source, text):
    if text is None:
        text = " = = A = = \n\n = = = B = = = \n\nb\n\n = = F = = \n\nf"
    assert re.sub(r" +", " ", plain(source)) == re.sub(r" +", " ", text)


@pytest.mark.parametrize(
    "unit",
    ["[[", "{{", "[[{{", "{{]]", "<ref>", "[http:a", "<math>", "(", "==", "= ", "<a", "&", "'", "{|\n", "[[a|", "<br>"],
)
def test_markup_that_never_ends_takes_no_longer(unit):
    plain(unit * (100_000 // len(unit)) + "]]" * 1000 + "}}" * 1000)


# Metamath

DATABASE = b"""
$( A comment of the file. $)
$c ( ) -> wff |- $.  $v ph ps $.
wph $f wff ph $.  wps $f wff ps $.
$( Implication is well-formed. $)
wi $a wff ( ph -> ps ) $.
${
  min $e |- ph $.
  $( The minor premise is before, this is of the major. $)
  maj $e |- ( ph -> ps ) $.
  $( Rule of _detachment_ (see ~ wi ).  From ` ph ` , and
     ` ( ph -> ps ) ` , infer ` ps ` .  (Contributed by N. M. (the author),
     5-Aug-1993.)  (New usage is discouraged.) $)
  ax-mp $a |- $( a note $) ps $.
$}
$( Any doubled `` or ~~ stays, <I>tags</I> do not. $)
df-x $a |- ( ph -> ph ) $.
$( (Contributed by NM, 1-Jan-1990.) $)
silent $p |- ( ph -> ph ) $= ( wi ) ABC $.
unsaid $p |- ps $= ? $.
$( Obsolete version of ~ last as of 1-Jan-2020. $)
lastOLD $p |- ( ps -> ps ) $= ( wi ) ABC $.
$( The end. $)
last $p |- ( ps -> ps ) $= ( wi $( in $) ) ABC $.
"""


@pytest.mark.parametrize("at_once", [1, 5, 1 << 20])
def test_assertions_are_told_in_english_and_in_symbols(raw, monkeypatch, at_once):
    monkeypatch.setattr(text, "_AT_ONCE", at_once)
    assert list(metamath.read([raw(DATABASE)])) == [
        "Axiom ax-mp. Rule of detachment (see wi). From ph, and ( ph -> ps ), infer ps.\n"
        "    |- ph  &  |- ( ph -> ps )  =>  |- ps\n\n",
        "Definition df-x. Any doubled ` or ~ stays, tags do not.\n    |- ( ph -> ph )\n\n",
        "Theorem last. The end.\n    |- ( ps -> ps )\n\n",
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"Call me Ishmael.", "no assertion"),
        (b"$( comment", "ends before the $)"),
        (b"${ x $a |- y $.", "ends inside a block"),
        (b"$}", "not opened"),
        (b"x $p |- y $= z", "ends inside a proof"),
        (b"$[ /etc/passwd $]", "'$['"),
        (b"x $a |- y", "ends before the $."),
    ],
)
def test_what_is_no_whole_database_is_refused(raw, content, says):
    assert says in refused(metamath, raw(content))


def test_statements_and_words_without_end_are_refused(raw, monkeypatch):
    monkeypatch.setattr(metamath, "_MOST", 1000)
    assert "comment of more than 1,000" in refused(metamath, raw(b"$( " + b"ab " * 1000))
    monkeypatch.setattr(text, "_AT_ONCE", 100)
    assert "word of more than 1,000" in refused(metamath, raw(b"a" * 2000))
