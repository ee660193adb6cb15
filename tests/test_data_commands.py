"""`nnn-bench data list|fetch|check|prepare`, and the page about them."""

from __future__ import annotations

import fcntl
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from nnn_bench import cli
from nnn_bench.commands.data import licence_in_short
from nnn_bench.config.catalog import Catalog
from nnn_bench.config.datasets import Dataset
from nnn_bench.config.paths import Project
from nnn_bench.config.validation import validate
from nnn_bench.data import checking
from nnn_bench.data.content import reader_module
from nnn_bench.data.delivery.shelf import OFFLINE

TEXT = "".join(f"line {number}: all's well\n" for number in range(60))
HEAD = "summary: {name} in short\nlicence: MIT; and more to say\ncitation: c\nvalidation_share: 0.1\ntest_share: 0.1\n"
SOURCES = {
    "notes": "source: {kind: file, path: notes.txt}\ngap: 16\nsha256: " + hashlib.sha256(TEXT.encode()).hexdigest(),
    "talks": "source: {kind: file, path: talks.jsonl}",
    "lost": "source: {kind: file, path: lost.txt}",
    "letters": "source: {kind: synthetic, task: random_tokens, examples: 5000}\ngap: 16",
    "far": "source: {kind: package, client: npm, package: far, version: 1.0.0, files: {a: %s}}\nreader: text"
    % ("0a" * 32),
    "pictures": "source: {kind: folder, path: pictures, files: '*'}\nreader: idx",
}


def talks() -> str:
    """60 conversations, two of each group."""
    return "".join(
        json.dumps({"group": f"problem {n // 2}", "query": f"Question {n}?", "target": f"Answer {n}."}) + "\n"
        for n in range(60)
    )


@pytest.fixture
def project(tmp_path, monkeypatch):
    for folder in ("suites", "datasets", "tokenizers"):
        (tmp_path / "config" / folder).mkdir(parents=True)
    for name, source in SOURCES.items():
        (tmp_path / "config" / "datasets" / f"{name}.yaml").write_text(f"{HEAD.format(name=name)}{source}\n")
    for kind in ("characters", "bytes"):
        (tmp_path / "config" / "tokenizers" / f"{kind}.yaml").write_text(
            f"summary: {kind}!\ntokens: {{kind: {kind}}}\n"
        )
    (tmp_path / "notes.txt").write_text(TEXT)
    (tmp_path / "talks.jsonl").write_text(talks())
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a").write_bytes(
        bytes([0, 0, 8, 3, 0, 0, 0, 40, 0, 0, 0, 1, 0, 0, 0, 2]) + bytes(range(80))
    )
    (tmp_path / "pictures" / "b").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 40]) + bytes([0, 1]) * 20)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(OFFLINE, "1")
    return Project(tmp_path)


@pytest.fixture
def typed(monkeypatch, capsys):
    """`nnn-bench data WORDS` in this process: exit code, standard output, standard error."""

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["nnn-bench", "data", *words])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    return call


def test_list_says_what_there_is_and_whether_it_is_here(project, typed):
    typed("fetch", "notes")
    code, out, err = typed("list", "--json")
    told = json.loads(out)
    assert (code, err) == (0, "") and told["tokenizers"] == {"bytes": "bytes!", "characters": "characters!"}
    found = {name: (one["form"], one["here"], one["offline"], one["bytes"]) for name, one in told["datasets"].items()}
    assert found == {
        "far": ("text", False, False, None),
        "letters": ("text", False, True, None),
        "lost": ("text", False, False, None),
        "notes": ("text", True, True, len(TEXT)),
        "pictures": ("labelled", False, True, None),
        "talks": ("conversations", False, True, None),
    }
    assert told["datasets"]["far"]["from"] == ["npm"] and told["datasets"]["far"]["citation"] == "c"
    code, out, _ = typed("list")
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()}
    assert rows["notes"] == ["text", f"{len(TEXT):,}", "file", "yes", "MIT"]
    assert rows["letters"] == ["text", "-", "synthetic", "offline", "MIT"]
    assert rows["far"] == ["text", "-", "npm", "no", "MIT"]


