"""Folder sources: which files are taken, in which order, and what is refused."""

from __future__ import annotations

import hashlib
import os

import pytest

from nnn_bench.config.datasets import FolderSource
from nnn_bench.config.errors import UserError
from nnn_bench.config.paths import Project
from nnn_bench.data.sources.folder import deliver

CONTENT = {
    "b.txt": b"second",
    "a.txt": b"first",
    "c.md": b"other",
    "deep/a.txt": b"deep",
    "deep/z.txt/inner.txt": b"inner",
}


@pytest.fixture
def project(tmp_path):
    for name, content in CONTENT.items():
        path = tmp_path / "books" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "outside.txt").write_bytes(b"secret")
    return Project(tmp_path)


def taken(project: Project, path: str = "books", **more: str) -> list[tuple[str, bytes]]:
    delivery = deliver(FolderSource(kind="folder", path=path, **more), "mine", project)
    assert all(raw.sha256 == hashlib.sha256(raw.path.read_bytes()).hexdigest() for raw in delivery.files)
    return [(raw.shown, raw.path.read_bytes()) for raw in delivery.files]


def refused(project: Project, path: str = "books", **more: str) -> str:
    with pytest.raises(UserError) as error:
        deliver(FolderSource(kind="folder", path=path, **more), "mine", project)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_files_come_in_the_order_of_their_paths_and_folders_are_passed_over(project):
    assert taken(project) == [("books/a.txt", b"first"), ("books/b.txt", b"second")]
    assert taken(project, "./books/", files="**/*.txt") == [
        ("./books/a.txt", b"first"),
        ("./books/b.txt", b"second"),
        ("./books/deep/a.txt", b"deep"),
        ("./books/deep/z.txt/inner.txt", b"inner"),
    ]
    assert taken(project, str(project.root / "books"), files="*.md") == [(f"{project.root}/books/c.md", b"other")]


def test_the_pinned_hash_is_of_all_files_joined(project):
    joined = hashlib.sha256(b"firstsecond").hexdigest()
    assert len(taken(project, sha256=joined)) == 2
    said = refused(project, sha256="0" * 64)
    assert said.startswith("books: ") and joined[:16] in said and "0" * 16 in said


@pytest.mark.parametrize("glob", ["../*.txt", "/etc/host*", "deep/../../*.txt"])
def test_a_pattern_may_not_leave_the_folder(project, glob):
    said = refused(project, files=glob)
    assert said.startswith("config/datasets/mine.yaml: files: ") and repr(glob) in said and "leaves the folder" in said


@pytest.mark.parametrize(
    ("path", "files", "says"),
    [
        ("absent", "*.txt", "absent: is not a folder that exists"),
        ("outside.txt", "*.txt", "outside.txt: is not a folder that exists"),
        ("books", "*.json", "books: holds no file that matches '*.json'"),
        ("books", "z*", "books: holds no file that matches 'z*'"),
        ("books/deep", "z*", "books/deep: holds no file that matches 'z*'"),
        ("books", "**a", "config/datasets/mine.yaml: files: '**a' is not a pattern"),
    ],
)
def test_what_is_not_there_is_told(project, path, files, says):
    assert refused(project, path, files=files).startswith(says)


@pytest.mark.parametrize("make", ["pipe", "link out", "broken link"])
def test_what_is_no_plain_file_below_the_folder_is_refused(project, make):
    path = project.root / "books" / "odd.txt"
    if make == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(project.root / ("outside.txt" if make == "link out" else "absent"))
    assert refused(project).startswith("books/odd.txt: matches '*.txt' but is not a plain file")
    path.unlink()
    (project.root / "books" / "link.txt").symlink_to("a.txt")  # a link that stays inside is a file like any other
    assert [name for name, _ in taken(project)] == ["books/a.txt", "books/b.txt", "books/link.txt"]
