"""What a trained network writes: what it should by its own logits, shown as it is drawn, and safe to show."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch

from nnn_bench.commands import generation
from nnn_bench.commands.generation import PROMPTS, open_writer, visible
from nnn_bench.config.catalog import Catalog
from nnn_bench.config.expansion import study_specs
from nnn_bench.config.recipe import LanguageScale
from nnn_bench.data.store import load
from nnn_bench.training.job import train_seeds
from nnn_bench.training.samples import _drawn, generate, rewrite, sample, samples_of
from tests.models import CONTEXT, VOCABULARY, shake, small
from tests.test_cli import typed
from tests.tiny_project import STUDY, edit, make_project

STUDIES = {
    "tiny": STUDY,
    "around": STUDY.replace("gpt2", "automaton", 1).replace("[gpt2, matmul_free, selection_transformer]", "[automaton]")
    + "ahead: 0\n",
    "far": STUDY + "ahead: 3\n",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A project with three short runs: of the next character, of the one between its neighbours, and of the third one on."""
    project = make_project(tmp_path_factory.mktemp("generation"))
    edit(project, "suites/tiny.yaml", "tokens: 9600", "tokens: 4800")
    edit(project, "suites/tiny.yaml", "evaluations: 3", "evaluations: 1")
    catalog, keys = Catalog(project), {}
    for study, text in STUDIES.items():
        (project.config / "studies" / f"{study}.yaml").write_text(text)
        spec = next(iter(study_specs(catalog, "tiny", study).values()))
        train_seeds(project, catalog, spec, [0], 1000)
        keys[study] = f"{spec.key}/s0"
    return project, keys


def called(finished, monkeypatch, capsys, study, *words):
    monkeypatch.chdir(finished[0].root)
    return typed(monkeypatch, capsys, "generate", finished[1].get(study, study), *words)