def test_fetch_says_what_it_got(project, typed):
    code, out, err = typed("fetch", "notes", "talks")
    assert (code, err) == (0, "")
    stored = hashlib.sha256((project.content("talks") / "content.jsonl").read_bytes()).hexdigest()
    size, sha256 = len(TEXT), hashlib.sha256(TEXT.encode()).hexdigest()
    assert f"{size:,} bytes, {size:,} characters; sha256 {sha256[:12]}, as pinned" in out
    assert (
        "60 conversations, 30 groups" in out
        and f"sha256 {stored}, not pinned" in out
        and "from file: talks.jsonl" in out
    )
    _, out, _ = typed("fetch", "notes", "--json")
    told = json.loads(out)["notes"]
    assert (told["sha256"], told["bytes"], told["counts"]) == (sha256, size, {"characters": size})
    assert told["pinned"] and told["origin"] == {"kind": "file", "path": "notes.txt"} and told["seconds"] >= 0


def test_one_that_cannot_be_had_does_not_stop_the_others(project, typed):
    code, out, err = typed("fetch", "lost", "far", "misspelt", "notes")
    first, second, third = err.splitlines()
    assert code == 2
    assert first.startswith("nnn-bench: error: lost.txt: is not a file")
    assert second.startswith(f"nnn-bench: error: far: not run: {OFFLINE} is set")
    assert third == "nnn-bench: error: there is no dataset 'misspelt'; " + third.partition("; ")[2]
    assert "as pinned" in out and (project.content("notes") / "content.json").is_file()
    code, out, _ = typed("fetch", "lost", "notes", "--json")
    told = json.loads(out)
    assert code == 2 and told["lost"]["error"].startswith("lost.txt: ") and told["notes"]["bytes"] == len(TEXT)


def damage(path: Path) -> None:
    """Change one byte, and not the size: the last brace of a line of JSON, a pixel, a token."""
    raw = bytearray(path.read_bytes())
    raw[-2] ^= 1
    path.write_bytes(raw)


def findings(typed, name: str) -> dict[str, tuple[bool, str]]:
    code, out, err = typed("check", name, "--json")
    found = {one["what"]: (one["sound"], one["saw"]) for one in json.loads(out)[name]}
    assert err == "" and code == (0 if all(sound for sound, _ in found.values()) else 1)
    return found


def test_check_hashes_what_is_here_and_shows_the_splits(project, typed):
    typed("prepare", "notes")
    typed("prepare", "notes", "--tokenizer", "bytes")
    found = findings(typed, "notes")
    assert list(found) == [
        *("content as in record", "content as in pin", "files, file"),
        *("tokens, bytes", "tokens, characters", "splits"),
    ]
    assert all(sound for sound, _ in found.values())
    share = len(TEXT) // 10
    wanted = f"train {len(TEXT) - 2 * share - 32}, validation {share}, test {share} bytes; 16 and 16 characters left out between"
    assert found["splits"][1].replace(",", "") == wanted.replace(",", "")
    code, out, _ = typed("check", "notes")
    assert code == 0 and out.splitlines()[0] == "notes" and "WRONG" not in out


@pytest.mark.parametrize(
    ("name", "file", "what"),
    [
        ("notes", "content/notes/content.txt", "content as in record"),
        ("talks", "content/talks/content.jsonl", "content as in record"),
        ("pictures", "content/pictures/train.values.npy", "content as in record"),
        ("notes", "tokens/notes.characters/test.bin", "tokens, characters"),
        ("talks", "tokens/talks.characters/train.targets", "tokens, characters"),
        ("letters", "downloads/*/*.txt", "files, synthetic"),
    ],
)
def test_check_finds_a_changed_byte_and_its_mend_mends(project, typed, name, file, what):
    typed("fetch", name)
    if name != "pictures":
        typed("prepare", name)
    (path,) = project.cache.glob(file)
    before = path.read_bytes()
    damage(path)
    sound, saw = findings(typed, name)[what]
    assert not sound
    mend = saw.partition("`nnn-bench data ")[2].partition("`")[0]
    assert name in mend.split()
    assert typed(*mend.split())[0] == 0
    assert path.read_bytes() == before
    assert all(sound for sound, _ in findings(typed, name).values())


def test_check_tells_what_is_absent_and_what_is_of_other_content(project, typed):
    assert findings(typed, "talks") == {
        "content": (False, "absent or damaged; `nnn-bench data fetch talks` makes it again")
    }
    typed("prepare", "talks")
    (project.root / "talks.jsonl").write_text(talks().replace("Answer", "Reply"))
    typed("fetch", "talks")
    sound, saw = findings(typed, "talks")["tokens, characters"]
    assert not sound and saw.startswith("of another content")
    typed("prepare", "talks")
    assert findings(typed, "talks")["tokens, characters"][0]


