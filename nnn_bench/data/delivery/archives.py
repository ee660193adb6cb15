"""Read members of a package's archive: a wheel (zip), an npm tarball (`.tgz`), a Debian package (`.deb`, through `dpkg-deb`).

An archive is not trusted. What is wanted of it is written to numbered files, so that no name in it can lead anywhere; links,
devices and sparse files are refused, and so is one that unpacks to more than a package of data ever does. It is read as a
stream in small pieces, so memory holds no member, only the names.
"""

from __future__ import annotations

import errno
import gzip
import lzma
import stat
import struct
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Protocol

from nnn_bench.config.errors import UserError
from nnn_bench.data.delivery.shelf import Unavailable

#: what an archive may unpack to: so many bytes, and so many times its own size (text takes 10, all zeros in gzip 1,000)
MOST_BYTES = 8 << 30
MOST_TIMES = 200
ALWAYS_ALLOWED = 16 << 20
MOST_MEMBERS = 200_000

_PIECE = 1 << 20

#: all that the libraries raise for an archive they cannot read: broken, cut off, encrypted, of an unknown method
_DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, RuntimeError, ValueError, OverflowError),
)


class _Refused(Exception):
    """What is wrong with the archive, of which it is the subject."""


def unpack(archive: Path, wanted: Callable[[str], bool], folder: Path, shown: str) -> tuple[dict[str, Path], list[str]]:
    """Write the members whose name is `wanted` into `folder`; returns where each lies, and the names of all files.

    Of two members of one name, the later counts. `shown` is what to call the archive. Raises `Unavailable` for a damaged one,
    `UserError` for one that is refused; files already written stay in `folder`, which is the caller's to remove.
    """
    most = min(MOST_BYTES, max(ALWAYS_ALLOWED, MOST_TIMES * archive.stat().st_size))
    members = {".whl": _zip_members, ".tgz": _npm_members, ".deb": _debian_members}[archive.suffix]
    found: dict[str, Path] = {}
    names: list[str] = []
    try:
        with closing(members(archive, wanted, most)) as reading:
            for name, member in reading:
                names.append(name)
                if len(names) > MOST_MEMBERS:
                    raise _Refused(f"holds more than {MOST_MEMBERS:,} files")
                if member is not None:
                    found[name] = folder / str(len(names))
                    with found[name].open("wb") as file:
                        while piece := member.read(_PIECE):
                            file.write(piece)
    except _Refused as error:
        raise UserError(f"{error}; it is not used", file=shown) from None
    except _DAMAGED:
        raise _damaged(shown) from None
    except OSError as error:
        if error.errno in (None, errno.EINVAL):  # of a decompressor, or a place in the file that cannot be
            raise _damaged(shown) from None
        raise
    return found, names


def _damaged(shown: str) -> Unavailable:
    return Unavailable("the archive is damaged; try again", file=shown)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Bounded:
    """A decompressed stream that goes forward only, gives up past `most` bytes, and takes no large request.

    `tarfile` asks for a header of extended attributes in one piece, of whatever size the archive says. `at` is where the count
    begins, and where it has come to.
    """

    def __init__(self, stream: _Readable, most: int, at: int = 0):
        self._stream, self._most, self.at = stream, most, at

    def read(self, size: int) -> bytes:
        if size > _PIECE:
            raise tarfile.ReadError("a header is larger than any header")
        data = self._stream.read(size)
        self.at += len(data)
        if self.at > self._most:
            raise _Refused(f"unpacks to more than {self._most >> 20:,} MiB, too much for its size")
        return data

    def tell(self) -> int:
        return self.at

    def seek(self, position: int) -> None:
        if position < self.at:
            raise tarfile.ReadError("cannot go back")
        while self.at < position and self.read(min(_PIECE, position - self.at)):
            pass

    def read_out(self) -> None:
        """Read what is behind the last member, where damage shows as well."""
        while self.read(_PIECE):
            pass


_Members = Generator[tuple[str, _Readable | None], None, None]


def _zip_members(path: Path, wanted: Callable[[str], bool], most: int) -> _Members:
    read = 0
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.is_dir():
                continue
            if not wanted(entry.filename):
                yield entry.filename, None
                continue
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in (0, stat.S_IFREG):
                raise _Refused(f"holds a link or a device where the file {entry.filename!r} is expected")
            with archive.open(entry) as member:
                bounded = _Bounded(member, most, read)
                yield entry.filename, bounded
                read = bounded.at


def _npm_members(path: Path, wanted: Callable[[str], bool], most: int) -> _Members:
    with gzip.open(path) as stream:
        yield from _tar_members(_Bounded(stream, most), wanted)


def _debian_members(path: Path, wanted: Callable[[str], bool], most: int) -> _Members:
    with _debian_tar(path) as stream:
        yield from _tar_members(_Bounded(stream, most), wanted)


def _tar_members(stream: _Bounded, wanted: Callable[[str], bool]) -> _Members:
    with tarfile.open(fileobj=stream, mode="r:") as archive:  # type: ignore[call-overload]  # reads with these methods
        while (entry := archive.next()) is not None:
            archive.members = []  # it keeps every one otherwise
            name = entry.name.removeprefix("./")
            if entry.isdir():
                continue
            if not wanted(name):
                yield name, None
                continue
            if not entry.isreg() or entry.issparse():
                raise _Refused(f"holds a link or a device where the file {name!r} is expected")
            yield name, archive.extractfile(entry)
        stream.read_out()


@contextmanager
def _debian_tar(path: Path) -> Iterator[IO[bytes]]:
    """The files of a Debian package as a tar stream; `dpkg-deb` knows the compressions."""
    command = ["dpkg-deb", "--fsys-tarfile", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        try:
            yield process.stdout
        except BaseException:
            process.kill()
            raise
        if process.wait():
            raise tarfile.ReadError("dpkg-deb could not read it")
