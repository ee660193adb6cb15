"""Rates, speed, cards, budgets and frontiers in a report: the numbers are the files', and every part is told in words."""

import copy
import csv
import io
from dataclasses import replace
from itertools import count

import pytest
import torch

from nnn_bench.config.catalog import Catalog
from nnn_bench.config.errors import UserError
from nnn_bench.config.expansion import study_specs
from nnn_bench.config.paths import Project
from nnn_bench.config.schema import Measurement
from nnn_bench.report.budgets import exclusions, families, tokens_ratio
from nnn_bench.report.collect import StudyView, SuiteView, collect
from nnn_bench.report.csv_tables import csv_tables
from nnn_bench.report.figure_pareto import draw_fronts, frontier_table, fronts
from nnn_bench.report.figure_speed import draw_speed
from nnn_bench.report.figure_tuning import sensitivity
from nnn_bench.report.finding import equalities
from nnn_bench.report.inference import inference
from nnn_bench.report.measurements import machine_note, training
from nnn_bench.report.page import html_page, markdown_page
from nnn_bench.report.shape import sources_rows
from nnn_bench.report.tuning import ledgers, rates_note
from nnn_bench.speed import card
from nnn_bench.speed.lane import Phase
from nnn_bench.speed.measurement import training_times
from nnn_bench.speed.roofline import Roofline
from nnn_bench.statistics.pareto import membership
from tests.models import VOCABULARY, small
from tests.synthetic_measured import BASE_SECONDS, make_budgets, measured_of, rates_of
from tests.synthetic_runs import Synthetic
from tests.test_report import HOSTILE, Page

VARIANTS = ("gpt2", "selection_transformer", "conv_attention")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Catalog]:
    return make_budgets(tmp_path_factory.mktemp("budgets"), Synthetic(variants=VARIANTS))


@pytest.fixture(scope="module")
def suite(made: tuple[Project, Catalog]) -> SuiteView:
    return collect(*made, "laptop")


@pytest.fixture(scope="module")
def tables(suite: SuiteView) -> dict[str, list[dict[str, str]]]:
    return {name: list(csv.DictReader(io.StringIO(text))) for name, text in csv_tables(suite).items()}


def _study(suite: SuiteView, name: str = "language") -> StudyView:
    return next(study for study in suite.studies if study.name == name)


def test_every_trial_is_in_the_ledger_and_all_have_as_many(suite: SuiteView, tables: dict, made: tuple) -> None:
    specs = study_specs(made[1], "laptop", "language")
    rows = [row for row in tables["rates.csv"] if row["study"] == "language"]
    for name, spec in specs.items():
        ledger = rates_of(spec)
        told = [row for row in rows if row["variant"] == name]
        assert [float(row["factor"]) for row in told] == [0.5, 1.0, 2.0, 4.0]
        assert [float(row["validation_nats"]) if row["validation_nats"] else None for row in told] == [
            trial["loss"] for trial in ledger["trials"]
        ]
        assert [float(row["learning_rate"]) for row in told if row["chosen"] == "true"] == [
            ledger["chosen"]["learning_rate"]
        ]
    found = ledgers(_study(suite))
    assert found is not None
    selection = next(row for row in found.rows if row[0] == "selection_transformer")
    assert (selection[1], selection[3], selection[6:]) == ("4", "× 2", ["0.050", "no", "1"])
    note = rates_note(_study(suite))
    assert note.startswith("Every variant had 4 trials, each a short run of at most ")
    assert "steps (20\u202f% of a run of gpt2)" in note
    assert ("Learning-rate trials", "4 for each variant, on validation data") in equalities(_study(suite))


def test_speed_is_what_was_measured(suite: SuiteView, tables: dict, made: tuple) -> None:
    specs = study_specs(made[1], "laptop", "language")
    for row in tables["speed.csv"][:3]:
        measured = measured_of(specs[row["variant"]], specs["gpt2"])["training"]
        assert float(row["milliseconds_per_step"]) == 1000 * measured["step_seconds"]
        assert [float(row["ratio_low"]), float(row["ratio_high"])] == measured["ratio"]["interval"]
        assert int(row["peak_memory_bytes"]) == measured["peak_memory_bytes"]
    shown = training(_study(suite))
    assert shown is not None
    assert shown.headers[:5] == ["variant", "ms per step", "quartiles, ms", "times gpt2’s", "95\u202f% interval"]
    assert "compiling, s" not in shown.headers  # nothing was compiled
    # selection takes 63 s where gpt2 takes 24
    assert [row[1:5] for row in shown.rows if row[0] == "selection_transformer"] == [
        ["52.50", "[51.45, 54.07]", "2.62", "[2.55, 2.68]"]
    ]
    note = machine_note(_study(suite))
    assert note.startswith("Measured alone on the machine: Some Processor 9000 (AVX512, 2 cores, 2 threads)")
    assert "not quite alone" not in note


