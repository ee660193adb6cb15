"""What is to be shown of a run, before any tracker is asked."""

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest

from nnn_bench.config.errors import UserError
from nnn_bench.statistics.comparison import read_comparison
from nnn_bench.tracking.publication import (
    LONGEST_KEY,
    LONGEST_PARAMETER,
    POINTS_PER_CURVE,
    Point,
    run_publication,
    thin,
)
from tests.synthetic_runs import Synthetic, make_project, plain


def _one(root: Path, wanted: Synthetic | None = None, **changes: object):
    """The publication of gpt2's first run, its result changed as asked."""
    project, _ = make_project(root, wanted or plain(suite="smoke"))
    row = read_comparison(project, "smoke", "language")["variants"][0]
    key = row["runs"][0]
    path = project.run(key) / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return run_publication(project, "smoke", "language", key, "parent", row["audit"])


@pytest.mark.parametrize("count", [1, 199, 200, 201, 1000, 12345])
def test_thinning_keeps_both_ends_and_the_order(count: int) -> None:
    points = [Point("loss", float(i), i, i) for i in range(count)]
    kept = thin(points)
    assert len(kept) == min(count, POINTS_PER_CURVE)
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    steps = [point.step for point in kept]
    assert steps == sorted(set(steps))
    gaps = {b - a for a, b in pairwise(steps)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_the_same_files_give_the_same_publication(tmp_path: Path) -> None:
    assert _one(tmp_path / "a") == _one(tmp_path / "b")


def test_any_change_of_the_files_changes_the_content(tmp_path: Path) -> None:
    assert _one(tmp_path / "a").content != _one(tmp_path / "b", fingerprint="0" * 64).content


def test_the_audit_is_told_and_changes_the_content(tmp_path: Path) -> None:
    passed = _one(tmp_path / "a")
    failed = _one(tmp_path / "b", plain(suite="smoke", quarantined={"gpt2": ["step", "position"]}))
    assert (passed.tags["nnn.audit"], passed.tags["nnn.quarantined"]) == ("passed", "false")
    assert (failed.tags["nnn.audit"], failed.tags["nnn.quarantined"]) == ("failed: step, position", "true")
    assert passed.content != failed.content


def test_growth_is_a_curve(tmp_path: Path) -> None:
    found = _one(tmp_path, plain(suite="smoke", growing=frozenset({"gpt2"})))
    key = next(iter((tmp_path / "results" / "runs" / "shakespeare").glob("gpt2-*"))) / "s0" / "record.jsonl"
    rows = [json.loads(line) for line in key.read_text().splitlines()]
    rows = [row for row in rows if row["kind"] == "growth"]
    assert [row["stage"] for row in rows] == [1, 2]
    for name, of_row in (
        ("growth/stage", lambda row: row["stage"]),
        ("growth/loss_change", lambda row: row["loss_after"] - row["loss_before"]),
    ):
        shown = [(point.step, point.value, point.timestamp) for point in found.points if point.key == name]
        assert shown == [(row["step"], of_row(row), round(row["time"] * 1000)) for row in rows]


def test_a_growth_whose_loss_was_no_number_still_shows_its_stage(tmp_path: Path) -> None:
    project, _ = make_project(tmp_path, plain(suite="smoke", growing=frozenset({"gpt2"})))
    row = read_comparison(project, "smoke", "language")["variants"][0]
    record = project.run(row["runs"][0]) / "record.jsonl"
    rows = [json.loads(line) for line in record.read_text().splitlines()]
    rows = [line | {"loss_after": None} if line["kind"] == "growth" else line for line in rows]
    record.write_text("".join(json.dumps(line) + "\n" for line in rows))
    found = run_publication(project, "smoke", "language", row["runs"][0], "parent", row["audit"])
    keys = [point.key for point in found.points]
    assert keys.count("growth/stage") == 2
    assert "growth/loss_change" not in keys


def test_a_number_that_is_missing_is_not_shown(tmp_path: Path) -> None:
    found = _one(tmp_path, test={"loss": 2.0, "all_positions_loss": None}).points
    assert {p.key: p.value for p in found if p.key.startswith("test/")} == {"test/loss": 2.0}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_refused(tmp_path: Path, number: float) -> None:
    with pytest.raises(UserError, match=r"result.json: cannot be read \(-?(NaN|Infinity) is not JSON\)"):
        _one(tmp_path, test={"loss": number})


def test_the_library_is_told_as_a_tag(tmp_path: Path) -> None:
    assert _one(tmp_path).tags["nnn.torch"] == "2.13.0"


def test_long_and_strange_texts_fit_into_the_tracker(tmp_path: Path) -> None:
    receipt = json.loads(json.dumps(_one(tmp_path / "a").texts["config.json"]))
    receipt = json.loads(receipt)["receipt"]
    receipt["knobs"] = {"k" * 400: "v" * 9000, "a<b>c": 1}
    found = _one(tmp_path / "b", receipt=receipt).parameters
    assert found["knobs.a_b_c"] == "1"
    assert max(len(key) for key in found) <= LONGEST_KEY
    assert max(len(value) for value in found.values()) == LONGEST_PARAMETER


def test_the_limits_are_the_trackers(monkeypatch: pytest.MonkeyPatch) -> None:
    from nnn_bench.tracking.store import quiet

    quiet()
    from mlflow.utils import validation

    from nnn_bench.tracking import mirror, publication

    assert publication.LONGEST_KEY <= validation.MAX_ENTITY_KEY_LENGTH
    assert publication.LONGEST_PARAMETER <= validation.MAX_PARAM_VAL_LENGTH
    assert publication.LONGEST_TAG <= validation.MAX_TAG_VAL_LENGTH
    assert mirror.METRICS_PER_BATCH <= validation.MAX_METRICS_PER_BATCH
    assert mirror.PARAMETERS_PER_BATCH <= validation.MAX_PARAMS_TAGS_PER_BATCH
