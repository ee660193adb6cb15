"""What a report says of weights: the loss when few are kept, and the values of ternary ones."""

from __future__ import annotations

import re

import pytest

from nnn_bench.report.build import write_report
from nnn_bench.report.collect import collect
from nnn_bench.report.weights import density, occupancy
from tests.synthetic_runs import Synthetic, make_project

FIRST = ("gpt2", "matmul_free", "selection_transformer")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("weights"), Synthetic(seeds=3, variants=FIRST, studies={}))


def test_tables_hold_means_over_seeds(made):
    [study] = collect(*made, "laptop").studies
    kept = density(study)
    assert kept.headers == ["variant", "all weights, nats", "largest 50%", "largest 10%"]
    assert kept.rows == [["selection_transformer", "2.000", "+0.260", "+1.000"]]
    values = occupancy(study)
    assert [row[0] for row in values.rows] == ["matmul_free"]
    assert values.rows[0][2:] == ["25.0", "31.0", "44.0", "20.0 to 42.0", "1.500"]


def test_both_pages_show_them(made):
    project, catalog = made
    write_report(project, catalog, "laptop")
    page = (project.reports / "laptop" / "index.html").read_text(encoding="utf-8")
    section = re.search(r'id="language-weights".*?<h3', page, re.DOTALL).group()
    assert "+0.260" in section and "20.0 to 42.0" in section
    text = (project.reports / "laptop" / "report.md").read_text(encoding="utf-8")
    assert "### Weights kept at inference" in text and "### Ternary weights" in text
