"""The token store: what a text becomes, when it is made again, and what is refused."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from nnn_bench.config.datasets import CharacterTokens, Dataset
from nnn_bench.config.errors import UserError
from nnn_bench.config.paths import Project
from nnn_bench.data.names import SPLITS
from nnn_bench.data.prepare import prepare
from nnn_bench.data.store import TokenStore, load
from nnn_bench.data.tokenizers import characters
from nnn_bench.data.tokenizers.characters import Tokenizer

GAP = 10
CHARACTERS = CharacterTokens(kind="characters")
TEXT = "".join(f"line {number}: all's well\n" for number in range(60)).ljust(1000, "x")[:1000]


def described(**changes) -> Dataset:
    values = {"summary": "s", "licence": "l", "citation": "c", "source": {"kind": "file", "path": "text.txt"}}
    return Dataset.model_validate({**values, "gap": GAP, "validation_share": 0.1, "test_share": 0.2, **changes})


@pytest.fixture
def project(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    return Project(tmp_path)


def made(project: Project, **changes) -> TokenStore:
    prepare("tiny", described(**changes), "characters", CHARACTERS, project)
    return load(project, "tiny", "characters")


def refused(project: Project, **changes) -> str:
    """The one line said, after seeing that no store was left."""
    with pytest.raises(UserError) as error:
        prepare("tiny", described(**changes), "characters", CHARACTERS, project)
    assert "\n" not in str(error.value)
    assert not (project.tokens("tiny", "characters") / "manifest.json").exists()
    return str(error.value)


def texts(store: TokenStore) -> dict[str, str]:
    return {name: store.decode(getattr(store, name).tolist()) for name in SPLITS}


def test_splits_are_contiguous_with_a_gap_between(project):
    parts = texts(made(project))
    assert parts == {"train": TEXT[:680], "validation": TEXT[690:790], "test": TEXT[800:]}


def test_the_manifest_counts_what_is_there(project):
    store = made(project)
    assert store.manifest.content_sha256 == hashlib.sha256(TEXT.encode()).hexdigest()
    assert store.manifest.vocabulary == len(set(TEXT[:680])) + 1
    assert store.manifest.dtype == "uint16"
    for name, part in texts(store).items():
        counted = store.manifest.splits[name]
        assert (counted.tokens, counted.characters, counted.bytes) == (len(part), len(part), len(part.encode()))
        shard = (project.tokens("tiny", "characters") / f"{name}.bin").read_bytes()
        assert counted.sha256 == hashlib.sha256(shard).hexdigest()
        assert np.array_equal(np.frombuffer(shard, dtype="<u2"), getattr(store, name))


def test_the_vocabulary_is_of_the_training_split_alone(project):
    text = TEXT[:690] + "é€" + TEXT[692:800] + "é" + TEXT[801:]
    (project.root / "text.txt").write_text(text, encoding="utf-8")
    store = made(project)
    splits = store.manifest.splits
    assert [splits[name].unknown for name in SPLITS] == [0, 2, 1]
    assert splits["validation"].bytes == 100 + 1 + 2  # é takes two bytes, € three
    assert store.manifest.vocabulary == len(set(TEXT[:680])) + 1
    assert texts(store)["validation"][:3] == "\ufffd\ufffd" + text[692]
    assert store.validation[:2].tolist() == [0, 0]


def test_ids_are_in_the_order_of_code_points_and_know_their_bytes(project):
    (project.root / "text.txt").write_text("€éba" * 250, encoding="utf-8")
    store = made(project)
    assert store.train[:4].tolist() == [4, 3, 2, 1]
    assert list(store.manifest.token_bytes)[1:] == [1, 1, 2, 3]


def test_a_byte_order_mark_and_line_ends_do_not_change_the_content(project):
    plain = made(project).manifest.content_sha256
    for raw in (
        b"\xef\xbb\xbf" + TEXT.encode(),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
    ):
        (project.root / "text.txt").write_bytes(raw)
        assert made(project).manifest.content_sha256 == plain


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (TEXT.encode() + b"\xff", "1000"),
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"a\0" + TEXT.encode(), "NUL"),
        (b"x", "too few"),
        (TEXT[:30].encode(), "too few"),
    ],
)
def test_a_text_that_cannot_be_used_is_told_in_one_line(project, content, says):
    (project.root / "text.txt").write_bytes(content)
    said = refused(project)
    assert said.startswith("text.txt: ") and says in said


def test_the_first_byte_that_is_not_utf8_is_named(project):
    (project.root / "text.txt").write_bytes(b"caf\xe9" + TEXT.encode())
    assert "byte 3" in refused(project)


def test_content_that_is_not_the_pinned_one_is_refused(project):
    said = refused(project, sha256="2" * 64)
    assert said.startswith("config/datasets/tiny.yaml: sha256: ")
    assert hashlib.sha256(TEXT.encode()).hexdigest() in said
    assert made(project, sha256=hashlib.sha256(TEXT.encode()).hexdigest()).manifest.splits["train"].tokens == 680


def stamps(project: Project) -> dict[str, int]:
    folder = project.tokens("tiny", "characters")
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.suffix in (".bin", ".json")}


def test_a_sound_store_is_kept_and_words_do_not_remake_it(project):
    first = prepare("tiny", described(), "characters", CHARACTERS, project)
    before = stamps(project)
    assert prepare("tiny", described(summary="other", citation="words"), "characters", CHARACTERS, project) == first
    assert stamps(project) == before


@pytest.mark.parametrize("change", ["gap", "text"])
def test_another_setting_or_text_makes_it_anew(project, change):
    first = made(project).manifest
    if change == "text":
        (project.root / "text.txt").write_text(TEXT[::-1], encoding="utf-8")
    second = made(project, gap=20 if change == "gap" else GAP).manifest
    assert second.fingerprint != first.fingerprint
    assert second.splits["train"].sha256 != first.splits["train"].sha256


@pytest.mark.parametrize("name", ["train.bin", "validation.bin", "test.bin", "manifest.json"])
def test_a_truncated_file_is_told_with_its_repair_and_repaired(project, name):
    expected = texts(made(project))
    path = project.tokens("tiny", "characters") / name
    path.write_bytes(path.read_bytes()[:-20])
    unrepaired(project)
    assert texts(made(project)) == expected


@pytest.mark.parametrize("name", ["train.bin", "validation.bin", "test.bin", "manifest.json", "vocabulary.json"])
def test_a_lost_file_is_told_with_its_repair_and_made_again(project, name):
    expected = texts(made(project))
    (project.tokens("tiny", "characters") / name).unlink()
    unrepaired(project)
    assert texts(made(project)) == expected


def unrepaired(project: Project) -> None:
    with pytest.raises(UserError, match="`nnn-bench data prepare tiny --tokenizer characters`"):
        load(project, "tiny", "characters")


class Counting(Tokenizer):
    """Characters that count what they encode, and stop the process when they have done enough."""

    done = 0
    stop: float = math.inf
    counts = threading.Lock()

    def encode_all(self, texts):
        with Counting.counts:
            if Counting.done >= Counting.stop:
                raise KeyboardInterrupt
            Counting.done += sum(map(len, texts))
        return super().encode_all(texts)


@pytest.fixture
def counting(monkeypatch):
    """Small blocks, a note after each, and a tokenizer that counts."""
    monkeypatch.setattr(characters, "Tokenizer", Counting)
    monkeypatch.setattr("nnn_bench.data.shards.NOTE_EVERY", 1)
    monkeypatch.setattr("nnn_bench.data.parts.BLOCK", 16)
    monkeypatch.setattr("nnn_bench.data.parts.BLOCKS_AT_ONCE", 2)
    monkeypatch.setattr(Counting, "done", 0)
    return Counting


def shards(project: Project) -> dict[str, bytes]:
    folder = project.tokens("tiny", "characters")
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != ".lock"}


def test_a_stopped_process_goes_on_where_it_was_to_the_same_bytes(project, counting, monkeypatch):
    made(project)
    expected, everything = shards(project), counting.done
    assert everything == 680 + 100 + 200
    for stop in (100, 700, 850):  # in the training split, the validation split, the test split
        (project.tokens("tiny", "characters") / "manifest.json").unlink()
        monkeypatch.setattr(counting, "done", 0)
        monkeypatch.setattr(counting, "stop", stop)
        with pytest.raises(KeyboardInterrupt):
            made(project)
        first = counting.done
        monkeypatch.setattr(counting, "stop", math.inf)
        made(project)
        assert shards(project) == expected
        assert counting.done - everything <= 3 * 32 < first + 32  # of what was done, no more than is encoded ahead


def test_what_was_left_is_not_used_for_another_text(project, counting, monkeypatch):
    monkeypatch.setattr(counting, "stop", 100)
    with pytest.raises(KeyboardInterrupt):
        made(project)
    (project.root / "text.txt").write_text(TEXT[::-1], encoding="utf-8")
    monkeypatch.setattr(counting, "stop", math.inf)
    assert texts(made(project))["train"] == TEXT[::-1][:680]


def test_an_error_leaves_what_was_there_and_nothing_else(project, monkeypatch):
    made(project)
    expected = shards(project)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("nnn_bench.data.shards.os.fsync", full)
    with pytest.raises(UserError, match=r"cannot be written: No space left on device; nothing was lost"):
        made(project, gap=20)
    monkeypatch.undo()
    assert shards(project) == expected
    assert made(project, gap=20).manifest.splits["train"].tokens == 660


def test_two_processes_may_prepare_at_once(project):
    text = TEXT * 2000
    (project.root / "text.txt").write_text(text, encoding="utf-8")
    program = (
        "import sys; from pathlib import Path; from nnn_bench.config.paths import Project; "
        "from nnn_bench.config.datasets import CharacterTokens, Dataset; from nnn_bench.data.prepare import prepare; "
        "print(prepare('tiny', Dataset.model_validate_json(sys.argv[2]), 'characters', CharacterTokens(kind='characters'), "
        "Project(Path(sys.argv[1]))).fingerprint)"
    )
    words = [sys.executable, "-c", program, str(project.root), described().model_dump_json()]
    running = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = {process.communicate(timeout=120)[0] for process in running}
    assert [process.returncode for process in running] == [0, 0]
    assert len(said) == 1
    assert texts(load(project, "tiny", "characters"))["test"] == text[-int(len(text) * 0.2) :]


def test_a_store_that_was_never_made_says_how_to_make_it(project):
    with pytest.raises(
        UserError, match=r"\.cache/tokens/tiny\.characters.*`nnn-bench data prepare tiny --tokenizer characters`"
    ):
        load(project, "tiny", "characters")


def test_the_manifest_is_plain_json(project):
    made(project)
    data = json.loads(Path(project.tokens("tiny", "characters") / "manifest.json").read_text())
    assert data["splits"]["test"]["tokens"] == 200