def test_synthetic_files_have_the_fields_of_measured_ones(made: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = study_specs(made[1], "laptop", "language")["gpt2"]
    synthetic = measured_of(spec, spec)
    monkeypatch.setattr(card, "measure_roofline", lambda device: Roofline(1e9, 1e8, 1024, 1 << 26))
    real = card.inference_card(small("gpt2"), VOCABULARY, Measurement(contexts=(8,), batches=(1,)), torch.device("cpu"))
    assert set(synthetic["inference"]) == set(real)
    assert set(synthetic["inference"]["rows"][0]) == set(real["rows"][0])
    assert set(synthetic["inference"]["energy"]) <= set(real["energy"])
    assert set(synthetic["inference"]["flops"]["64"]) <= set(real["flops"]["8"])
    assert set(real["roofline_share"]) == {"8x1"}
    ticks = count()
    phase = [Phase(1.0, lambda: None)]
    lane = training_times(phase, phase, Measurement(groups=1), lambda: None, lambda: None, lambda: float(next(ticks)))
    beside = {"seconds_per_predicted_token", "compile_seconds", "peak_memory_bytes", "baseline_peak_memory_bytes"}
    assert set(synthetic["training"]) - beside <= set(lane)
    assert set(synthetic["training"]["ratio"]) == set(lane["ratio"])


def test_an_interval_of_few_groups_says_how_sure_it_is(suite: SuiteView) -> None:
    study = _study(suite)
    few = [
        replace(variant, measured=copy.deepcopy(variant.measured) if variant.is_baseline else variant.measured)
        for variant in study.variants
    ]
    assert few[0].measured is not None
    few[0].measured["training"]["ratio"]["coverage"] = 0.75
    shown = training(replace(study, variants=few))
    assert shown is not None
    assert shown.headers[4] == "75\u202f% interval"


def test_a_card_says_what_has_no_time_and_why(suite: SuiteView) -> None:
    shown = inference(_study(suite))
    assert shown is not None
    rows = {(row[0], row[1]): dict(zip(shown.headers, row, strict=True)) for row in shown.rows}
    gpt2 = rows["gpt2", "256"]
    assert gpt2["ms per token, batch 1"] == f"{1.256:.2f}"
    assert gpt2["ms per token, batch 8"] == f"{1.256 * 8**0.5:.2f}"
    assert gpt2["prefill ms, batch 1"] == f"{2e-5 * 256 * 1000:.2f}"
    assert gpt2["state bytes, batch 1"] == "262\u202f144"
    assert "peak memory, MiB" not in gpt2  # nobody knows it
    assert rows["conv_attention", "64"]["ms per token, batch 8"] == "–"
    assert rows["conv_attention", "64"]["remark"] == "the network has no step"


def test_the_sources_columns_take_measured_times(suite: SuiteView) -> None:
    gpt2 = sources_rows(_study(suite))[0]
    assert gpt2[6:8] == [1000 * BASE_SECONDS, "true"]
    assert gpt2[10] == pytest.approx(1000 * 2e-5 * 256)


def test_studies_that_differ_in_their_budget_stand_side_by_side(suite: SuiteView, tables: dict) -> None:
    (family,) = families(suite)
    assert [study.budget for study in family] == ["tokens", "flops", "time"]
    rows = {(row["variant"], row["budget"]): row for row in tables["budgets.csv"]}
    assert len(rows) == 9
    for study in family:
        for variant in study.variants:
            row = rows[variant.name, study.budget]
            assert float(row["bits_per_byte"]) == variant.mean
            assert float(row["residual"]) == variant.receipt["met"]["residual"]
            assert abs(float(row["residual"])) < 0.01
    # tokens under equal FLOPs are as the reciprocal of FLOPs per token
    flops = family[1]
    selection = next(variant for variant in flops.variants if variant.name == "selection_transformer")
    assert tokens_ratio(flops, selection) == pytest.approx((1.32e6 + 21e3) / (2.05e6 + 21e3), rel=0.01)
    told = exclusions(family)
    assert told[0].startswith("Under equal tokens the arithmetic is not equal: selection_transformer spends 155")
    assert (
        "selection_transformer spends 155\u202f% of gpt2’s FLOPs on a token, so it sees 0.65 times the tokens"
        in told[1]
    )
    assert "a step of selection_transformer takes 2.6 times as long as one of gpt2, so it sees 0.38 times" in told[2]


def test_each_budget_says_what_it_makes_equal(suite: SuiteView) -> None:
    names = {study.budget: dict(equalities(study)) for study in suite.studies}
    assert "Training tokens" in names["tokens"]
    assert "as gpt2 spends, met within" in names["flops"]["Training FLOPs"]
    assert names["time"]["Training time"].startswith("24.0 s for each run, as gpt2 takes by step times measured alone")


def test_frontiers_are_those_of_the_statistics(suite: SuiteView, tables: dict) -> None:
    study = _study(suite)
    found = {front.cost.name: front for front in fronts(study)}
    assert list(found) == ["flops", "step", "memory", "token"]  # parameters are equal
    values = {variant.name: [run.value for run in variant.runs] for variant in study.variants}
    steps = {"gpt2": 1.0, "selection_transformer": 2.625, "conv_attention": 19 / 24}
    assert found["step"].costs == pytest.approx(steps)
    assert found["step"].places == membership(values, steps)  # type: ignore[arg-type]
    assert set(found["token"].costs) == {"gpt2", "selection_transformer"}  # the third has no step
    shown = frontier_table(study)
    assert shown is not None
    assert [row[-1] for row in shown.rows if row[0] == "conv_attention"] == ["–"]
    assert {row["probability"] for row in tables["pareto.csv"] if row["variant"] == "conv_attention"} == {"1.0"}


def test_pages_and_figures_tell_all_of_it_in_words(suite: SuiteView) -> None:
    study = _study(suite)
    drawn = [draw_fronts(study)[1], *draw_speed(study), sensitivity(study)]
    assert [drawing.group for drawing in drawn] == ["pareto", "speed", "speed", "tuning"]
    assert "selection_transformer best at × 2" in drawn[-1].svg
    assert "on the frontier with probability" in drawn[0].svg
    drawings = {one.name: drawn if one is study else [] for one in suite.studies}
    page, markdown = Page(html_page(suite, drawings, [])), markdown_page(suite, drawings)
    for text in (page.text, markdown):
        assert text.count("Every variant had 4 trials") == 1  # three studies share one search and one lane
        assert text.count("Measured alone on the machine: Some Processor 9000") == 1
        assert "Not measured in this suite" not in text
        assert "indicative" in text  # what was timed while runs shared the machine still says so
    tags = [tag for tag, _ in page.elements]
    assert tags.count("caption") == tags.count("table")
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in page.elements if tag == "th")
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    inner = {(a["href"] or "")[1:] for tag, a in page.elements if tag == "a" and (a["href"] or "").startswith("#")}
    assert inner <= set(ids)


def test_hostile_words_of_a_measured_file_do_nothing(suite: SuiteView) -> None:
    variant = _study(suite).variants[1]
    assert variant.measured is not None
    variant.measured["machine"] |= {"device": HOSTILE}
    page = Page(html_page(suite, {study.name: [] for study in suite.studies}, []))
    assert page.text.count("<script>alert(1)</script>") == 1
    assert not {tag for tag, _ in page.elements} & {"script", "img"}


def test_a_broken_ledger_is_told_and_a_missing_one_leaves_its_part_out(made: tuple[Project, Catalog]) -> None:
    project, catalog = made
    path = project.rates(study_specs(catalog, "laptop", "language")["gpt2"].searched.key)
    path.write_text("{")
    with pytest.raises(UserError, match=r"rates/.*nnn-bench run laptop rates"):
        collect(project, catalog, "laptop")
    for left in (project.results / "rates").rglob("*.json"):
        left.unlink()
    study = _study(collect(project, catalog, "laptop"))
    assert ledgers(study) is None
    assert study.timed
