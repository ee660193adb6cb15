"""Books of Project Gutenberg: what is asked of the site, what is kept, and what remains of a book."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from nnn_bench.config.datasets import GutenbergSource
from nnn_bench.config.errors import UserError
from nnn_bench.config.paths import Project
from nnn_bench.data.delivery.shelf import OFFLINE, RawFile, Unavailable
from nnn_bench.data.readers.gutenberg import read
from nnn_bench.data.sources import gutenberg

BOOK = """\ufeffThe Project Gutenberg eBook of A Tale\r
\r
Title: A Tale\r
\r
*** START OF THE PROJECT GUTENBERG EBOOK A TALE ***\r
\r
\r
Produced by Ann Example and the Online Distributed\r
Proofreading Team at https://www.pgdp.net\r
\r
\r
        A TALE\r
\r
It was caf\u00e9 weather.\r
Produced by chance, it stayed.  \r
\r
End of the Project Gutenberg EBook of A Tale, by Nobody\r
\r
*** END OF THE PROJECT GUTENBERG EBOOK A TALE ***\r
\r
Licence and so on.\r
"""
TALE = "        A TALE\n\nIt was caf\u00e9 weather.\nProduced by chance, it stayed.  \n"

PLAIN = (
    "*** START OF THE PROJECT GUTENBERG EBOOK {0} ***\n\nBook {0}.\n\n*** END OF THE PROJECT GUTENBERG EBOOK {0} ***\n"
)


class Site:
    """A server on the loopback interface. `books`: number -> text, an error code, or (content type, bytes)."""

    def __init__(self) -> None:
        self.books: dict[int, object] = {}
        self.asked: list[str] = []
        self.agents: set[str] = set()
        self.pauses: list[float] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                site.agents.add(self.headers["User-Agent"])
                book = site.books.get(int(self.path.split("/")[3]), 404)
                if isinstance(book, int):
                    self.send_error(book)
                    return
                kind, content = book if isinstance(book, tuple) else ("text/plain; charset=utf-8", str(book).encode())
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content if kind != "cut" else content[: len(content) // 2])

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()


@pytest.fixture
def site(monkeypatch):
    site = Site()
    monkeypatch.setenv(gutenberg.MIRROR, site.address + "/")
    monkeypatch.delenv(OFFLINE, raising=False)
    monkeypatch.setattr(gutenberg.time, "sleep", site.pauses.append)
    yield site
    site.server.shutdown()
    site.server.server_close()
    site.thread.join()


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def deliver(project, *books):
    return gutenberg.deliver(GutenbergSource(kind="gutenberg", books=list(books)), "tales", project)


def raw(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", newline="")
    return RawFile(path, f"shown {name}", hashlib.sha256(path.read_bytes()).hexdigest())


def test_books_are_fetched_once_in_order_and_not_in_haste(project, site):
    site.books = {7: BOOK, 3: PLAIN.format(3), 5: PLAIN.format(5)}
    for _ in range(2):
        delivery = deliver(project, 7, 3, 5)
    assert site.asked == ["/cache/epub/7/pg7.txt", "/cache/epub/3/pg3.txt", "/cache/epub/5/pg5.txt"]
    assert len(site.pauses) == 2 and min(site.pauses) >= 1
    assert all("nnn_bench" in agent for agent in site.agents)
    assert [file.path.read_bytes() for file in delivery.files] == [str(site.books[book]).encode() for book in (7, 3, 5)]
    assert delivery.origin == {"kind": "gutenberg", "books": [7, 3, 5], "site": site.address}
    assert "".join(read(delivery.files)) == f"{TALE}\n\nBook 3.\n\n\nBook 5.\n"


def test_a_book_that_was_fetched_is_kept_when_a_later_one_fails(project, site):
    site.books = {1: PLAIN.format(1), 2: 503}
    with pytest.raises(Unavailable, match=r"pg2\.txt answered 503"):
        deliver(project, 1, 2)
    site.books[2] = PLAIN.format(2)
    assert len(deliver(project, 1, 2).files) == 2
    assert site.asked == ["/cache/epub/1/pg1.txt", "/cache/epub/2/pg2.txt", "/cache/epub/2/pg2.txt"]


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (404, UserError, "config/datasets/tales.yaml: books: Project Gutenberg has no plain text of book 9"),
        (429, Unavailable, "answered 429 "),
        (("text/html", b"<html>wait</html>"), Unavailable, "answered with a web page"),
        (("text/plain", b"\xef\xbb\xbf <!DOCTYPE html>"), Unavailable, "answered with a web page"),
        (("text/plain", b"once upon a time"), Unavailable, "has no line '*** START OF"),
        (("text/plain", PLAIN.format(1).encode()[:70]), Unavailable, "has no line '*** END OF"),
        (("text/plain", PLAIN.format("\xe9").encode("latin-1")), Unavailable, "is not UTF-8"),
        (("cut", PLAIN.format(1).encode()), Unavailable, "bytes; try again"),
        (("text/plain", PLAIN.format("x" * 600).encode()), Unavailable, "sent more than"),
    ],
)
def test_an_answer_that_is_no_book_is_told_in_one_line_and_not_kept(project, site, monkeypatch, answer, kind, says):
    monkeypatch.setattr(gutenberg, "_LARGEST_BOOK", 1000)
    site.books = {9: answer}
    with pytest.raises(UserError) as error:
        deliver(project, 9)
    assert type(error.value) is kind
    assert says in str(error.value) and "\n" not in str(error.value)
    assert not list(project.cache.rglob("*.txt"))


def test_a_site_that_does_not_answer_is_told(project, site, monkeypatch):
    monkeypatch.setenv(gutenberg.MIRROR, "http://127.0.0.1:1")
    with pytest.raises(Unavailable, match=r"cannot be reached: .*refused"):
        deliver(project, 9)
    monkeypatch.setenv(gutenberg.MIRROR, "file:///etc")
    with pytest.raises(UserError, match="is not the address of a mirror"):
        deliver(project, 9)


def test_offline_nothing_is_asked_but_what_was_fetched_is_there(project, site, monkeypatch):
    site.books = {1: PLAIN.format(1)}
    deliver(project, 1)
    monkeypatch.setenv(OFFLINE, "1")
    assert "".join(read(deliver(project, 1).files)) == "Book 1.\n"
    with pytest.raises(Unavailable, match=OFFLINE):
        deliver(project, 2)
    assert len(site.asked) == 1


@pytest.mark.parametrize(
    ("text", "body"),
    [
        (BOOK, TALE),
        (BOOK.replace("\r\n", "\n").removeprefix("\ufeff"), TALE),
        (BOOK.replace("OF THE PROJECT", "OF THIS PROJECT"), TALE),
        (BOOK.replace("*** START OF", "***START OF").replace("EBOOK A TALE ***", "EBOOK A\r\nTALE ***"), TALE),
        (BOOK.replace("Produced by Ann", "Seen by Ann"), "Seen by Ann Example and the Online Distributed\nProofreading Team at "
         "https://www.pgdp.net\n\n\n" + TALE),
        (BOOK.replace("End of the Project Gutenberg EBook of A Tale, by Nobody", "The End."), TALE + "\nThe End.\n"),
    ],
)  # fmt: skip
def test_what_the_project_put_around_a_book_is_taken_off(tmp_path, text, body):
    assert "".join(read([raw(tmp_path, "a.txt", text)])) == body


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("A tale.\n", "shown bad.txt: has no line '*** START OF ...'"),
        (BOOK.split("*** END")[0], "shown bad.txt: has no line '*** END OF ...'"),
        (PLAIN.format(1).replace("Book 1.", " "), "shown bad.txt: holds nothing between"),
        ("\n", "shown bad.txt: is empty"),
    ],
)
def test_a_file_that_is_no_whole_book_is_refused(tmp_path, text, says):
    files = [raw(tmp_path, "good.txt", BOOK), raw(tmp_path, "bad.txt", text)]
    with pytest.raises(UserError) as error:
        list(read(files))
    assert str(error.value).startswith(says)