@pytest.mark.parametrize("prompt", [[3], list(range(5)), list(range(20))], ids=len)
def test_greedy_text_is_the_argmax_of_whole_windows(prompt):
    """Without `step`: from a fresh start, the window grows to the context, and begins anew with its last half."""
    model = small("gpt2")
    shake(model)
    text, window = list(prompt), list(prompt[-CONTEXT:])
    with torch.no_grad():
        for _ in range(3 * CONTEXT):
            text.append(int(model(torch.tensor([window]))[0, -1].argmax()))
            window = [*window, text[-1]] if len(window) < CONTEXT else text[-CONTEXT // 2 :]
    assert sample(model, prompt, 3 * CONTEXT, seed=0, top_k=1) == text[len(prompt) :]


def test_a_text_is_drawn_as_it_is_asked_for():
    model = small("gpt2")
    drawn = generate(model, [1, 2], seed=5, temperature=1.5, top_k=3)
    first = [next(drawn) for _ in range(30)]
    assert first == sample(model, [1, 2], 30, seed=5, temperature=1.5, top_k=3)
    assert first != sample(model, [1, 2], 30, seed=6, temperature=1.5, top_k=3)


def test_shares_of_what_is_drawn():
    logits = torch.tensor([[0.0, 3.0, 1.0, -9.0]]).mul(np.log(2)).expand(4000, 4)  # 1 : 8 : 2 : hardly

    def shares(**options):
        drawn = _drawn(logits, torch.Generator().manual_seed(0), **options)
        return [(drawn == token).double().mean().item() for token in range(4)]

    assert shares(temperature=1.0, top_k=3) == pytest.approx([1 / 11, 8 / 11, 2 / 11, 0], abs=0.025)
    assert shares(temperature=1.0, top_k=2) == pytest.approx([0, 0.8, 0.2, 0], abs=0.025)
    assert shares(temperature=3.0, top_k=2) == pytest.approx([0, 0.6135, 0.3865, 0], abs=0.03)  # 8^(1/3) : 2^(1/3)
    assert shares(temperature=1.0, top_k=99) == pytest.approx([1 / 11, 8 / 11, 2 / 11, 0], abs=0.025)
    assert shares(temperature=5e-324, top_k=3) == [0, 1, 0, 0]


def test_a_centered_network_rewrites_all_places_at_once():
    model = small("automaton")
    shake(model)
    text, wanted = torch.arange(12) % VOCABULARY, []
    with torch.no_grad():
        for _ in range(4):
            text = model(text.unsqueeze(0))[0].argmax(-1)
            wanted.append(text.tolist())
    found = list(rewrite(model, list(range(12)), 4, seed=0, top_k=1))
    assert found == wanted and found[0] != found[1]
    assert list(rewrite(model, [3], 2, seed=0, top_k=5)) == list(rewrite(model, [3], 2, seed=0, top_k=5))


def test_a_result_says_how_new_its_sample_is(finished):
    project, keys = finished
    [told] = json.loads((project.run(keys["tiny"]) / "result.json").read_text())["samples"]
    store = load(project, "tiny", "characters")
    seen, text = store.decode(store.train[:6000].tolist()), told["text"]
    grams = [text[place : place + 8] for place in range(len(text) - 7)]
    assert len(text) == 20 and told["copied_share"] == sum(gram in seen for gram in grams) / 13
    assert told["before_repeat"] == 20 and sorted(told) == ["before_repeat", "copied_share", "prompt", "text"]
    [around] = json.loads((project.run(keys["around"]) / "result.json").read_text())["samples"]
    assert around["passes"] == 10 and len(around["text"]) == len(around["prompt"]) == 8
    assert around["prompt"] == told["prompt"]
    assert json.loads((project.run(keys["far"]) / "result.json").read_text())["samples"] == []


def test_a_network_without_steps_has_no_sample(finished):
    project, keys = finished
    writer = open_writer(project, project.run(keys["tiny"]))
    model, store = writer.model, writer.store
    scale = LanguageScale(body_parameters=1, context=8, training_characters=100, tokens=1, batch=1, sample_tokens=5)
    assert len(samples_of(model, store, scale, "next", 1, 0)[0]["text"]) == 5
    assert samples_of(model, store, scale.model_copy(update={"sample_tokens": 0}), "next", 1, 0) == []
    model.streams = False
    assert samples_of(model, store, scale, "next", 1, 0) == []


def test_generate_writes_what_the_network_draws(finished, monkeypatch, capsys):
    project, keys = finished
    words = ["--prompt", "the cat ", "--prompt", "a", "--tokens", "40", "--seed", "3", "--top-k", "4"]
    code, out, err = called(finished, monkeypatch, capsys, "tiny", *words)
    assert code == 0 and err == ""
    writer = open_writer(project, project.run(keys["tiny"]))
    texts = [
        writer.store.decode(
            sample(writer.model, writer.store.tokenizer.encode(prompt).tolist(), 40, seed=3, temperature=1.0, top_k=4)
        )
        for prompt in ("the cat ", "a")
    ]
    assert out.startswith(f"--- prompt: 'the cat '\n{texts[0]}\n--- prompt: 'a'\n{texts[1]}\n")
    code, plain, _ = called(finished, monkeypatch, capsys, "tiny", *words, "--json")
    found = json.loads(plain)
    assert code == 0 and [one["text"] for one in found["samples"]] == texts
    assert (found["seed"], found["top_k"], found["temperature"]) == (3, 4, 1.0)
    seen = writer.store.decode(writer.store.train[:6000].tolist())
    for one, text in zip(found["samples"], texts, strict=True):
        assert one["tokens"] == 40 and one["copied_share"] == sum(text[i : i + 8] in seen for i in range(33)) / 33
    rows = out.splitlines()[-2:]
    assert f"{found['samples'][0]['copied_share']:.1%}" in rows[0] and rows[0].endswith(
        str(found["samples"][0]["before_repeat"])
    )
    # what follows one prompt does not hang on the prompts before it
    _, alone, _ = called(finished, monkeypatch, capsys, "tiny", *words[2:], "--json")
    assert json.loads(alone)["samples"] == found["samples"][1:]


def test_the_five_prompts_and_what_the_tokenizer_does_not_know(finished, monkeypatch, capsys):
    code, out, err = called(finished, monkeypatch, capsys, "tiny", "--tokens", "3", "--json")
    assert code == 0 and [one["prompt"] for one in json.loads(out)["samples"]] == PROMPTS
    known = set(json.loads((finished[0].tokens("tiny", "characters") / "vocabulary.json").read_text())["characters"])
    lost = [sum(one not in known for one in prompt) for prompt in PROMPTS]
    assert lost[0] > 1 and lost[-1] == 0
    lines = err.splitlines()
    assert lines[0] == (
        f"nnn-bench: warning: prompt 'Where are you from?': left out {lost[0]} characters that the training text does not hold"
    )
    assert len(lines) == sum(count > 0 for count in lost)
    _, dropped, _ = called(finished, monkeypatch, capsys, "tiny", "--prompt", "QQcat", "--tokens", "9", "--json")
    _, kept, _ = called(finished, monkeypatch, capsys, "tiny", "--prompt", "cat", "--tokens", "9", "--json")
    assert json.loads(dropped)["samples"][0]["text"] == json.loads(kept)["samples"][0]["text"]


def test_a_centered_network_shows_each_pass(finished, monkeypatch, capsys):
    code, out, _ = called(finished, monkeypatch, capsys, "around", "--prompt", "the old cat", "--passes", "3")
    project, keys = finished
    writer = open_writer(project, project.run(keys["around"]))
    ids = writer.store.tokenizer.encode("the old cat").tolist()
    passes = [writer.store.decode(one) for one in rewrite(writer.model, ids, 3, seed=0, temperature=1.0, top_k=5)]
    shown = "".join(f"pass {number}: {text}\n" for number, text in enumerate(passes, start=1))
    assert code == 0 and out.startswith(f"--- prompt: 'the old cat'\n{shown}") and len(passes[-1]) == 11
    code, plain, _ = called(finished, monkeypatch, capsys, "around", "--prompt", "the old cat", "--json")
    assert code == 0 and json.loads(plain)["samples"][0]["tokens"] == 11


def test_text_is_shown_as_it_is_drawn(finished, monkeypatch):
    project, keys = finished
    writer, told = open_writer(project, project.run(keys["tiny"])), []

    class Terminal:
        def write(self, text):
            told.append(text)

        def flush(self):
            told.append("flushed")

    monkeypatch.setattr(sys, "stdout", Terminal())
    drawing = {"seed": 0, "temperature": 1.0, "top_k": 5}
    ids = generation._continued(writer, [1], 7, drawing, show=True)
    monkeypatch.undo()
    assert [one for one in told if one][: 2 * 7] == [
        part for one in ids for part in (writer.store.decode([one]), "flushed")
    ]


def test_nothing_a_network_writes_steers_the_terminal():
    assert visible("a\x1b[31m\n\tb\r\u202e\x7f\x9b") == "a\\x1b[31m\n\tb\\r\\u202e\\x7f\\x9b"
    assert visible("é ü � \\n") == "é ü � \\n" and visible("\ud800") == "\\ud800"


def test_what_cannot_write_is_one_line_and_exit_code_2(finished, monkeypatch, capsys):
    project, keys = finished
    runs, config = project.results / "runs", json.loads((project.run(keys["tiny"]) / "config.json").read_text())
    result = json.loads((project.run(keys["tiny"]) / "result.json").read_text())

    def folder(name, result=None, **changes):
        path = runs / "tiny" / name / "s0"
        path.mkdir(parents=True)
        (path / "config.json").write_text(json.dumps({**config, **changes}))
        if result:
            (path / "result.json").write_text(json.dumps(result))
        return f"tiny/{name}/s0"

    receipt = {**config["receipt"], "dataset": {**config["receipt"]["dataset"], "sha256": "0"}}
    cases = [
        (["tiny", "--top-k", "0"], "Invalid value for '--top-k'"),
        (["tiny", "--tokens", "0"], "Invalid value for '--tokens'"),
        (["tiny", "--temperature", "0"], "--temperature: is 0.0; give a number above 0"),
        (["tiny", "--temperature", "nan"], "--temperature: is nan; give a number above 0"),
        (["tiny", "--seed", "-1"], "Invalid value for '--seed'"),
        (["tiny", "--passes", "3"], "--passes: only a network that answers from both sides"),
        (["tiny", "--prompt", "QQ"], "--prompt: 'QQ' holds no character that the training text holds"),
        (["tiny", "--prompt", "QQcat", "--prompt", ""], "--prompt: '' holds no character"),
        (["around", "--tokens", "9"], "--tokens: a network that answers from both sides"),
        (["around", "--prompt", "cat " * 5], "--prompt: has 20 tokens; "),
        (["far"], "gpt2 was trained to predict 3 tokens ahead, so it has no next token to write"),
        ([keys["tiny"].replace("gpt2", "gpt3")], f"did you mean '{keys['tiny']}'?"),
        (["x" * 5000], "there is no run 'xxx"),
        ([folder("half")], "tiny/half/s0: holds no finished run; train it to its end first"),
        ([folder("lost", {**result, "status": "diverged"})], "holds a run that diverged"),
        ([folder("bare", result)], "holds no sound checkpoint"),
        ([folder("other", result, receipt=receipt)], "was trained on another text than dataset tiny now holds"),
    ]
    for words, says in cases:
        code, out, err = called(finished, monkeypatch, capsys, *words)
        assert code == 2 and out == "" and err.startswith("nnn-bench: error: ") and err.count("\n") == 1, words
        assert says in err


def test_a_network_without_steps_is_refused(finished, monkeypatch, capsys):
    monkeypatch.setattr("nnn_bench.training.trained.load_trained", lambda path, vocabulary: _stepless())
    code, out, err = called(finished, monkeypatch, capsys, "tiny")
    assert code == 2 and out == "" and "gpt2 does not go token by token, so it cannot write" in err


def _stepless():
    model = small("gpt2")
    model.streams = False
    return model
