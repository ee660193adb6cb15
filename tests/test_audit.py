"""The audits: every honest network passes, every defect is found by the test that is meant to find it, and gates stop nothing."""

from __future__ import annotations

import copy
import json
import math

import pytest
import torch

from nnn_bench.audit.findings import TESTS, Audit, Finding, worst_by_test
from nnn_bench.audit.position import CLIFF, position
from nnn_bench.audit.random_tokens import random_tokens
from nnn_bench.audit.selector import selector
from nnn_bench.audit.static import audit_fresh, audit_weights
from nnn_bench.config.catalog import Catalog
from nnn_bench.config.errors import UserError
from nnn_bench.config.expansion import study_specs
from nnn_bench.config.files import read_json, write_json
from nnn_bench.models.build import build
from nnn_bench.models.projections.selection import Selection
from nnn_bench.training.gates import audit_trained, audit_untrained, write_audit
from nnn_bench.training.job import train_seeds
from tests import leaks
from tests.models import CONTEXT, CONTROLS, HONEST, shallow, small, solved
from tests.test_cli import typed
from tests.tiny_project import edit, make_project


def failed(findings):
    return {finding.test for finding in findings if finding.passed is False}


def finding(findings, test):
    [found] = [one for one in findings if one.test == test]
    return found


#: Variants whose answers see something else than all of their past, once grown: pairs in windows of 16, as a share of those.
#: An automaton sees 5 on its left and 6 on its right.
PARTLY_BLIND = {"axial_attention": 100 / 136, "automaton": 140 / 136}


@pytest.mark.parametrize("name", HONEST)
def test_every_honest_variant_passes_before_training(name):
    # a network that looks ahead by a whole small window has nothing forbidden in it: it is asked in a longer one
    model = shallow(name) if shallow(name).ahead < CONTEXT else longer(name, 29)
    findings = audit_fresh(model)
    assert failed(findings) == set()
    assert finding(findings, "future_gradient").numbers["pairs"] > 0
    assert [one.test for one in findings] == [test for test in TESTS if test not in ("random_tokens", "position")]
    selects = any(hasattr(module, "watch") for module in model.modules())
    applies = {one.test: one.passed is not None for one in findings}
    assert applies["growth"] == (model.stages > 1) and applies["unselected"] == applies["selector"] == selects
    assert applies["step"] == model.streams and finding(findings, "gradient").numbers["share"] > 0.6
    while model.stage + 1 < model.stages:
        model.grow()
    everything = model.context * (model.context + 1) / 2
    assert model.visible(model.context).sum() == (
        everything if name not in PARTLY_BLIND else everything * PARTLY_BLIND[name]
    )


DEFECTS = [
    (leaks.BlockMeans, {"future_tokens", "future_gradient"}),
    (leaks.TensorScale, {"future_tokens", "batch_rows"}),  # no gradient tells of it
    (leaks.RowMeans, {"batch_rows"}),
    (leaks.BatchNormed, {"future_tokens", "future_gradient", "batch_rows", "modes"}),  # in training alone
    (leaks.PeeksOnce, {"future_tokens", "future_gradient"}),
    (leaks.PeeksUnseen, {"future_tokens"}),
    (leaks.Blind, {"past_coverage"}),
    (leaks.Unused, {"gradient"}),
    (leaks.Undeclared, {"gradient"}),
    (leaks.Declared, set()),
    (leaks.Faint, {"gradient"}),
    (leaks.Dropping, {"modes"}),
    (leaks.OtherStep, {"step"}),
    (leaks.Grows, set()),
    (leaks.Jumps, {"growth"}),
    (leaks.JumpsHonestly, set()),
    (leaks.Forgets, {"growth"}),
    (leaks.Confuses, {"growth"}),
]


@pytest.mark.parametrize(("defect", "expected"), DEFECTS, ids=[defect.__name__ for defect, _ in DEFECTS])
def test_each_defect_fails_exactly_the_tests_that_are_meant_for_it(defect, expected):
    assert failed(audit_fresh(defect(leaks.honest()))) == expected


