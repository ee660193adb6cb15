"""The page of targets says what was measured, and a reason for whatever was missed."""

from __future__ import annotations

import json

import pytest

from benchmarks.__main__ import BEGIN, END, PAGE, gather, line
from benchmarks.targets import TARGETS, Target, at, quotient

ROWS = [
    {"case": "B 1", "ms": {"ours": 2.0, "loop": 12.0}, "ratio": {"loop": {"median": 6.0}}},
    {"case": "B 2", "ms": {"ours": 3.0, "loop": 12.0}, "ratio": {"loop": {"median": 4.0}}},
]
RESULTS = {"recurrence": {"machine": {"threads": 1}, "rows": ROWS}}


def target(rows, bound, figure=None):
    return Target("speed", "recurrence", rows, figure or at("ratio", "loop", "median"), "at least", bound)


def test_the_worst_of_the_rows_that_count_is_the_figure():
    assert target("B .", 5).measured(RESULTS) == (4.0, "B 2")
    assert target("B 1", 5).measured(RESULTS) == (6.0, "B 1")
    assert target("B .", 5, quotient(("ms", "loop"), ("ms", "ours"))).measured(RESULTS) == (4.0, "B 2")


@pytest.mark.parametrize(
    ("rows", "verdict"), [("B 1", "held"), ("B .", "**missed**"), ("C", "not measured on this machine")]
)
def test_a_line_says_held_missed_or_not_measured(rows, verdict):
    assert line(target(rows, 5), RESULTS).split(" | ")[3] == verdict


def test_what_was_measured_elsewhere_is_left_out(tmp_path):
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    told = {"machine": {"capability": "another", "threads": 1}, "rows": ROWS}
    (tmp_path / "recurrence.json").write_text(json.dumps(told))
    gather(tmp_path, page, "device")
    assert json.loads((tmp_path / "device.json").read_text()) == {"device": "device", "scripts": {}}
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert text.count("not measured on this machine") == len(TARGETS)


def test_every_target_that_is_missed_has_its_reason_on_the_page():
    text = PAGE.read_text()
    table, reasons = text[text.index(BEGIN) : text.index(END)], text[text.index(END) :]
    names = [row.split(" | ")[0].removeprefix("| ") for row in table.splitlines() if "**missed**" in row]
    assert [name for name in names if f"**{name}**" not in reasons] == []
    assert {row.split(" | ")[0].removeprefix("| ") for row in table.splitlines()[4:] if row.startswith("| ")} >= {
        target.name for target in TARGETS
    }
