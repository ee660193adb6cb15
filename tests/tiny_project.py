"""A project of its own in a temporary folder: the real configuration plus a tiny text, study and suite."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

from nnn_bench.cli import main
from nnn_bench.config.paths import Project

SUITE = """
summary: for tests
studies: [tiny]
language:
  body_parameters: 6000
  context: 16
  training_characters: 6000
  tokens: 9600
  batch: 6
  evaluations: 3
  validation_tokens: 128
  test_tokens: 256
  sample_tokens: 20
seeds: 2
device: cpu
verdicts: false
"""
STUDY = """
title: Tiny
question: Does it run?
baseline: gpt2
variants: [gpt2, matmul_free, selection_transformer]
dataset: tiny
"""
DATASET = """
summary: generated words
licence: none
citation: none
source: {kind: file, path: text.txt}
gap: 32
"""


def text(characters: int = 9000) -> str:
    """Sentences of a toy grammar, always the same."""
    draw = random.Random(0)
    words = ["the", "a", "cat", "dog", "sees", "hears", "old", "small", "bird", "sings", "and", "but"]
    parts: list[str] = []
    while sum(map(len, parts)) < characters:
        parts.append(" ".join(draw.choice(words) for _ in range(6)) + ".\n")
    return "".join(parts)[:characters]


def make_project(folder: Path) -> Project:
    """A project in `folder` with suite, study and data set `tiny` beside the real configuration; its networks are shallow."""
    shutil.copytree(Project.find(Path(__file__).parent).config, folder / "config")
    (folder / "config" / "suites" / "tiny.yaml").write_text(SUITE)
    (folder / "config" / "studies" / "tiny.yaml").write_text(STUDY)
    (folder / "config" / "datasets" / "tiny.yaml").write_text(DATASET)
    (folder / "text.txt").write_text(text())
    made = Project(folder)
    for variant in ("gpt2", "matmul_free", "selection_transformer"):
        edit(made, f"variants/{variant}.yaml", "layers: 4", "layers: 2")  # half the operations show as much
    return made


def edit(project: Project, file: str, old: str, new: str) -> None:
    path = project.config / file
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new, 1))


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def start(project: Project, *words: str) -> subprocess.Popen[str]:
    """`nnn-bench WORDS` in the project, running."""
    return subprocess.Popen(
        [sys.executable, "-m", "nnn_bench", *words],
        cwd=project.root,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class Forked(multiprocessing.context.ForkServerProcess):
    """`nnn-bench WORDS` in the project, in a process forked from one that has the slow imports behind it."""

    def __init__(self, project: Project, *words: str):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["torch._dynamo", "nnn_bench.training.job"])
        self.errors = project.root / "errors.txt"
        super().__init__(target=_main, args=(str(project.root), words, str(self.errors)))
        self.start()

    def said(self) -> str:
        """What it wrote to stderr, once it has ended."""
        self.join()
        return self.errors.read_text()


def _main(root: str, words: tuple[str, ...], errors: str) -> None:
    os.chdir(root)
    sys.argv = ["nnn-bench", *words]
    with Path(errors).open("w") as sys.stderr, Path(os.devnull).open("w") as sys.stdout:
        main()


def call(project: Project, *words: str) -> subprocess.CompletedProcess[str]:
    """`nnn-bench WORDS` in the project, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "nnn_bench", *words],
        cwd=project.root,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def typed(monkeypatch, capsys, *words):
    """`nnn-bench WORDS` in this process: exit code, standard output, standard error."""
    monkeypatch.setattr("sys.argv", ["nnn-bench", *words])
    try:
        main()
        code = 0
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    return code, out, err
