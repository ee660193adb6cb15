"""`nnn-bench speed` and the pipeline's `measure`: what they write, and that a mistake is one line."""

from __future__ import annotations

import fcntl
import json

import pytest

from nnn_bench.speed import measurement
from tests.tiny_project import edit, make_project, typed

CARD = {
    "rows": [
        {
            "context": 8,
            "batch": 1,
            "prefill_seconds": 0.004,
            "token_seconds": 0.001,
            "recomputed_token_seconds": 0.004,
            "cached_speedup": 4.0,
            "state_bytes": 2048,
            "peak_memory_bytes": None,
        }
    ]
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    made = make_project(tmp_path)
    edit(made, "studies/tiny.yaml", "selection_transformer]", "selection_transformer, lightgbm]")
    edit(made, "suites/tiny.yaml", "device: cpu", "device: cpu\nmeasure: {groups: 2, block_seconds: 0.002}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr(measurement, "inference_card", lambda *_, **__: CARD)
    monkeypatch.setattr(measurement, "peak_memory", lambda _, run: {"gpt2": 2, "matmul_free": 3}[run.variant] * 1024**2)
    monkeypatch.setattr(measurement.OtherWork, "cores", lambda _: 0.0)
    return made


def test_what_the_pipeline_measures_holds_the_contract(project, monkeypatch, capsys):
    code, out, err = typed(monkeypatch, capsys, "measure", "tiny", "tiny", "matmul_free", "--output", "made/m.json")
    assert (code, out, err) == (0, "", "")
    told = json.loads((project.root / "made" / "m.json").read_text())
    assert (told["variant"], told["baseline"]) == ("matmul_free", "gpt2")
    assert {"device", "capability", "cores", "threads", "torch", "python", "platform"} <= set(told["machine"])
    assert told["shape"].items() >= {"batch": 6, "context": 16, "vocabulary": 20, "accumulation": 1}.items()
    training = told["training"]
    assert len(training["blocks"]) == training["ratio"]["groups"] == 2
    for block in training["blocks"]:
        assert block["order"] == "ABBA" and {len(seconds) for seconds in block["seconds"].values()} == {2}
    low, high = training["ratio"]["interval"]
    assert 0 < low <= training["ratio"]["median"] <= high
    low, high = training["quartiles"]
    assert 0 < low <= training["step_seconds"] <= high
    assert training["seconds_per_predicted_token"] == pytest.approx(training["step_seconds"] / (6 * 16))
    assert (training["peak_memory_bytes"], training["baseline_peak_memory_bytes"]) == (3 * 1024**2, 2 * 1024**2)
    assert training["compile_seconds"] is None
    assert told["inference"] == CARD


def test_speed_prints_a_table_and_the_machine(project, monkeypatch, capsys):
    code, out, err = typed(monkeypatch, capsys, "speed", "gpt2", "matmul_free", "--suite", "tiny", "--groups", "1")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "a training step of 6 windows of 16 tokens, float32"
    assert [line.split()[0] for line in lines[1:4]] == ["variant", "gpt2", "matmul_free"]
    assert lines[3].split()[-2:] == ["3.0", "2.0"]
    assert lines[6].split() == ["gpt2", "8", "1", "4.000", "1.000", "4.000", "4.0", "2.0"]
    assert "1 thread of torch" in lines[-1]


def test_json_without_a_card_holds_one_group_as_asked(project, monkeypatch, capsys):
    words = ("speed", "matmul_free", "--suite", "tiny", "--study", "tiny", "--groups", "1", "--no-card", "--json")
    code, out, _ = typed(monkeypatch, capsys, *words)
    [told] = json.loads(out)
    assert code == 0 and told["inference"] is None and len(told["training"]["blocks"]) == 1


def test_other_work_is_warned_of(project, monkeypatch, capsys):
    monkeypatch.setattr("os.getloadavg", lambda: (1.2, 0.0, 0.0))
    monkeypatch.setattr(measurement.OtherWork, "cores", lambda _: 0.9)
    code, _, err = typed(monkeypatch, capsys, "speed", "gpt2", "--suite", "tiny", "--groups", "1", "--no-card")
    assert code == 0 and err.splitlines() == [
        "nnn-bench: warning: other work runs (load 1.2): ratios hold, absolute times may not",
        "nnn-bench: warning: gpt2: other work kept 0.9 cores busy meanwhile: ratios hold, absolute times may not",
    ]


WRONG = [
    (["speed", "gpt3", "--suite", "tiny"], "suite 'tiny' has no variant 'gpt3'; did you mean 'gpt2'?"),
    (["speed", "gpt2", "--suite", "tinny"], "there is no suite 'tinny'; did you mean 'tiny'?"),
    (["speed", "gpt2", "--suite", "tiny", "--study", "tinny"], "there is no study 'tinny'; did you mean 'tiny'?"),
    (["speed", "gpt3", "--suite", "tiny", "--study", "tiny"], "study 'tiny' has no variant 'gpt3'; did you mean 'gpt2'?"),
    (["speed", "lightgbm", "--suite", "tiny"], "config/variants/lightgbm.yaml: model: trees are fitted, not trained in steps"),
    (["speed", "gpt2", "--suite", "tiny", "--groups", "0"], "Invalid value for '--groups'"),
    (["speed"], "Missing argument 'VARIANT...'"),
    (["measure", "tiny", "tiny", "gpt3", "--output", "m.json"], "study 'tiny' has no variant 'gpt3'"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "says"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_a_wrong_word_is_one_line_and_exit_code_2(project, monkeypatch, capsys, words, says):
    code, out, err = typed(monkeypatch, capsys, *words)
    assert (code, out) == (2, "") and err.startswith("nnn-bench: error: ") and err.count("\n") == 1
    assert says in err and not (project.root / "m.json").exists()


def test_two_never_measure_at_once(project, monkeypatch, capsys):
    project.results.mkdir()
    with (project.results / ".speed.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        code, out, err = typed(monkeypatch, capsys, "speed", "gpt2", "--suite", "tiny")
    assert (code, out) == (75, "") and "another measurement of speed is under way" in err