def test_what_was_seen_is_said_with_figures():
    once = finding(audit_fresh(leaks.PeeksOnce(leaks.honest())), "future_tokens")
    assert once.numbers["leaks"] == 1 and once.numbers["pairs"] == 12 * 11 / 2
    assert once.numbers["pokes"] == 2 * 12 * 4  # rounds, positions; alone and onwards, by token and by noise
    assert "logits at position 5 moved by" in once.saw and "1 of 66 such pairs leak" in once.saw
    blind = finding(audit_fresh(leaks.Blind(leaks.honest())), "past_coverage")
    assert blind.numbers["unseen"] == 12 - 2 and "does not see position 2" in blind.saw
    step = finding(audit_fresh(leaks.OtherStep(leaks.honest())), "step")
    assert step.numbers["worst"] == pytest.approx(1e-6, rel=1e-6) and "from position 7 on" in step.saw
    unused = finding(audit_fresh(leaks.Unused(leaks.honest())), "gradient")
    assert "1 tensor without any gradient in 5 steps (unused)" in unused.saw
    undeclared = finding(audit_fresh(leaks.Undeclared(leaks.honest())), "gradient")
    assert "2 tensors that nobody trains" in undeclared.saw and "channel_mixer.up.weight" in undeclared.saw
    jump = finding(audit_fresh(leaks.JumpsHonestly(leaks.honest())), "growth")
    assert jump.numbers["worst"] == abs(jump.numbers["loss_after"] - jump.numbers["loss_before"]) > 1e-4
    assert "not judged" in jump.saw


def test_logits_that_are_no_numbers_pass_nothing():
    findings = audit_weights(leaks.NoNumber(leaks.honest()), 1)
    assert {"future_tokens", "batch_rows", "modes"} <= failed(findings)
    assert json.dumps(Audit("x", "untrained", tuple(findings)).plain(), allow_nan=False)


def test_a_selection_that_spreads_its_gradient_is_caught():
    findings = audit_fresh(leaks.softened(small("selection_transformer")))
    assert failed(findings) == {"unselected"}
    assert finding(findings, "unselected").numbers["largest"] > 0


def test_selectors_that_learn_the_opposite_are_caught():
    assert failed(audit_fresh(leaks.contrary(small("selection_transformer")))) == {"selector"}
    for name in ("selection_identical_look", "selection_switch"):
        found, sound = selector(leaks.contrary(small(name))), selector(small(name))
        assert found.passed is False and sound.passed
        assert found.numbers["share"] == pytest.approx(1 - sound.numbers["share"])


def test_how_often_an_estimator_leads_towards_the_better_computation():
    def share(name):
        return selector(small(name)).numbers["share"]

    assert share("selection_transformer") == share("selection_identical_look") == 1
    assert share("selection_switch") == pytest.approx(0.75, abs=0.03)  # thousands of choices
    assert share("selection_per_layer") == pytest.approx(0.75, abs=0.12)  # 128 of them: three standard errors
    assert selector(small("gpt2")).passed is None
    assert selector(small("selection_growing")).passed is None  # it has one computation, until it grows


def test_the_published_selection_learns_to_pick_the_worse_and_nothing_else_is_wrong_with_it():
    findings = audit_fresh(small("selection_published"))
    assert failed(findings) == {"selector"}
    found = finding(findings, "selector")
    assert found.numbers["share"] == 0 and "16 of 16 layers learn nothing, or to pick the worse one" in found.saw


def test_an_audit_changes_neither_the_network_nor_the_random_generator():
    model = leaks.Grows(leaks.honest())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = audit_fresh(model)
    assert torch.equal(torch.rand(3), expected)
    assert model.stage == 0 and model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert audit_fresh(model) == first


def longer(name, vocabulary):
    """A network in a window of 64, so that targets 16 ahead lie inside."""
    torch.manual_seed(0)
    return build(solved(name).model, vocabulary=vocabulary, context=64, file=name)


def test_the_published_hourglass_leaks_and_learns_random_tokens():
    findings = audit_fresh(longer("conv_attention_published", 29))
    assert failed(findings) == {"future_tokens", "future_gradient"}
    leak = finding(findings, "future_gradient").numbers
    assert leak["leaks"] == leak["pairs"] == 48 * 49 / 2  # every position sees all of the window
    learned = random_tokens(longer("conv_attention_published", 2))
    assert learned.passed is False and learned.numbers["ratio"] < 0.85
    assert learned.numbers["positions_below"] <= 48  # the targets of the last 16 lie outside


def with_maps(**maps):
    """The small selection network with other maps in some places of its first mixer."""
    tree = copy.deepcopy(solved("selection_transformer").model)
    tree["topology"]["mixer"] |= maps
    torch.manual_seed(0)
    return build(tree, vocabulary=29, context=16, file="selection_transformer")


def test_wrong_selectors_are_caught_in_a_few_layers_too_and_so_are_those_that_learn_nothing():
    wrong = finding(audit_weights(with_maps(out_projection="published/selection"), 1), "selector")
    assert wrong.passed is False and wrong.numbers["lowest"] == 0.0 and wrong.numbers["share"] > 0.8
    assert "4 of 16 layers" in wrong.saw

    class Numb(Selection):
        def forward(self, x):
            logits, values = self.logits_and_values(x)
            return values.gather(-2, logits.argmax(-2, keepdim=True)).squeeze(-2)  # nothing leads back to the logits

    numb = small("selection_transformer")
    for module in numb.modules():
        if isinstance(module, Selection):
            module.__class__ = Numb
    found = selector(numb)
    assert found.passed is False and found.numbers["share"] == 0.0


