"""What a report does with audits, growth and far targets: nothing quarantined is ranked, nothing is hidden."""

import csv
import json
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import pytest

from nnn_bench.config.catalog import Catalog
from nnn_bench.config.expansion import audit_key, study_specs
from nnn_bench.config.paths import Project
from nnn_bench.report.build import write_report
from nnn_bench.report.headline import TERMINAL_HEADERS, headline_lines
from nnn_bench.statistics.comparison import read_comparison
from tests.synthetic_runs import AUDITS, Synthetic, make_project, plain
from tests.test_report import Page

NAMES = (
    *("gpt2", "matmul_free", "selection_transformer", "conv_attention", "conv_attention_published"),
    *("progressive_untying", "progressive_doubling", "matmul_free_paper_gate", "conv_attention_deep"),
)
FAILED = ["future_tokens", "future_gradient", "position"]
FAR = {"ahead": 16, "title": "Predicting at a distance", "variants": ["gpt2", "conv_attention_published"]}


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Nine variants, one in quarantine and two that grow, and a second study that predicts 16 tokens ahead."""
    wanted = Synthetic(
        variants=NAMES,
        quarantined={"conv_attention_published": FAILED},
        diverged=frozenset({("progressive_doubling", 1)}),
        studies={"ahead": FAR},
    )
    return _reported(tmp_path_factory.mktemp("crowded"), wanted)


def _reported(root: Path, wanted: Synthetic) -> Project:
    project, catalog = make_project(root, wanted)
    write_report(project, catalog, wanted.suite)
    return project


def _text(project: Project, name: str) -> str:
    return (project.reports / "laptop" / name).read_text(encoding="utf-8")


def _csv(project: Project, name: str, study: str = "language") -> list[dict[str, str]]:
    rows = csv.DictReader(_text(project, f"tables/{name}.csv").splitlines())
    return [row for row in rows if row["study"] == study]


def _section(page: str, study: str, anchor: str) -> str:
    """The HTML of a section, from its heading to the next one of its level."""
    return re.split(r"<h[23]", page.split(f'<h3 id="{study}-{anchor}">')[1])[0]


def _words(project: Project, figure: str) -> list[str]:
    """Every text a figure shows, without its description."""
    root = ElementTree.fromstring(_text(project, f"figures/{figure}.svg"))
    return ["".join(element.itertext()).strip() for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_quarantined_rows_come_last_in_every_headline(crowded: Project) -> None:
    rows = _csv(crowded, "headline")
    assert [row["name"] for row in rows if row["quarantined"] == "true"] == [rows[-1]["name"]] == [NAMES[4]]
    assert (rows[-1]["audit_passed"], rows[-1]["audit_failed"]) == ("false", " ".join(FAILED))
    scores = [float(row["bits_per_byte"]) for row in rows]
    assert scores[:-1] == sorted(scores[:-1])
    assert scores[-1] < scores[0]
    assert {row["quarantined"] for row in rows if row["kind"] == "n-gram"} == {""}
    lines = [line for line in headline_lines(crowded, "laptop") if line[0].startswith("language/")]
    assert [line[TERMINAL_HEADERS.index("audit")] for line in lines][-2:] == ["–", "quarantined"]
    section = _section(_text(crowded, "index.html"), "language", "headline")
    last = section.split("<tr")[-1]
    assert 'class="quarantined"' in last
    assert '<span class="tag bad">quarantined</span>' in last
    assert section.count("quarantined</span>") == 1
    assert section.count('<span class="unseen">passed</span>') == len(NAMES) - 1
    rows_of_markdown = [
        line for line in _text(crowded, "report.md").splitlines() if line.startswith("| conv\\_attention\\_pub")
    ]
    assert rows_of_markdown[0].endswith("| quarantined: future\\_tokens +2 |")


def test_what_is_quarantined_is_shown_and_compared_with_nothing(crowded: Project) -> None:
    held = NAMES[4]
    rows = {row["variant"]: row for row in _csv(crowded, "differences")}
    said = {"study", "variant", "baseline", "verdict", "reason", "margin", "noise_floor"}
    assert {value for key, value in rows[held].items() if key not in said} == {""}
    assert rows[held]["verdict"] == "quarantined" and rows[held]["reason"].startswith("failed the audit: future_tokens")
    assert all(rows[name]["difference"] for name in NAMES[1:] if name != held)
    assert held not in " ".join(_words(crowded, "language-differences"))
    assert set(NAMES[1:]) - {held} <= set(_words(crowded, "language-differences"))
    for figure in ("curve-tokens", "curve-flops", "curve-seconds", "positions", "window"):
        assert f"{held} (quarantined)" in _words(crowded, f"language-{figure}"), figure
    assert {held, "quarantined"} <= set(_words(crowded, "language-placement"))
    page = Page(_text(crowded, "index.html")).text
    assert f"{held} is quarantined and not ranked: it sees the future (future_tokens, future_gradient)" in page
    assert not re.search(rf"{held} (is (better|worse)|cannot be told apart)", page)
    assert f"Left out: {held} (quarantined: future_tokens, future_gradient, position)." in page


def test_a_quarantined_line_says_where_it_went_and_leaves_the_others_their_scale(crowded: Project) -> None:
    row = next(row for row in read_comparison(crowded, "laptop", "language")["variants"] if row["variant"] == NAMES[4])
    ends = []
    for key in row["runs"]:
        record = (crowded.run(key) / "record.jsonl").read_text().splitlines()
        ends.append([r for line in record if (r := json.loads(line))["kind"] == "validation"][-1]["bits_per_byte"])
    words = _words(crowded, "language-curve-tokens")
    assert f"{NAMES[4]} ends at {sum(ends) / len(ends):.3f} ↓" in words
    ticks = [float(word) for word in words if re.fullmatch(r"\d\.\d+", word)]
    assert min(ticks) > row["mean"]


def test_the_cliff_of_a_leak_is_drawn_whole(crowded: Project) -> None:
    row = next(row for row in read_comparison(crowded, "laptop", "language")["variants"] if row["variant"] == NAMES[4])
    losses = [json.loads((crowded.run(key) / "result.json").read_text())["test"]["by_position"] for key in row["runs"]]
    means = [sum(values) / len(values) for values in zip(*losses, strict=True)]
    drawing = _text(crowded, "figures/language-window.svg")
    assert f"{NAMES[4]} (quarantined) {means[32]:.3f} halfway, {means[-1]:.3f} at the end" in drawing
    ticks = [float(word) for word in _words(crowded, "language-window") if re.fullmatch(r"\d\.\d+", word)]
    assert means[-1] - means[32] > 2
    assert max(ticks) - min(ticks) > 1.5


def test_the_table_of_audits_is_what_the_audits_say(crowded: Project) -> None:
    catalog = Catalog(crowded)
    rows = _csv(crowded, "audits")
    for name, spec in study_specs(catalog, "laptop", "language").items():
        for gate in AUDITS:
            audit = json.loads((crowded.results / "audits" / f"{audit_key(spec, gate)}.{gate}.json").read_text())
            shown = [row for row in rows if (row["variant"], row["gate"]) == (name, gate)]
            said = {"true": True, "false": False, "": None}
            assert [(r["test"], said[r["passed"]], r["saw"]) for r in shown] == [
                (finding["test"], finding["passed"], finding["saw"]) for finding in audit["findings"]
            ]
    section = _section(_text(crowded, "index.html"), "language", "audits")
    body = section.split("<tbody>")[1].split("</tbody>")[0]
    marks = [re.findall(r'class="unseen">([^<]+)<', row) for row in body.split("</tr>")[:-1]]
    tests = re.findall(r"<code>([a-z_]+)</code>", body)
    assert tests == [*AUDITS["untrained"], "random_tokens", "position"]
    assert {len(row) for row in marks} == {len(NAMES)}
    assert [test for test, row in zip(tests, marks, strict=True) if "failed" in row] == FAILED
    assert marks[tests.index("growth")].count("passed") == 2
    assert marks[tests.index("unselected")].count("does not apply") == len(NAMES) - 1
    assert section.count("output 12 moved by 3.1e-02") == 5
    assert _text(crowded, "report.md").split("### Growth")[0].count("output 12 moved by 3.1e-02") == 5


def test_growth_is_shown_in_tables_and_on_the_curves(crowded: Project) -> None:
    rows = _csv(crowded, "growth")
    expected = []
    for row in read_comparison(crowded, "laptop", "language")["variants"]:
        for key, seed in zip(row["runs"], row["seeds"], strict=True):
            record = [json.loads(line) for line in (crowded.run(key) / "record.jsonl").read_text().splitlines()]
            names = ("step", "stage", "loss_before", "loss_after")
            expected += [(row["variant"], seed, *(r[name] for name in names)) for r in record if r["kind"] == "growth"]
    assert [
        (r["variant"], int(r["seed"]), int(r["step"]), int(r["stage"]), float(r["loss_before"]), float(r["loss_after"]))
        for r in rows
    ] == expected
    assert {row["variant"] for row in rows} == {"progressive_untying", "progressive_doubling"}
    assert len(rows) == 2 * 3 * 2 - 1  # the seed that diverged had grown once
    section = _section(_text(crowded, "index.html"), "language", "growth")
    assert section.count("<tr>") == 1 + len(rows)
    assert section.count("+2.00\u202f×\u202f10⁻⁷") == 6
    assert 'id="ahead-growth"' not in _text(crowded, "index.html")
    assert "growth" in _words(crowded, "language-curve-tokens")
    assert "growth" not in _words(crowded, "ahead-curve-tokens")


def test_a_study_with_far_targets_is_set_apart(crowded: Project) -> None:
    page = _text(crowded, "index.html")
    near, far = page.split('<h2 id="ahead">')
    note = "never to be set beside next-token losses"
    assert (near.count(note), far.count(note)) == (0, 1)
    assert "16 tokens after the position that predicts them, for networks and n-grams alike" in far
    assert "may see up to 15 of the tokens between, n-grams see none" in far
    assert "No samples: networks that predict 16 tokens ahead have no next token to write." in far
    assert 'id="language-samples"' in near
    assert 'id="ahead-samples"' not in far
    assert "ahead/gpt2\u00a0(+16)" in [line[0] for line in headline_lines(crowded, "laptop")]
    assert "language/gpt2" in [line[0] for line in headline_lines(crowded, "laptop")]
    assert {row["ahead"] for row in _csv(crowded, "headline", "ahead")} == {"16"}
    assert _text(crowded, "report.md").count(note) == 1


def test_several_studies_share_a_page_without_sharing_an_anchor(crowded: Project) -> None:
    page = Page(_text(crowded, "index.html"))
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert [name for name, count in ids.items() if count > 1] == []
    targets = {a["href"][1:] for tag, a in page.elements if tag == "a" and (a["href"] or "").startswith("#")}
    assert targets <= ids.keys()
    assert {"language", "ahead", "language-audits", "ahead-audits"} <= targets


def test_a_quarantined_baseline_is_said_first_and_nothing_is_called_better(tmp_path: Path) -> None:
    project = _reported(tmp_path, plain(quarantined={"gpt2": ["batch_rows"]}))
    text = Page(_text(project, "index.html")).text
    assert (
        "No conclusion. Nothing may be concluded: the baseline gpt2 is quarantined, because it mixes the rows" in text
    )
    assert text.index("Nothing may be concluded") < text.index("gpt2 ends at")
    assert not re.search(r"is (better|worse) by", text)
    assert text.count("no evidence") == 2
    verdicts = {row["variant"]: (row["verdict"], row["reason"]) for row in _csv(project, "differences")}
    held = ("no evidence", "the baseline gpt2 is quarantined")
    assert verdicts == {"matmul_free": held, "selection_transformer": held}


def test_a_study_with_everything_in_quarantine_is_still_a_page(tmp_path: Path) -> None:
    names = ["gpt2", "matmul_free", "selection_transformer"]
    project = _reported(tmp_path, plain(quarantined={name: ["step"] for name in names}))
    assert not (project.reports / "laptop" / "figures" / "language-differences.svg").exists()
    assert len(_csv(project, "differences")) == 2
    assert [row["quarantined"] for row in _csv(project, "headline")][-3:] == ["true"] * 3


@pytest.mark.parametrize("suite", ["smoke", "laptop"])
def test_the_suites_of_this_checkout_make_whole_reports(tmp_path: Path, suite: str) -> None:
    project, catalog = make_project(tmp_path, Synthetic(suite=suite))
    write_report(project, catalog, suite)
    folder = project.reports / suite
    page = Page((folder / "index.html").read_text(encoding="utf-8"))
    for study in catalog.suite(suite).studies:
        with (folder / "tables" / "headline.csv").open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["study"] == study and row["kind"] == "variant"]
        assert sorted(row["name"] for row in rows) == sorted(catalog.study(study).variants)
        assert {f"{study}-{name}" for name in ("headline", "audits", "curves", "limits")} <= {
            attributes.get("id") for _, attributes in page.elements
        }
        assert (folder / "figures" / f"{study}-window.svg").is_file()
