"""Budgets of tokens, FLOPs and time, and the search for learning rates: what is equal, what is measured, who sees what."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from nnn_bench.budget.rates import best_of, extension, ledger
from nnn_bench.budget.solver import meta_model, solve
from nnn_bench.budget.steps import Measured, Spent, met
from nnn_bench.config.catalog import Catalog
from nnn_bench.config.errors import UserError
from nnn_bench.config.expansion import jobs, measured_key, study_specs, suite_specs
from nnn_bench.config.files import write_json
from nnn_bench.data.store import load
from nnn_bench.training import search as searching
from nnn_bench.training import trainer
from nnn_bench.training.job import make_plan, run_configuration
from nnn_bench.training.measured import NotMeasured
from nnn_bench.training.search import FIRST_SEED, train_trials
from tests.models import CATALOG
from tests.tiny_project import STUDY, edit, make_project, typed

MEASURED = {"gpt2": (0.002, 1.0), "matmul_free": (0.002, 1.75), "selection_transformer": (0.002, 0.5)}


@pytest.fixture
def project(tmp_path):
    """A project whose study stands under all three budgets."""
    made = make_project(tmp_path)
    edit(made, "suites/tiny.yaml", "[tiny]", "[tiny, tiny_flops, tiny_time]")
    edit(made, "suites/tiny.yaml", "seeds: 2", "measure: {}\nseeds: 2")
    for budget in ("flops", "time"):
        (made.config / "studies" / f"tiny_{budget}.yaml").write_text(f"{STUDY}budget: {budget}\n")
    return made


def measure(project):
    """What the speed lane would have left."""
    specs = study_specs(Catalog(project), "tiny", "tiny")
    for name, (seconds, ratio) in MEASURED.items():
        told = {"training": {"step_seconds": seconds * ratio, "ratio": {"median": ratio}}}
        write_json(project.measured(measured_key(specs[name], specs["gpt2"])), told)


def receipts(project, study):
    catalog = Catalog(project)
    return {
        name: make_plan(project, catalog, spec).receipt for name, spec in study_specs(catalog, "tiny", study).items()
    }


def spent(receipt):
    return sum(receipt["training_flops"].values())


def test_a_baseline_is_the_same_run_under_every_budget(project):
    specs = suite_specs(Catalog(project), "tiny")
    assert len({study["gpt2"].key for study in specs.values()}) == 1
    assert len({study["matmul_free"].key for study in specs.values()}) == 3
    assert len({job.spec.key for job in jobs(Catalog(project), "tiny")}) == 1 + 3 * 2


def test_under_a_budget_of_flops_all_spend_what_the_baseline_does(project):
    told = receipts(project, "tiny_flops")
    amount = spent(told["gpt2"])
    for name, receipt in told.items():
        assert spent(receipt) == pytest.approx(amount, rel=0.01), name
        if name != "gpt2":
            assert receipt["met"] == {
                "unit": "FLOPs",
                "amount": amount,
                "spent": spent(receipt),
                "residual": spent(receipt) / amount - 1,
            }
    per_token = {name: spent(receipt) / receipt["tokens"] for name, receipt in receipts(project, "tiny").items()}
    cheaper = per_token["gpt2"] / per_token["selection_transformer"]
    assert told["selection_transformer"]["tokens"] / told["gpt2"]["tokens"] == pytest.approx(cheaper, rel=0.01)


def test_under_a_budget_of_time_all_take_the_seconds_the_baseline_was_measured_to_take(project):
    measure(project)
    told = receipts(project, "tiny_time")
    assert {name: receipt["steps"] for name, receipt in told.items()} == {
        "gpt2": 100,
        "matmul_free": round(100 / 1.75),
        "selection_transformer": 200,
    }
    assert told["matmul_free"]["met"]["unit"] == "seconds"
    assert told["matmul_free"]["met"]["amount"] == pytest.approx(100 * 0.002)
    assert told["matmul_free"]["met"]["residual"] == pytest.approx(57 * 1.75 / 100 - 1)


def test_a_budget_of_time_waits_for_the_speed_lane(project):
    spec = study_specs(Catalog(project), "tiny", "tiny_time")["matmul_free"]
    with pytest.raises(NotMeasured, match=r"results/measured/tiny/matmul_free-.*nnn-bench run SUITE speed"):
        make_plan(project, Catalog(project), spec)


def test_a_budget_of_time_asks_for_a_suite_that_measures(project):
    edit(project, "suites/tiny.yaml", "measure: {}\n", "")
    with pytest.raises(UserError, match=r"config/suites/tiny\.yaml: measure: study 'tiny_time' has a budget of time"):
        suite_specs(Catalog(project), "tiny")


def test_every_variant_of_the_headline_study_meets_equal_flops_within_one_percent():
    """At the size of suite laptop, growing networks and the hourglass among them."""
    suite = CATALOG.suite("laptop")
    specs = study_specs(CATALOG, "laptop", "language")
    anchor = specs["gpt2"].declared
    context = suite.language.context

    def network(spec):
        found = solve(spec.variant_config, suite.language.body_parameters, vocabulary=82, context=context, file="x")
        return meta_model(found.model, vocabulary=82, context=context, file="x")

    base = network(anchor)
    steps = met(anchor, base, Measured(), None).steps
    amount = base.training_flops(steps * suite.language.batch * context, context).total
    for name, spec in specs.items():
        if name != "gpt2":
            under = replace(spec.declared, budget="flops", anchor=anchor)
            model = network(spec)
            budget = met(under, model, Measured(), Spent(steps, amount))
            assert budget.spent == model.training_flops(budget.steps * suite.language.batch * context, context).total
            assert abs(budget.residual) <= 0.01, name
            for other in (budget.steps - 1, budget.steps + 1):
                further = model.training_flops(other * suite.language.batch * context, context).total
                assert abs(further - amount) >= abs(budget.spent - amount), name


def test_a_budget_that_a_step_is_too_large_for_is_refused(project):
    edit(project, "suites/tiny.yaml", "tokens: 9600", "tokens: 960")
    with pytest.raises(UserError, match=r"language\.tokens: one step of matmul_free takes .*; raise it"):
        make_plan(project, Catalog(project), study_specs(Catalog(project), "tiny", "tiny_flops")["matmul_free"])


def test_plan_says_what_is_fixed_and_what_will_be_measured(project, monkeypatch, capsys):
    edit(project, "suites/tiny.yaml", "seeds: 2", "search: {}\nseeds: 2")
    monkeypatch.chdir(project.root)
    code, out, _ = typed(monkeypatch, capsys, "plan", "tiny")
    lines = {study: block.splitlines() for study, block in zip("abc", out.split("tiny / ")[1:], strict=True)}
    assert code == 0 and "learning rate" in lines["a"][1]
    assert lines["a"][2].split()[-1] == "0.016?" and " 100 " in lines["a"][2]
    assert lines["c"][3].split()[-4:-1] == ["?", "?", lines["c"][3].split()[-2]]
    assert "? is measured by the pipeline" in out
    measured = json.loads(typed(monkeypatch, capsys, "plan", "tiny", "--json")[1])
    assert measured["tiny_time"]["matmul_free"]["to_measure"] == ["learning_rate", "steps", "tokens", "training_flops"]
    assert measured["tiny_flops"]["matmul_free"]["to_measure"] == ["learning_rate"]
    assert measured["tiny_flops"]["matmul_free"]["met"]["unit"] == "FLOPs"


# ---- the search for learning rates


def trials(*losses, factors=(0.5, 1.0, 2.0)):
    return [{"factor": factor, "loss": loss} for factor, loss in zip(factors, losses, strict=True)]


def test_everyone_is_extended_where_the_best_of_anyone_lies_at_an_edge():
    inside, low, high = trials(2.0, 1.0, 2.0), trials(1.0, 2.0, 3.0), trials(3.0, 2.0, 1.0)
    grid = (0.5, 1.0, 2.0)
    assert extension(grid, [inside, inside]) == []
    assert extension(grid, [inside, low]) == [0.25]
    assert extension(grid, [high, inside]) == [4.0]
    assert extension(grid, [high, low]) == [0.25, 4.0]
    assert extension(grid, [trials(None, None, None), inside]) == []


def test_a_diverged_trial_is_never_the_best_and_the_lower_of_two_equal_rates_is():
    assert best_of(trials(None, 2.0, math.inf))["factor"] == 1.0
    assert best_of(trials(1.0, 1.0, 2.0))["factor"] == 0.5
    assert best_of(trials(None, None, None)) is None


def test_a_ledger_holds_all_trials_and_says_who_is_still_at_an_edge():
    told = ledger("gpt2", 0.01, trials(3.0, 2.0, 1.0), [{"factor": 4.0, "loss": 0.5}, {"factor": 0.25, "loss": None}])
    assert [trial["factor"] for trial in told["trials"]] == [0.25, 0.5, 1.0, 2.0, 4.0]
    assert told["chosen"] == {"factor": 4.0, "learning_rate": 0.04}
    assert told["extended"] == [4.0, 0.25] and told["at_edge"]
    assert not ledger("gpt2", 0.01, trials(3.0, 1.0, 2.0), [])["at_edge"]
    lost = ledger("gpt2", 0.01, trials(None, None, None), [])
    assert lost["chosen"] == {"factor": 1.0, "learning_rate": 0.01} and not lost["at_edge"]


@pytest.mark.parametrize(
    ("factors", "says"),
    [
        ("[0.5, 2.0, 8.0]", "must hold 1"),
        ("[0.5, 1, 3]", "same ratio"),
        ("[2, 1, 0.5]", "same ratio"),
        ("[1]", "at least 3"),
    ],
)
def test_a_grid_that_is_none_is_refused(project, factors, says):
    edit(project, "suites/tiny.yaml", "seeds: 2", f"search: {{factors: {factors}}}\nseeds: 2")
    with pytest.raises(UserError, match=rf"config/suites/tiny\.yaml: search\.factors.*{says}"):
        Catalog(project).suite("tiny")


@pytest.fixture
def searched(project):
    edit(project, "suites/tiny.yaml", "seeds: 2", "search: {share: 0.1}\nseeds: 2")
    return project


def test_test_data_are_scored_once_after_the_rate_is_chosen(searched, monkeypatch):
    """No trial ever sees them, and a run scores them when all its steps are done."""
    splits, scored = {}, []
    windows_of, evaluate = trainer.evaluation_windows, trainer.evaluate

    def noted(store, split, *words):
        windows = windows_of(store, split, *words)
        splits[id(windows)] = (windows, split)
        return windows

    def told(model, windows, *words):
        scored.append(splits[id(windows)][1])
        return evaluate(model, windows, *words)

    monkeypatch.setattr(trainer, "evaluation_windows", noted)
    monkeypatch.setattr(trainer, "evaluate", told)
    spec = study_specs(Catalog(searched), "tiny", "tiny")["gpt2"]
    made = make_plan(searched, Catalog(searched), spec.declared)
    monkeypatch.setattr(searching, "make_plan", lambda *_: made)
    found = train_trials(searched, Catalog(searched), spec, [0.5, 1.0], checkpoint_seconds=60)
    assert set(scored) == {"validation"} and {split for _, split in splits.values()} == {"validation"}
    scored.clear()
    run = run_configuration(spec, made.model_copy(update={"steps": 6}), seed=0)
    trainer.train_run(run, load(searched, "tiny", "characters"), searched.run(run.run_key), checkpoint_seconds=60)
    assert scored.count("test") == 1
    assert [trial["factor"] for trial in found] == [0.5, 1.0]
    assert [trial["steps"] for trial in found] == [10, 10]
    for trial in found:
        folder = searched.trial(spec.key, trial["factor"], FIRST_SEED)
        result = json.loads((folder / "result.json").read_text())
        assert result["test"] is None and result["samples"] == []
        assert result["validation"]["loss"] == trial["loss"]
        assert result["receipt"]["learning_rate"] == pytest.approx(0.016 * trial["factor"])
        config = json.loads((folder / "config.json").read_text())
        assert config["training"]["schedule"]["warmup"] * config["steps"] == pytest.approx(0.05 * made.steps)


def test_all_budgets_train_at_the_rate_of_one_search(searched):
    specs = suite_specs(Catalog(searched), "tiny")
    keys = {specs[study]["matmul_free"].searched.key for study in specs}
    groups = {spec.group for study in specs.values() for spec in study.values()}
    assert len(keys) == 1 and len(groups) == 1
    told = ledger("matmul_free", 0.004, trials(3.0, 2.0, 1.0), [{"factor": 4.0, "loss": 5.0}])
    write_json(searched.rates(keys.pop()), told)
    base = specs["tiny"]["gpt2"]
    write_json(searched.rates(base.key), ledger("gpt2", 0.016, trials(1.0, 2.0, 3.0), [{"factor": 4.0, "loss": 5.0}]))
    measure(searched)
    for study in specs:
        receipt = make_plan(searched, Catalog(searched), specs[study]["matmul_free"]).receipt
        assert (receipt["learning_rate"], receipt["trials"]) == (0.008, 4)


def test_a_finished_run_is_told_of_trials_that_were_made_since(searched):
    """They are no part of what decides its bits, so it is not trained again; a comparison wants them counted alike."""
    spec = study_specs(Catalog(searched), "tiny", "tiny")["gpt2"]
    first, ended = trials(3.0, 1.0, 2.0), []
    for more, count in (([], 3), ([{"factor": 4.0, "loss": 5.0}], 4)):
        write_json(searched.rates(spec.key), ledger("gpt2", 0.016, first, more))
        made = make_plan(searched, Catalog(searched), spec)
        run = run_configuration(spec, made.model_copy(update={"steps": 3}), seed=0)
        folder = searched.run(run.run_key)
        result = trainer.train_run(run, load(searched, "tiny", "characters"), folder, checkpoint_seconds=60)
        assert result["receipt"]["trials"] == count
        assert json.loads((folder / "result.json").read_text()) == result
        ended.append(result["ended"])
    assert ended[0] == ended[1]


def test_an_optimizer_of_its_own_is_a_search_of_the_same_group(searched):
    """So that AdamW and Lion get the same trials where a study compares them."""
    path = searched.config / "variants" / "gpt2.yaml"
    lion = path.read_text().replace("learning_rate: 1.6e-2", "learning_rate: 1e-3\noptimizer: {name: lion}")
    (path.parent / "gpt2_lion.yaml").write_text(lion)
    edit(searched, "studies/tiny.yaml", "[gpt2,", "[gpt2, gpt2_lion,")
    specs = study_specs(Catalog(searched), "tiny", "tiny")
    assert specs["gpt2_lion"].training.optimizer.name == "lion"
    assert specs["gpt2"].training.optimizer.name == "adamw"
    assert specs["gpt2_lion"].group == specs["gpt2"].group
    assert specs["gpt2_lion"].key != specs["gpt2"].key


def test_a_rate_that_was_not_searched_yet_is_told_with_the_command(searched):
    spec = study_specs(Catalog(searched), "tiny", "tiny")["gpt2"]
    with pytest.raises(NotMeasured, match=r"results/rates/tiny/gpt2-.*make it with `nnn-bench run tiny rates`"):
        make_plan(searched, Catalog(searched), spec)
