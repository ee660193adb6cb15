"""The command line: what it answers, and that a mistake is one line and exit code 2."""

from __future__ import annotations

import json

import pytest

from tests.tiny_project import edit, make_project, typed


@pytest.fixture
def project(tmp_path, monkeypatch):
    made = make_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    return made


WRONG = [
    (["run", "laptpo"], "there is no suite 'laptpo'; did you mean 'laptop'?"),
    (["run", "tiny", "gpt"], "'gpt' is no variant of suite 'tiny' and no stage; did you mean 'gpt2'?"),
    (["plan", "nothing_like_it"], "there is no suite 'nothing_like_it'; known: author, laptop, smoke, standard, tiny"),
    (["train", "tiny", "tinny", "gpt2"], "there is no study 'tinny'; did you mean 'tiny'?"),
    (["train", "tiny", "tiny", "gpt3"], "study 'tiny' has no variant 'gpt3'; did you mean 'gpt2'?"),
    (["train", "tiny", "tiny", "gpt2", "--seeds", "one"], "--seeds: 'one' is not a list of seeds such as 0,1,2"),
    (["data", "prepare", "shakespear"], "there is no dataset 'shakespear'; did you mean 'shakespeare'?"),
    (["data", "prepare", "tiny", "--tokenizer", "character"], "did you mean 'characters'?"),
    (["rnu"], "No such command 'rnu'. Did you mean 'run'?"),
    (["run", "--corse", "2"], "No such option"),
    (["ui", "--port", "0"], "Invalid value for '--port'"),
]


@pytest.mark.parametrize(("words", "says"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_a_wrong_word_is_one_line_and_exit_code_2(project, monkeypatch, capsys, words, says):
    code, out, err = typed(monkeypatch, capsys, *words)
    assert code == 2 and out == ""
    assert err.startswith("nnn-bench: error: ") and err.count("\n") == 1
    assert says in err


FILES = [
    ("variants/gpt2.yaml", "heads: 4", "headz: 4", "config/variants/gpt2.yaml: model.topology.mixer.headz: unknown key; did you mean 'heads'?"),
    ("variants/gpt2.yaml", "heads: 4", "heads: 3", "config/variants/gpt2.yaml: model.topology.mixer.heads: is 3, which does not divide the width"),
    ("variants/gpt2.yaml", "kind: attention", "kind: atention", "config/variants/gpt2.yaml: model.topology.mixer.kind: there is no mixer 'atention'; did you mean 'attention'?"),
    ("variants/gpt2.yaml", "key: topology.width", "key: topolgy.width", "config/variants/gpt2.yaml: knobs: 'topolgy.width' does not lead to"),
    ("suites/tiny.yaml", "body_parameters: 6000", "body_parameters: 10", "cannot reach 10 body parameters within 1%; the nearest is"),
    ("suites/tiny.yaml", "device: cpu", "device: cuda", "no CUDA device is there"),
    ("suites/tiny.yaml", "training_characters: 6000", "training_characters: 600000", "language.training_characters"),
    ("suites/tiny.yaml", "context: 16", "context: 64", "config/suites/tiny.yaml: language.context: is 64 tokens or 64 characters, longer than the gap of 32"),
    ("suites/tiny.yaml", "batch: 6", "batch: 6\n  accumulation: 4", "config/suites/tiny.yaml: language.accumulation: 4 does not divide the batch of 6"),
    ("datasets/tiny.yaml", "path: text.txt", "path: txt.txt", "txt.txt"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "says"), FILES, ids=[new for _, _, new, _ in FILES])
def test_a_wrong_file_stops_training_with_one_line(project, monkeypatch, capsys, file, old, new, says):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    edit(project, file, old, new)
    code, _, err = typed(monkeypatch, capsys, "train", "tiny", "tiny", "gpt2", "--seeds", "0")
    assert code == 2
    assert err.startswith("nnn-bench: error: ") and err.count("\n") == 1
    assert says in err
    assert not list((project.root / "results").rglob("result.json"))


def test_list_names_everything_there_is(project, monkeypatch, capsys):
    code, out, _ = typed(monkeypatch, capsys, "list", "--json")
    found = json.loads(out)
    assert code == 0 and set(found) == {"suites", "studies", "variants", "datasets", "tokenizers"}
    assert {"author", "smoke", "laptop", "standard", "tiny"} == set(found["suites"])
    assert found["studies"]["tiny"] == "Does it run?"
    _, plain, _ = typed(monkeypatch, capsys, "list")
    assert "gpt2" in plain and "shakespeare" in plain


def test_plan_prints_a_receipt_for_every_variant_and_trains_nothing(project, monkeypatch, capsys):
    code, out, _ = typed(monkeypatch, capsys, "plan", "tiny", "--json")
    receipts = json.loads(out)["tiny"]
    assert code == 0 and list(receipts) == ["gpt2", "matmul_free", "selection_transformer"]
    for receipt in receipts.values():
        assert abs(receipt["parameters"]["body"] - 6000) <= 60 and receipt["steps"] == 100
    assert not (project.results / "runs").exists()
    _, plain, _ = typed(monkeypatch, capsys, "plan", "tiny")
    assert len([line for line in plain.splitlines() if "selection_transformer" in line]) == 1


def test_help_says_what_each_verb_does(monkeypatch, capsys, project):
    code, out, _ = typed(monkeypatch, capsys, "--help")
    assert code == 0
    for verb in ("run", "list", "plan", "train", "audit", "pack", "report", "track", "ui", "data"):
        assert f"  {verb} " in out
