"""Boosted trees: they answer what they were fitted to, from nothing but the past, and stand outside every matching."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
import torch

from nnn_bench.audit.findings import TESTS
from nnn_bench.audit.static import audit_weights
from nnn_bench.config.catalog import Catalog
from nnn_bench.config.errors import UserError
from nnn_bench.config.expansion import audit_key, study_specs
from nnn_bench.config.files import read_json
from nnn_bench.config.schema import Variant
from nnn_bench.data.store import load
from nnn_bench.models.trees.lightgbm import LaggedTrees, Options, lagged
from nnn_bench.pipeline import check
from nnn_bench.report.collect import collect
from nnn_bench.report.csv_tables import csv_tables
from nnn_bench.report.headline import TERMINAL_HEADERS, headline_lines
from nnn_bench.report.numbers import NONE, fixed
from nnn_bench.report.outside import outside
from nnn_bench.statistics.comparison import compare, write_comparison
from nnn_bench.training.gates import audit_trained, audit_untrained, write_audit
from nnn_bench.training.job import make_plan, train_seeds
from nnn_bench.training.trained import load_trained
from nnn_bench.training.trees import random_trees
from tests.test_cli import typed
from tests.tiny_project import edit, make_project

VOCABULARY = 5


def fitted(**options):
    """Trees on a text in which every token follows from the one two places before it."""
    trees = LaggedTrees(Options(**{"lags": 3, "rounds": 40, "leaves": 8} | options), None, VOCABULARY, 8)
    trees.fit(text(), rate=0.2, seed=0, threads=1)
    return trees


def text(length=3000):
    draw = np.random.Generator(np.random.PCG64(0))
    tokens = list(draw.integers(4, size=2))
    while len(tokens) < length:
        tokens.append((tokens[-2] + 1) % 4)
    return np.array(tokens)


def test_features_are_the_lags_newest_first_and_missing_before_the_text():
    features, targets = lagged(np.array([7, 8, 9, 4]), 3)
    assert targets.tolist() == [8, 9, 4]
    assert features[2].tolist() == [9, 8, 7]
    assert features[0][0] == 7 and np.isnan(features[0][1:]).all()


def test_what_follows_from_the_past_is_learned_and_what_was_never_seen_keeps_a_finite_loss():
    trees = fitted()
    tokens = torch.from_numpy(text()[200:208]).unsqueeze(0)
    shares = trees(tokens)[0].exp()
    assert shares.sum(dim=-1) == pytest.approx(torch.ones(8))
    assert (shares[1:-1].argmax(-1) == tokens[0, 2:]).all() and shares[1:-1].amax(-1).min() > 0.95
    assert math.isfinite(trees(tokens)[0, :, 4].min()) and shares[:, 4].max() < 1e-3


def test_step_says_what_forward_says_and_copies_what_the_original_says():
    trees, tokens = fitted(rounds=5), torch.randint(VOCABULARY, (3, 8), generator=torch.Generator().manual_seed(1))
    whole, state = trees(tokens), trees.initial_state(3)
    for position in range(8):
        logits, state = trees.step(tokens[:, position], state)
        assert torch.equal(logits, whole[:, position])
    twin = copy.deepcopy(trees)
    assert torch.equal(twin.double()(tokens), whole) and twin.text == trees.text


def test_the_same_seed_fits_the_same_trees_and_rows_are_drawn_from_it():
    assert fitted(rounds=5).text == fitted(rounds=5).text
    some = fitted(rounds=5, rows=500)
    other = LaggedTrees(some.options, None, VOCABULARY, 8)
    other.fit(text(), rate=0.2, seed=1, threads=1)
    assert other.text != some.text == fitted(rounds=5, rows=500).text
    assert some.trees_and_leaves()[0] == 5 * VOCABULARY


def test_trees_are_audited_by_tokens_alone():
    found = {one.test: one.passed for one in audit_weights(fitted(rounds=5), 1)}
    assert {test for test, passed in found.items() if passed} == {"future_tokens", "batch_rows", "step", "modes"}
    assert found["future_gradient"] is found["past_coverage"] is None and set(found) <= set(TESTS)

    class Peeks(LaggedTrees):
        def forward(self, tokens):
            return super().forward(tokens) + tokens.roll(-1, 1).unsqueeze(-1)

    peeking = fitted(rounds=5)
    peeking.__class__ = Peeks
    Peeks.__deepcopy__ = lambda self, memo: self
    assert {one.test for one in audit_weights(peeking, 1) if one.passed is False} >= {"future_tokens", "step"}


def test_random_tokens_stay_random_to_them():
    found = random_trees({"trees": {"kind": "lightgbm", "lags": 4, "rounds": 9}}, 2, 16, 0.1)
    assert found.passed and 1 <= found.numbers["ratio"] < 1.1


@pytest.fixture(scope="module")
def fitted_project(tmp_path_factory):
    """A tiny project whose study has gpt2 and trees, both with two finished seeds and their audits."""
    project = make_project(tmp_path_factory.mktemp("trees"))
    # the order is a user's choice: what is compared with nothing may well come first
    edit(project, "studies/tiny.yaml", "[gpt2, matmul_free, selection_transformer]", "[lightgbm, gpt2]")
    edit(project, "variants/lightgbm.yaml", "rounds: 40", "rounds: 3")
    edit(project, "variants/lightgbm.yaml", "lags: 16", "lags: 4")
    catalog = Catalog(project)
    for spec in study_specs(catalog, "tiny", "tiny").values():
        train_seeds(project, catalog, spec, [0, 1], 15.0)
        for gate, made in (("untrained", audit_untrained(project, catalog, spec)), ("trained", None)):
            audit = made or audit_trained(project, catalog, spec, [0, 1])
            write_audit(project.audit(audit_key(spec, gate), gate), lambda audit=audit: audit)
    return project


def trees_spec(project):
    return study_specs(Catalog(project), "tiny", "tiny")["lightgbm"]


def test_a_run_of_trees_leaves_what_any_run_leaves(fitted_project):
    spec = trees_spec(fitted_project)
    folder = fitted_project.run(f"{spec.key}/s0")
    result = read_json(folder / "result.json")
    networks = study_specs(Catalog(fitted_project), "tiny", "tiny")["gpt2"]
    assert result.keys() == read_json(fitted_project.run(f"{networks.key}/s0") / "result.json").keys()
    assert result["status"] == "ok" and result["steps"] == 3 and result["flops"] == 0
    assert result["weights"]["trees"]["trees"] == 3 * result["receipt"]["dataset"]["vocabulary"]
    assert 0 < result["test"]["bits_per_byte"] < math.log2(result["receipt"]["dataset"]["vocabulary"])
    assert result["samples"][0]["text"] and not result["receipt"]["matched"]
    rows = [json.loads(line) for line in (folder / "record.jsonl").read_text().splitlines()]
    assert [(row["kind"], row["step"]) for row in rows] == [(k, n) for n in (1, 2, 3) for k in ("train", "validation")]
    assert rows[0]["loss"] > rows[2]["loss"] > rows[4]["loss"]

    trees = load_trained(folder, result["receipt"]["dataset"]["vocabulary"])
    tokens = torch.from_numpy(load(fitted_project, "tiny", "characters").test[:12].astype(np.int64)).unsqueeze(0)
    assert trees(tokens).argmax(-1).shape == (1, 12)


def test_no_test_character_is_taken_and_a_finished_run_is_skipped(fitted_project, tmp_path):
    spec = trees_spec(fitted_project)
    folder = fitted_project.run(f"{spec.key}/s0")
    before, written = (folder / "trees.txt").read_text(), (folder / "result.json").stat().st_mtime_ns
    train_seeds(fitted_project, Catalog(fitted_project), spec, [0], 15.0)
    assert (folder / "result.json").stat().st_mtime_ns == written
    store = load(fitted_project, "tiny", "characters")
    alone = load_trained(folder, store.manifest.vocabulary)
    again = LaggedTrees(alone.options, None, alone.vocabulary, alone.context)
    seen = np.array(store.train[: spec.scale.training_characters])  # and nothing else
    again.fit(seen, rate=spec.variant_config.learning_rate, seed=0, threads=1)
    trees = [one.partition("parameters:")[0] for one in (before, str(again.text))]
    assert trees[0] == trees[1]


def test_damaged_trees_are_one_line(fitted_project):
    folder = fitted_project.run(f"{trees_spec(fitted_project).key}/s1")
    vocabulary = load(fitted_project, "tiny", "characters").manifest.vocabulary
    for name in ("trees.txt", "trees.json", "config.json"):  # of the last: trees of another fingerprint
        whole = (folder / name).read_bytes()
        told = json.loads(whole) | {"fingerprint": "0" * 64} if name == "config.json" else None
        (folder / name).write_bytes(json.dumps(told).encode() if told else whole[: len(whole) // 2])
        with pytest.raises(UserError, match="holds no whole trees; fit them again with --again"):
            load_trained(folder, vocabulary)
        (folder / name).write_bytes(whole)
    assert load_trained(folder, vocabulary).vocabulary == vocabulary


def test_trees_are_compared_with_nothing_and_stand_in_a_table_of_their_own(fitted_project):
    catalog = Catalog(fitted_project)
    fitted_project.reports.mkdir(exist_ok=True)
    from nnn_bench.data.ngrams import ladder
    from nnn_bench.statistics.records import ladder_file

    spec = trees_spec(fitted_project)
    scale, path = spec.scale, ladder_file(fitted_project, spec.ladder_key)
    path.parent.mkdir(parents=True, exist_ok=True)
    store = load(fitted_project, "tiny", "characters")
    path.write_text(json.dumps(ladder(store, scale)))
    rows = {row["variant"]: row for row in compare(fitted_project, catalog, "tiny", "tiny")["variants"]}
    assert rows["lightgbm"]["matched"] is False and rows["lightgbm"]["difference"] is None
    assert rows["gpt2"]["matched"] is True and rows["lightgbm"]["mean"] > 0 and not rows["lightgbm"]["quarantined"]
    result = fitted_project.run(f"{spec.key}/s0") / "result.json"
    told = result.read_text()
    for seed in (0, 1):  # fitted on another machine: nothing but the text was to be the same
        path = fitted_project.run(f"{spec.key}/s{seed}") / "result.json"
        path.write_text(path.read_text().replace('"cpu_capability": "', '"cpu_capability": "other '))
    assert [row["matched"] for row in compare(fitted_project, catalog, "tiny", "tiny")["variants"]] == [False, True]
    for seed in (0, 1):
        path = fitted_project.run(f"{spec.key}/s{seed}") / "result.json"
        path.write_text(path.read_text().replace('"cpu_capability": "other ', '"cpu_capability": "'))
    assert result.read_text() == told
    write_comparison(fitted_project, catalog, "tiny", "tiny")
    [study] = collect(fitted_project, catalog, "tiny").studies
    assert [variant.name for variant in study.variants] == ["gpt2"]
    table = outside(study)
    assert table.rows[0][0] == "lightgbm" and table.rows[0][4] == str(3 * store.manifest.vocabulary)
    assert table.rows[0][2] == NONE  # nothing is drawn: both seeds are the same trees
    tables = csv_tables(collect(fitted_project, catalog, "tiny"))
    assert "lightgbm" not in tables["headline.csv"] + tables["differences.csv"]
    assert all("lightgbm" in tables[f"{name}.csv"] for name in ("outside", "runs", "curves", "audits", "receipts"))

    folder = fitted_project.reports / "tiny" / "tables"
    folder.mkdir(parents=True)
    for name in ("headline.csv", "outside.csv"):
        (folder / name).write_text(tables[name])
    *_, last = headline_lines(fitted_project, "tiny")
    told = dict(zip(TERMINAL_HEADERS, last, strict=True))
    assert told["variant"] == "lightgbm, outside the budget" and told["audit"] == "passed" and told["seeds"] == "2/2"
    assert told["bits per byte"] == fixed(rows["lightgbm"]["mean"]) and told["body parameters"] == NONE


def test_the_plan_says_that_nothing_was_matched(fitted_project, monkeypatch, capsys):
    monkeypatch.chdir(fitted_project.root)
    receipt = make_plan(fitted_project, Catalog(fitted_project), trees_spec(fitted_project)).receipt
    assert receipt["parameters"]["body"] is None and receipt["steps"] == 3
    code, out, _ = typed(monkeypatch, capsys, "plan", "tiny")
    [line] = [line.split() for line in out.splitlines() if "lightgbm" in line]
    assert code == 0 and line[1] == "outside"
    check(fitted_project, Catalog(fitted_project), "tiny")  # what `run` does first
    code, out, _ = typed(monkeypatch, capsys, "audit", "lightgbm", "--suite", "tiny")
    assert code == 0 and out.startswith("lightgbm, outside the budget, as in suite tiny\n") and "FAILED" not in out


def test_nothing_is_compared_with_trees(tmp_path):
    project = make_project(tmp_path)
    edit(project, "studies/tiny.yaml", "baseline: gpt2", "baseline: lightgbm")
    edit(project, "studies/tiny.yaml", "[gpt2, matmul_free, selection_transformer]", "[lightgbm, gpt2]")
    with pytest.raises(UserError, match=r"baseline: 'lightgbm' is matched with nothing, .* name a network"):
        study_specs(Catalog(project), "tiny", "tiny")


def test_knobs_belong_to_networks_and_only_to_them():
    trees = {"summary": "s", "source": "s", "model": {"trees": {"kind": "lightgbm"}}, "learning_rate": 0.1}
    assert Variant.model_validate(trees).knobs is None
    with pytest.raises(ValueError, match="trees are matched with nothing"):
        Variant.model_validate({**trees, "knobs": {"coarse": {"key": "trees.leaves"}}})
    with pytest.raises(ValueError, match="name the coarse knob"):
        Variant.model_validate({**trees, "model": {"topology": {"kind": "stack"}}})