def test_check_proves_that_conversations_are_apart(project, typed, monkeypatch):
    typed("fetch", "talks")
    found = findings(typed, "talks")
    counts = {}
    for what, total in (("conversations of splits", 60), ("groups of splits", 30)):
        sound, saw = found[what]
        assert sound and saw.endswith("; 0 shared")
        parts = [int(word) for word in saw.replace(",", "").replace(";", "").split() if word.isdecimal()][:3]
        counts[what] = parts
        assert sum(parts) == total and min(parts) > 0
    assert counts["conversations of splits"] == [2 * part for part in counts["groups of splits"]]

    from nnn_bench.data import splits

    index = splits.conversation_index

    def mixed(*arguments, **named):
        made = index(*arguments, **named)
        made.places["test"] = np.concatenate([made.places["test"], made.places["train"][:1]])
        return made

    monkeypatch.setattr(splits, "conversation_index", mixed)
    found = findings(typed, "talks")
    assert found["conversations of splits"][0] is False and found["conversations of splits"][1].endswith("; 1 shared")
    assert found["groups of splits"][0] is False


def is_locked(folder: Path) -> bool:
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_two_that_mend_the_same_damage_do_not_meet(project, typed, monkeypatch):
    """What is damaged is looked at and taken away under the lock, and may be gone by then."""
    typed("prepare", "notes")
    content, store = project.content("notes"), project.tokens("notes", "characters")
    before = [(folder / name).read_bytes() for folder, name in ((content, "content.txt"), (store, "test.bin"))]
    damage(content / "content.txt")
    damage(store / "test.bin")
    looked = []

    def gone_meanwhile(is_wrong, record):
        def look(folder):
            wrong = is_wrong(folder)
            looked.append((folder, is_locked(folder), bool(wrong)))
            (folder / record).unlink()
            return wrong

        return look

    for function, record in (("is_damaged", "content.json"), ("damaged_shards", "manifest.json")):
        monkeypatch.setattr(checking, function, gone_meanwhile(getattr(checking, function), record))
    code, _, err = typed("prepare", "notes")
    assert (code, err) == (0, "")
    assert looked == [(content, True, True), (store, True, True)]
    assert before == [(content / "content.txt").read_bytes(), (store / "test.bin").read_bytes()]


def test_nothing_is_made_for_what_is_not_here(project, typed):
    assert typed("prepare", "lost")[0] == 2
    assert not project.tokens("lost", "characters").exists()


CARDS = HEAD.format(name="cards") + "source: {kind: hub, repository: ./cards, columns: {text: text}}\ngap: 16\n"


@pytest.mark.parametrize(
    ("name", "file"), [("notes", "notes.txt"), ("pages", "pages/b.txt"), ("cards", "cards/train.jsonl")]
)
def test_check_tells_that_what_the_user_keeps_was_edited(project, typed, name, file):
    (project.config / "datasets" / "cards.yaml").write_text(CARDS)
    (project.config / "datasets" / "pages.yaml").write_text(
        HEAD.format(name=name) + "source: {kind: folder, path: pages, files: '*.txt'}\ngap: 16\n"
    )
    for folder in ("pages", "cards"):
        (project.root / folder).mkdir()
    for part in "ab":
        (project.root / "pages" / f"{part}.txt").write_text(TEXT)
    (project.root / "cards" / "train.jsonl").write_text(json.dumps({"text": TEXT}) + "\n")
    if name == "notes":  # or an edited file is refused
        path = project.config / "datasets" / "notes.yaml"
        path.write_text(path.read_text().partition("sha256")[0])
    assert typed("fetch", name)[0] == 0
    what = {"notes": "files, file", "pages": "files, folder", "cards": "files, hub"}[name]
    assert findings(typed, name)[what][0]
    kept = project.root / file
    kept.write_text(kept.read_text().replace("well", "bell"))
    assert findings(typed, name)[what] == (
        False,
        f"changed since it was read; `nnn-bench data fetch {name}` reads it anew",
    )
    assert typed("fetch", name)[0] == 0
    assert all(sound for sound, _ in findings(typed, name).values())