def test_every_control_is_asked_for_by_name():
    here = {
        "conv_attention_published",
        "selection_published",
        "progressive_untying_published",
        "node_cascade_published",
    }
    transformers = {"high_order_transformer_published", "high_order_input_transformer_published"}
    windows = {
        "sparse_convolution_published",
        "tail_focus_published",
        "dual_convolution_published",
        "automaton_published",
    }
    assert set(CONTROLS) == here | transformers | windows  # the others: test_high_order_*.py, test_window*.py


def test_the_published_growth_and_cascade_fail_by_name():
    growing = audit_fresh(small("progressive_untying_published"))
    assert failed(growing) == {"modes", "gradient"}
    assert "stage 3 of 3" in finding(growing, "gradient").saw and finding(growing, "growth").passed
    cascade = audit_fresh(small("node_cascade_published"))
    assert {"future_tokens", "batch_rows", "step", "gradient"} <= failed(cascade)
    assert finding(cascade, "gradient").numbers["share"] < 0.5


def test_random_tokens_stay_random_to_an_honest_network_alone():
    honest = random_tokens(leaks.honest(vocabulary=2), 200)
    assert honest.passed and honest.numbers["ratio"] == pytest.approx(1, abs=0.003)
    copying = random_tokens(leaks.Copies(leaks.honest(vocabulary=2)), 200)
    assert copying.passed is False and copying.numbers["ratio"] < 0.5
    assert copying.numbers["positions_below"] == 11  # the last target lies outside the window
    once = random_tokens(leaks.PeeksOnce(leaks.honest(vocabulary=2)), 200)
    assert once.passed is False and once.numbers["positions_below"] == 1
    assert "position 5 lowest" in once.saw


def test_random_tokens_go_through_all_stages():
    class CopiesOnceGrown(leaks.Grows, leaks.Copies):
        def spoiled(self, x):
            return leaks.Copies.spoiled(self, x) if self.stage else x

    assert random_tokens(CopiesOnceGrown(leaks.honest(vocabulary=2)), 200).passed is False


def test_a_cliff_is_found_by_position_and_chance_is_not():
    draw = torch.Generator().manual_seed(0)
    falling = 2 + torch.exp(-torch.arange(64.0) / 5)
    noise = 0.1 * torch.randn(64, generator=draw)
    assert position((falling + noise).tolist()).passed
    cliff = falling + noise + 0.6 * (torch.arange(64) >= 60)
    found = position(cliff.tolist())
    assert found.passed is False and "from position 60 on" in found.saw
    assert found.numbers["rise"] == pytest.approx(0.6, abs=0.15)
    step = torch.cat([torch.full((32,), 2.0), torch.full((32,), 2.0 + 0.9 * CLIFF)])
    assert position(step.tolist()).passed  # within the margin
    assert position([2.0, 2.1]).passed is None


def test_blocks_of_a_network_that_looks_ahead_are_compared_as_wholes():
    within = torch.arange(16.0).repeat(4) / 16  # nearer to the end of the block, farther from its own end
    assert position(within.tolist(), ahead=16).passed
    leaking = within + 1.0 * (torch.arange(64) >= 48)
    assert position(leaking.tolist(), ahead=16).passed is False


def test_the_worst_of_several_places_is_kept_and_named():
    def found(passed, worst):
        return Finding("step", passed, f"saw {worst}", {"worst": worst})

    [kept] = worst_by_test(
        [("seed 0", [found(True, 5.0)]), ("seed 1", [found(False, 1.0)]), ("seed 2", [found(False, 0.5)])]
    )
    assert kept.passed is False and kept.saw == "seed 1 (fails at 2 of 3): saw 1.0"
    [kept] = worst_by_test([("seed 0", [found(True, 1.0)]), ("seed 1", [found(True, 2.0)])])
    assert kept.passed and kept.saw == "saw 2.0; worst of 2: seed 1"
    audit = Audit("v", "trained", (found(False, math.inf), Finding("growth", None, "none")))
    assert audit.failed == ["step"] and not audit.passed
    assert audit.plain()["findings"][0]["numbers"] == {"worst": None}


@pytest.fixture
def project(tmp_path, monkeypatch):
    made = make_project(tmp_path)
    edit(made, "studies/tiny.yaml", "selection_transformer]", "node_cascade_published]")
    monkeypatch.chdir(tmp_path)
    return made


