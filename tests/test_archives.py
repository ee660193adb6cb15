"""Archives of packages: exactly what was asked for is written, and nothing hostile or damaged gets through."""

from __future__ import annotations

import gzip
import io
import random
import shutil
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from nnn_bench.config.errors import UserError
from nnn_bench.data.delivery import archives
from nnn_bench.data.delivery.shelf import Unavailable

KINDS = ["whl", "tgz", "deb"]
TEXT = b"".join(b"line %d\n" % number for number in range(300_000))  # over three pieces
MEMBERS = {"a/one.md": b"first\n", "a/two.md": TEXT, "a/three.png": b"\x89", "a/empty.md": b""}


def tar_of(entries: list[tuple[tarfile.TarInfo, bytes]], *, prefix: str = "") -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for entry, content in entries:
            entry.name, entry.size = prefix + entry.name, len(content)
            archive.addfile(entry, io.BytesIO(content))
    return written.getvalue()


def ar_of(members: dict[str, bytes]) -> bytes:
    """The container of a Debian package: 60-byte headers, members padded to even length."""
    parts = [b"!<arch>\n"]
    for name, content in members.items():
        parts.append(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode())
        parts.append(content + b"\n" * (len(content) % 2))
    return b"".join(parts)


def debian_of(tar: bytes) -> bytes:
    control = gzip.compress(tar_of([(tarfile.TarInfo("./control"), b"Package: x\nVersion: 1\nArchitecture: all\n")]))
    return ar_of({"debian-binary": b"2.0\n", "control.tar.gz": control, "data.tar.gz": gzip.compress(tar, 6)})


def packed(folder: Path, kind: str, entries: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    path = folder / f"archive.{kind}"
    if kind == "whl":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for entry, content in entries:
                archive.writestr(entry.name, content)
    elif kind == "tgz":
        path.write_bytes(gzip.compress(tar_of(entries), 6))
    else:
        if shutil.which("dpkg-deb") is None:
            pytest.skip("dpkg-deb is not installed")
        path.write_bytes(debian_of(tar_of(entries, prefix="./")))
    return path


def files(members: dict[str, bytes]) -> list[tuple[tarfile.TarInfo, bytes]]:
    return [(tarfile.TarInfo(name), content) for name, content in members.items()]


def is_text(name: str) -> bool:
    return name.endswith(".md")


@pytest.fixture
def out(tmp_path):
    (tmp_path / "deep").mkdir()
    return tmp_path / "deep"


@pytest.mark.parametrize("kind", KINDS)
def test_exactly_the_wanted_members_are_written(tmp_path, out, kind):
    found, names = archives.unpack(packed(tmp_path, kind, files(MEMBERS)), is_text, out, "x 1")
    assert {name: path.read_bytes() for name, path in found.items()} == {
        name: content for name, content in MEMBERS.items() if is_text(name)
    }
    assert names == list(MEMBERS)
    assert sorted(found.values()) == sorted(out.iterdir())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["../evil.md", "/tmp/nnn_bench_evil.md", "a/../../../evil.md"])
def test_no_name_leads_out_of_the_folder(tmp_path, out, kind, name):
    archive = packed(tmp_path, kind, files({name: b"x"}))
    found, _ = archives.unpack(archive, lambda _: True, out, "x 1")
    assert [path.parent for path in found.values()] == [out]
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted([archive, *found.values()])


def of_type(kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo("a/one.md")
    entry.type, entry.linkname = kind, "/etc/passwd"
    return entry


@pytest.mark.parametrize("kind", ["tgz", "deb"])
@pytest.mark.parametrize(
    "type_of_entry", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_are_refused_where_wanted_and_else_left_alone(tmp_path, out, kind, type_of_entry):
    archive = packed(tmp_path, kind, [(of_type(type_of_entry), b"")])
    with pytest.raises(UserError, match=r"^x 1: holds a link or a device where the file 'a/one.md' is expected"):
        archives.unpack(archive, is_text, out, "x 1")
    assert archives.unpack(archive, lambda _: False, out, "x 1") == ({}, ["a/one.md"])
    assert not list(out.iterdir())


def test_a_link_in_a_wheel_is_refused(tmp_path, out):
    entry = zipfile.ZipInfo("a/one.md")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(UserError, match="holds a link"):
        archives.unpack(tmp_path / "x.whl", is_text, out, "x 1")


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, out, kind, monkeypatch):
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED", 3 << 20)
    archive = packed(tmp_path, kind, files({"a/one.md": bytes(2 << 20), "a/two.md": bytes(2 << 20)}))
    assert archive.stat().st_size * archives.MOST_TIMES < 3 << 20
    with pytest.raises(UserError, match=r"^x 1: unpacks to more than 3 MiB, too much for its size; it is not used$"):
        archives.unpack(archive, is_text, out, "x 1")
    assert sum(path.stat().st_size for path in out.iterdir()) <= 3 << 20
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED", 5 << 20)
    assert len(archives.unpack(archive, is_text, out, "x 1")[0]) == 2


def test_what_is_passed_over_in_a_tar_counts_too(tmp_path, out, monkeypatch):
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED", 1 << 20)
    with pytest.raises(UserError, match="unpacks to more than 1 MiB"):
        archives.unpack(packed(tmp_path, "tgz", files({"a": bytes(2 << 20)})), is_text, out, "x 1")


def test_memory_holds_no_member_and_no_giant_header(tmp_path, out):
    entry = tarfile.TarInfo("a/two.md")
    entry.pax_headers = {"comment": "x" * (8 << 20)}
    giant, plain = tar_of([(entry, b"")]), tar_of(files({"a/two.md": TEXT * 3}))
    (tmp_path / "giant.tgz").write_bytes(gzip.compress(giant, 1))
    (tmp_path / "plain.tgz").write_bytes(gzip.compress(plain, 1))
    del giant, plain
    tracemalloc.start()
    with pytest.raises(Unavailable, match="damaged"):
        archives.unpack(tmp_path / "giant.tgz", is_text, out, "x 1")
    found, _ = archives.unpack(tmp_path / "plain.tgz", is_text, out, "x 1")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found["a/two.md"].stat().st_size == 3 * len(TEXT) > 10_000_000
    assert peak < 6_000_000


def test_countless_members_are_refused(tmp_path, out, monkeypatch):
    monkeypatch.setattr(archives, "MOST_MEMBERS", 3)
    with pytest.raises(UserError, match="holds more than 3 files"):
        archives.unpack(packed(tmp_path, "whl", files(MEMBERS)), is_text, out, "x 1")


@pytest.mark.parametrize("kind", KINDS)
def test_damage_of_any_kind_is_one_line(tmp_path, out, kind):
    """Cut off anywhere, or with bytes turned over: told as damage, or (outside the content) harmless."""
    sound = packed(tmp_path, kind, files({"a/one.md": random.Random(0).randbytes(900), "b/two.md": b"second\n" * 50}))
    content, choose, told = sound.read_bytes(), random.Random(1), 0
    for attempt in range(12 if kind == "deb" else 60):
        altered = bytearray(content)
        if attempt % 2:
            del altered[choose.randrange(len(altered)) :]
        else:
            for _ in range(3):
                altered[choose.randrange(len(altered))] ^= choose.randrange(1, 256)
        sound.write_bytes(altered)
        try:
            archives.unpack(sound, is_text, out, "x 1")
        except UserError as error:
            assert str(error).startswith("x 1: ") and "\n" not in str(error)
            told += "the archive is damaged; try again" in str(error)
    assert told >= (8 if kind == "deb" else 45)