def test_check_counts_the_windows_that_stand_in_the_training_split(project, typed, monkeypatch):
    """Every question begins with the same 150 letters, and every second answer is the same."""
    monkeypatch.setattr(checking, "_AT_ONCE", 128)
    before = "".join(chr(ord("a") + n * n % 23) for n in range(150))
    records = [{"query": f"{before} {n}?", "target": "no" * 150 if n % 2 else f"{n} " * 100} for n in range(60)]
    (project.root / "talks.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    typed("fetch", "talks")
    assert "windows shared" not in findings(typed, "talks")
    typed("prepare", "talks")
    sound, saw = findings(typed, "talks")["windows shared"]
    store = project.tokens("talks", "characters")
    train, told = np.fromfile(store / "train.bin", "<u2"), []
    there = {train[place : place + 64].tobytes() for place in range(len(train) - 63)}
    for name in ("validation", "test"):
        tokens, mask = np.fromfile(store / f"{name}.bin", "<u2"), np.fromfile(store / f"{name}.targets", "u1")
        places = range(0, len(tokens) - 63, 64)
        shared = [tokens[place : place + 64].tobytes() in there for place in places]
        alone = [one for one, place in zip(shared, places, strict=True) if mask[place : place + 64].all()]
        assert 0 < sum(alone) < sum(shared) < len(shared) and sum(alone) < len(alone)
        told += [f"{name} {sum(one):,} of {len(one):,} ({sum(one) / len(one):.2%})" for one in (shared, alone)]
    first, alone, second, alone_too = told
    wanted = (
        f"{first}, of answers alone {alone.partition(' ')[2]}; {second}, of answers alone {alone_too.partition(' ')[2]}"
    )
    assert sound and saw == f"64 tokens word for word in train: {wanted}"


def test_check_counts_no_windows_where_there_are_none(project, typed):
    records = [{"query": f"{n}", "target": "."} for n in range(20)]
    (project.root / "talks.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    typed("prepare", "talks")
    none = "0 of 0 (0.00%), of answers alone 0 of 0 (0.00%)"
    assert findings(typed, "talks")["windows shared"] == (
        True,
        f"64 tokens word for word in train: validation {none}; test {none}",
    )


@pytest.mark.parametrize("moved", [-1, 1])
def test_check_sees_a_gap_of_another_size(project, typed, monkeypatch, moved):
    from nnn_bench.data import splits

    typed("fetch", "notes")
    ranges = splits.text_ranges

    def shifted(*arguments, **named):
        found = ranges(*arguments, **named)
        return {**found, "train": (0, found["train"][1] + moved)}

    monkeypatch.setattr(splits, "text_ranges", shifted)
    sound, saw = findings(typed, "notes")["splits"]
    assert not sound and f"{16 - moved} and 16 characters" in saw


def test_prepare_says_what_each_split_holds(project, typed):
    code, out, err = typed("prepare", "talks", "--tokenizer", "bytes", "--json")
    told = json.loads(out)
    assert (code, err) == (0, "") and told["vocabulary"] == 256 + len(told["marks"])
    lines = talks().splitlines()
    spoken = sum(len(record["query"]) + len(record["target"]) for record in map(json.loads, lines))
    assert sum(split["bytes"] for split in told["splits"].values()) == spoken
    answers = sum(len(json.loads(line)["target"]) + 1 for line in lines)  # and the mark of the end
    assert sum(split["targets"] for split in told["splits"].values()) == answers
    _, out, _ = typed("prepare", "talks", "--tokenizer", "bytes")
    assert out.startswith("talks: ") and out.count("in answers") == 3


def row(name: str, catalog: Catalog, told: dict) -> str:
    """What the page says of a data set."""
    dataset = catalog.dataset(name)
    size = f"{dataset.bytes:,}" if dataset.bytes else "-"
    sha256 = f"`{dataset.sha256[:12]}`" if dataset.sha256 else "-"
    cells = [name, told["form"], size, " or ".join(told["from"]), licence_in_short(dataset.licence), sha256]
    return f"| {' | '.join(cells)} |"


def test_the_page_has_every_data_set_as_its_file_says(typed):
    page = Project.find(Path(__file__).parent).root / "docs" / "data.md"
    told = json.loads(typed("list", "--json")[1])["datasets"]
    catalog = Catalog(Project.find())
    wanted = [row(name, catalog, told[name]) for name in catalog.names("datasets")]
    head = "| data set | form | bytes | from | licence | sha256 |\n| --- | --- | --- | --- | --- | --- |\n"
    table = page.read_text().partition(head)[2].partition("\n\n")[0].splitlines()
    assert table == wanted


def test_every_example_of_the_page_is_a_data_set():
    page = (Project.find(Path(__file__).parent).root / "docs" / "data.md").read_text()
    examples = [part.partition("```")[0] for part in page.split("```yaml\n")[1:]]
    kinds = set()
    for example in examples:
        said = yaml.safe_load(example.replace("SHA256", "0a" * 32))
        dataset = validate(Dataset, {"summary": "s", "licence": "l", "citation": "c", **said}, file="docs/data.md")
        kinds.add(dataset.ways[0].kind)
        reader_module(dataset.reader_name)
    assert kinds == {"file", "folder", "hub", "package", "gutenberg", "bundled", "synthetic"}