def test_gates_keep_the_worst_seed_and_skip_what_diverged(project):
    catalog = Catalog(project)
    spec = study_specs(catalog, "tiny", "tiny")["gpt2"]
    before = audit_untrained(project, catalog, spec)
    assert before.passed and before.gate == "untrained" and before.facts["vocabulary"] > 2
    with pytest.raises(UserError, match=r"s0/result\.json: is missing or damaged; train this seed first"):
        audit_trained(project, catalog, spec, [0])
    train_seeds(project, catalog, spec, [0, 1], 15.0)
    after = audit_trained(project, catalog, spec, [0, 1])
    assert after.passed and [one.test for one in after.findings][-2:] == ["random_tokens", "position"]
    assert "worst of 2: seed " in finding(after.findings, "past_coverage").saw
    assert [run["status"] for run in after.facts["runs"]] == ["ok", "ok"]

    path = project.run(f"{spec.key}/s1") / "result.json"
    result = read_json(path)
    result["test"]["by_position"][-1] += 5.0
    write_json(path, result)
    cliff = audit_trained(project, catalog, spec, [0, 1])
    assert cliff.failed == ["position"] and finding(cliff.findings, "position").saw.startswith("seed 1: ")
    write_json(path, {**result, "status": "diverged", "test": None})
    diverged = audit_trained(project, catalog, spec, [0, 1])
    assert diverged.passed and diverged.facts["diverged"] == [f"{spec.key}/s1"]
    only = audit_trained(project, catalog, spec, [1])
    assert finding(only.findings, "position").passed is None and "diverged" in finding(only.findings, "position").saw

    told = write_audit(project.audit(spec.key, "trained"), lambda: only)
    written = read_json(project.results / "audits" / f"{spec.key}.trained.json")
    assert written["variant"] == "gpt2" and written["gate"] == "trained" and written["seconds"] >= 0
    assert written["passed"] is told.passed is True and written["failed"] == []
    assert all(set(one) == {"test", "passed", "saw", "numbers"} for one in written["findings"])


def test_a_failed_gate_is_written_and_exits_0(project, monkeypatch, capsys):
    words = ["gate", "untrained", "tiny", "tiny", "node_cascade_published", "--output", "here.json"]
    code, out, _ = typed(monkeypatch, capsys, *words)
    assert code == 0 and "untrained: failed future_tokens" in out
    written = read_json(project.root / "here.json")
    assert written["passed"] is False and "future_tokens" in written["failed"]


def test_audit_exits_0_1_and_2(project, monkeypatch, capsys):
    code, out, _ = typed(monkeypatch, capsys, "audit", "gpt2", "--suite", "tiny")
    lines = out.splitlines()
    assert code == 0 and "gpt2" in lines[0] and "FAILED" not in out
    assert [line.split()[1] for line in lines[1:]] == list(TESTS[:-1])

    code, out, _ = typed(monkeypatch, capsys, "audit", "node_cascade_published", "--suite", "tiny", "--json")
    told = json.loads(out)
    assert code == 1 and told["passed"] is False and "future_tokens" in told["failed"] and told["trained"] == {}

    spec = study_specs(Catalog(project), "tiny", "tiny")["gpt2"]
    later = Audit("gpt2", "trained", (Finding("position", False, "a cliff"),))
    write_json(project.audit(spec.key, "trained"), later.plain())
    sound = Audit("gpt2", "untrained", (Finding("step", True, "sound"),), {"body_parameters": 6000})
    monkeypatch.setattr("nnn_bench.training.gates.audit_variant", lambda *_: sound)
    code, out, _ = typed(monkeypatch, capsys, "audit", "gpt2", "--suite", "tiny")
    assert code == 1 and "after training in study tiny" in out and "FAILED  position         a cliff" in out


WRONG = [
    (["audit", "gpt3"], "there is no variant 'gpt3'; did you mean 'gpt2'?"),
    (["audit", "gpt2", "--suite", "tinny"], "there is no suite 'tinny'; did you mean 'tiny'?"),
    (["gate", "untrained", "tiny", "tiny", "gpt3"], "study 'tiny' has no variant 'gpt3'; did you mean 'gpt2'?"),
    (["gate", "trained", "tiny", "tiny", "gpt2"], "train this seed first"),
    (["gate", "never", "tiny", "tiny", "gpt2"], "'never' is not one of"),
]


@pytest.mark.parametrize(("words", "says"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_a_wrong_word_is_one_line_and_exit_code_2(project, monkeypatch, capsys, words, says):
    code, out, err = typed(monkeypatch, capsys, *words)
    assert code == 2 and out == "" and err.startswith("nnn-bench: error: ") and err.count("\n") == 1 and says in err
    assert not (project.results / "audits").exists()
