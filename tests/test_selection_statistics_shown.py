"""What MLflow and the report show of selections, and what MLflow shows of times and learning rates."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from nnn_bench.config.catalog import Catalog
from nnn_bench.config.errors import UserError
from nnn_bench.config.expansion import Search, measured_key, study_specs
from nnn_bench.config.files import write_json
from nnn_bench.config.paths import Project
from nnn_bench.config.schema import RateSearch
from nnn_bench.report.collect import RunView, StudyView, VariantView
from nnn_bench.report.figure_selection import entropies
from nnn_bench.report.heat_map import Colors
from nnn_bench.report.selection_view import selection_view, short_names
from nnn_bench.tracking.measurements import measured_values, rate_values, variant_measurements
from nnn_bench.tracking.publication import Publication, variant_publication
from nnn_bench.tracking.selection_curves import selection_values

LEDGER = {
    "trials": [{"factor": 0.5}, {"factor": 1.0}, {"factor": 2.0}],
    "chosen": {"factor": 2.0, "learning_rate": 6e-3},
    "at_edge": True,
}
MEASURED: dict[str, Any] = {
    "training": {
        "step_seconds": 0.02,
        "ratio": {"median": 1.5, "interval": [1.4, 1.7]},
        "seconds_per_predicted_token": 4e-5,
        "peak_memory_bytes": 1_000_000,
        "compile_seconds": None,
    },
    "inference": {
        "rows": [
            {
                "context": 64,
                "batch": 8,
                "prefill_seconds": 0.25,
                "token_seconds": None,
                "recomputed_token_seconds": 0.125,
                "state_bytes": 512,
            }
        ],
        "packed_bits_per_weight": 1.75,
        "energy": {"joules_per_token": 0.5},
    },
}
SHOWN = {
    "time/ms_per_step": 20.0,
    "time/microseconds_per_predicted_token": 40.0,
    "time/ratio_to_baseline": 1.5,
    "time/ratio_to_baseline_low": 1.4,
    "time/ratio_to_baseline_high": 1.7,
    "time/compile_seconds": None,
    "memory/peak_bytes": 1_000_000,
    "inference/packed_bits_per_weight": 1.75,
    "inference/joules_per_token": 0.5,
    "inference/prefill_ms_T64_B8": 250.0,
    "inference/ms_per_token_T64_B8": None,
    "inference/recomputed_ms_per_token_T64_B8": 125.0,
    "inference/state_bytes_T64_B8": 512,
}
RATES = {"rates/trials": 3, "rates/chosen_factor": 2.0, "rates/chosen_learning_rate": 6e-3, "rates/at_edge": 1.0}


def told(first: float, *, gradients: tuple[float, float] = (0.5, 0.25), sample: float = 0.5) -> dict[str, Any]:
    """Statistics of a layer with two computations."""
    return {
        "frequency": [first, 1 - first],
        "aggregate_entropy": 0.9 * math.log(2),
        "sample_entropy": sample * math.log(2),
        "maximum_entropy": math.log(2),
        "cosine": {"whole": 0.25, "rows": 0.75},
        "gradient_norm": {"computations": list(gradients), "selector": 0.125},
    }


def view_of(name: str, *runs: list[dict[str, Any]]) -> VariantView:
    made = [
        RunView(
            f"{name}/s{seed}",
            seed,
            "ok",
            1.0,
            {},
            {},
            [],
            [{"tokens": 1000 * (i + 1)} | row for i, row in enumerate(rows)],
            [],
        )
        for seed, rows in enumerate(runs)
    ]
    return VariantView(name, "-", "-", 1, False, {"quarantined": False}, made)


def test_curves_of_layers_of_their_mean_and_of_all() -> None:
    row = {
        "selection": {"a.up": told(0.25), "a.down": told(0.5, gradients=(0.5, 0.0))},
        "swap_rises": {"all": 2.0, "a.up": 0.5},
    }
    found = {f"{layer}/{name}": value for layer, name, value in selection_values(row)}
    names = {"aggregate_entropy", "sample_entropy", "maximum_entropy", "least_frequency", "largest_frequency"}
    names |= {"least_gradient_norm", "largest_gradient_norm", "selector_gradient_norm", "cosine_whole", "cosine_rows"}
    rises = {"mean/swap_rise", "all/swap_rise", "a.up/swap_rise", "a.down/swap_rise"}
    assert set(found) == {f"{layer}/{name}" for layer in ("a.up", "a.down", "mean") for name in names} | rises
    assert (found["a.up/least_frequency"], found["a.up/largest_frequency"]) == (0.25, 0.75)
    assert (found["a.down/least_gradient_norm"], found["mean/least_gradient_norm"]) == (0.0, 0.125)
    assert (found["a.up/cosine_rows"], found["a.up/selector_gradient_norm"]) == (0.75, 0.125)
    assert (found["a.down/swap_rise"], found["mean/swap_rise"], found["all/swap_rise"]) == (None, 0.5, 2.0)
    assert list(selection_values({"kind": "validation"})) == []


def test_what_was_measured_and_searched_has_these_keys() -> None:
    assert measured_values(MEASURED) == pytest.approx(SHOWN)
    without = {key: value for key, value in SHOWN.items() if not key.startswith("inference/")}
    bare = measured_values(MEASURED | {"inference": None})
    assert {key: value for key, value in bare.items() if value is not None} == pytest.approx(
        {key: value for key, value in without.items() if value is not None}
    )
    assert rate_values(LEDGER) == RATES


def test_measurements_are_found_where_the_plan_of_the_runs_looks_for_them(tmp_path) -> None:
    project, catalog = Project(tmp_path), Catalog(Project.find())
    specs = study_specs(catalog, "laptop", "language")
    search = Search("laptop", RateSearch())
    plain = {name: replace(specs[name], search=search) for name in ("gpt2", "selection_transformer")}
    base = plain["gpt2"]
    own = replace(plain["selection_transformer"], budget="time", anchor=base)
    keys = []
    for spec in (own, base):
        keys.append(f"{spec.key}/s0")
        write_json(project.run(keys[-1]) / "config.json", {"settings": spec.settings})
    assert variant_measurements(project, "laptop", *keys) == {}
    write_json(project.measured(measured_key(own, base)), MEASURED)
    write_json(project.rates(own.searched.key), LEDGER)
    assert variant_measurements(project, "laptop", *keys) == pytest.approx(SHOWN | RATES)
    project.rates(own.searched.key).write_text("{")
    with pytest.raises(UserError, match=r"rates/.*json: cannot be read .*nnn-bench run laptop rates"):
        variant_measurements(project, "laptop", *keys)


def test_the_parent_shows_measurements_and_the_verdict() -> None:
    row = {
        "variant": "v",
        "summary": "s",
        "mean": 2.0,
        "standard_deviation": None,
        "interval": None,
        "difference": None,
        "statuses": ["ok"],
        "seeds": [0],
        "seconds_mean": 3.0,
        "audit": {"passed": True, "failed": []},
        "receipt": {},
        "verdict": "better",
    }
    comparison = {
        "suite": "x",
        "study": "y",
        "baseline": "gpt2",
        "budget": "tokens",
        "conclusive": True,
        "question": "?",
    }
    child = Publication("k", "run", "n", "c", started=5, ended=9, finished=True)
    found = variant_publication(comparison, row, [child], SHOWN)
    points = {point.key: point.value for point in found.points}
    assert points["time/ms_per_step"] == 20.0 and points["time/seconds"] == 3.0
    assert {key for key in points if key.startswith("inference/")} == {
        key for key, value in SHOWN.items() if key.startswith("inference/") and value is not None
    }
    assert found.tags["nnn.verdict"] == "better" and "nnn.reason" not in found.tags
    assert found.content != variant_publication(comparison, row, [child], {}).content


def test_a_view_is_the_mean_over_seeds_and_blank_where_nothing_chose_yet() -> None:
    end = {"swap_rises": {"all": 3.0, "blocks.0.m.up": 1.0}}
    first = [{}, {"selection": {"blocks.0.m.up": told(0.2, sample=0.2)}} | end]
    second = [{}, {"selection": {"blocks.0.m.up": told(0.4, gradients=(1.0, 0.75), sample=0.4)}} | end]
    view = selection_view(view_of("v", first, second))
    assert view is not None
    assert (view.layers, view.tokens, view.computations) == (["blocks.0.m.up"], [1000, 2000], [2])
    assert view.maximum == "ln 2 = 0.693"
    for grid, value in (
        (view.aggregate, 0.9),
        (view.sample, 0.3),
        (view.least_gradient, 0.5),
        (view.largest_gradient, 0.75),
        (view.selector_gradient, 0.125),
    ):
        assert math.isnan(grid[0, 0]) and grid[0, 1] == pytest.approx(value)
    assert view.frequency == pytest.approx(np.array([[0.3, 0.7]]))
    assert view.rises == {"all": 3.0, "blocks.0.m.up": 1.0}
    assert selection_view(view_of("v", [{}])) is None and selection_view(view_of("v")) is None


def test_names_of_layers_are_short_where_that_tells_them_apart() -> None:
    assert short_names(["blocks.0.m.up", "blocks.0.m.down", "head"]) == ["0 up", "0 down", "head"]
    assert short_names(["blocks.0.m.out", "blocks.0.n.out"]) == ["0 m out", "0 n out"]


def test_numbers_in_cells_stand_out_from_their_colours() -> None:
    colors = Colors((0, 0.5, 1), "cividis")
    assert colors.ink(0.1) != colors.ink(0.9)
    for value in (0.1, 0.9):
        ink = np.array([int(colors.ink(value)[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        cell = np.array(colors.map(colors.norm(value))[:3])
        assert _contrast(ink, cell) > 4.5


def _contrast(one: np.ndarray, other: np.ndarray) -> float:
    """Of two colours in sRGB (Web Content Accessibility Guidelines 2)."""
    linear = [np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) for c in (one, other)]
    low, high = sorted(float(c @ [0.2126, 0.7152, 0.0722]) for c in linear)
    return (high + 0.05) / (low + 0.05)


def test_the_heat_maps_say_what_they_show() -> None:
    layers = {f"blocks.{i}.m.up": told(0.25 + 0.5 * i, gradients=(0.5, 0.0)) for i in range(2)}
    rises = {"all": 3.25, "blocks.0.m.up": 1.5, "blocks.1.m.up": -0.001}
    many = told(0.5) | {"frequency": [0.1] * 10, "maximum_entropy": math.log(10)}
    variants = [
        view_of("plain", [{}]),
        view_of("two", [{"selection": layers}, {"selection": layers, "swap_rises": rises}]),
        view_of("many", [{"selection": {"map": many}}, {"selection": {"map": many}}]),
    ]
    drawings = {drawing.name: drawing for drawing in entropies(StudyView("s", {}, variants, []))}
    assert list(drawings) == ["s-entropies", "s-choices", "s-gradients"]
    texts = {name: _texts(drawing.svg) for name, drawing in drawings.items()}
    assert {"two · maximum ln 2 = 0.693 nats", "many · maximum ln 10 = 2.303 nats"} <= set(texts["s-entropies"])
    assert texts["s-entropies"].count("0.50") == 2 and texts["s-entropies"].count("0.90") == 2
    assert {"two · exchanging all costs 3.25 nats", "1.50", "0.00", "25", "75"} <= set(texts["s-choices"])
    assert "exchanging one layer raises the loss by at most 1.50 nats, in blocks.0.m.up" in drawings["s-choices"].svg
    assert "two: least 0, largest 0.5, selector 0.12" in drawings["s-gradients"].svg
    assert entropies(StudyView("s", {}, variants[:1], [])) == []


def _texts(svg: str) -> list[str]:
    """All texts of a drawing, which holds no pictures and says what it is."""
    root = ElementTree.fromstring(svg)
    tags = [element.tag.rpartition("}")[2] for element in root.iter()]
    assert {"title", "desc"} <= set(tags) and not {"image", "script"} & set(tags)
    return [element.text or "" for element in root.iter() if element.tag.endswith("}text")]
