"""The report of a suite: the numbers are the inputs', the page harms nobody, and nothing is half-written."""

import csv
import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from nnn_bench.config.catalog import Catalog
from nnn_bench.config.errors import UserError
from nnn_bench.config.paths import Project
from nnn_bench.report.build import write_report
from nnn_bench.report.headline import TERMINAL_HEADERS, headline_lines
from nnn_bench.statistics.comparison import read_comparison
from tests.synthetic_runs import Synthetic, make_project, plain

HOSTILE = "</pre></style><script>alert(1)</script><img src=http://127.0.0.1/x onerror=alert(2)> | ``` & \"'"


class Page(HTMLParser):
    """Elements, attributes and texts of an HTML page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Catalog]:
    return _reported(tmp_path_factory.mktemp("laptop"), plain())


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Page:
    wanted = plain(
        suite="smoke",
        prompt=HOSTILE,
        text=HOSTILE,
        summaries={"matmul_free": HOSTILE},
        quarantined={"matmul_free": ["step"]},
        saw=HOSTILE,
    )
    project, _ = _reported(tmp_path_factory.mktemp("hostile"), wanted)
    return _page(project, "smoke")


def _reported(root: Path, wanted: Synthetic) -> tuple[Project, Catalog]:
    project, catalog = make_project(root, wanted)
    assert write_report(project, catalog, wanted.suite) == project.reports / wanted.suite / "index.html"
    return project, catalog


def _page(project: Project, suite: str = "laptop") -> Page:
    return Page((project.reports / suite / "index.html").read_text(encoding="utf-8"))


def _csv(project: Project, name: str, suite: str = "laptop") -> list[dict[str, str]]:
    with (project.reports / suite / "tables" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _result(project: Project, key: str) -> dict:
    return json.loads((project.run(key) / "result.json").read_text())


def test_headline_numbers_are_those_of_the_comparison(laptop: tuple[Project, Catalog]) -> None:
    project, _ = laptop
    comparison = read_comparison(project, "laptop", "language")
    rows = {row["name"]: row for row in _csv(project, "headline")}
    for variant in comparison["variants"]:
        row = rows[variant["variant"]]
        assert float(row["bits_per_byte"]) == variant["mean"]
        assert [float(row["bits_per_byte_low"]), float(row["bits_per_byte_high"])] == variant["interval"]
        assert int(row["body_parameters"]) == variant["receipt"]["parameters"]["body"]
        assert float(row["training_seconds"]) == variant["seconds_mean"]
        losses = [_result(project, key)["test"]["loss"] for key in variant["runs"]]
        assert float(row["nats_per_token"]) == pytest.approx(sum(losses) / 3)
        flops = {_result(project, key)["flops"] for key in variant["runs"]}
        assert float(row["training_flops"]) == pytest.approx(flops.pop())
        assert (row["audit_passed"], row["audit_failed"], row["quarantined"]) == ("true", "", "false")
    for entry in comparison["ladder"]["orders"]:
        assert float(rows[f"{entry['order']}-gram"]["bits_per_byte"]) == entry["bits_per_byte"]
    scores = [float(row["bits_per_byte"]) for row in _csv(project, "headline")]
    assert scores == sorted(scores)


def test_every_other_table_holds_the_inputs(laptop: tuple[Project, Catalog]) -> None:
    project, _ = laptop
    for row in _csv(project, "runs"):
        result = _result(project, row["run"])
        assert float(row["bits_per_byte"]) == result["test"]["bits_per_byte"]
        assert row["fingerprint"] == result["fingerprint"]
    comparison = read_comparison(project, "laptop", "language")
    for row, variant in zip(_csv(project, "differences"), comparison["variants"][1:], strict=True):
        assert float(row["difference"]) == variant["difference"]["mean"]
        assert list(json.loads(row["by_seed"]).values()) == variant["difference"]["values"]
    key = comparison["variants"][1]["runs"][2]
    positions = [r for r in _csv(project, "positions") if (r["variant"], r["seed"]) == ("matmul_free", "2")]
    assert [float(row["nats"]) for row in positions] == _result(project, key)["test"]["by_position"]
    record = [json.loads(line) for line in (project.run(key) / "record.jsonl").read_text().splitlines()]
    curve = [r for r in _csv(project, "curves") if (r["variant"], r["seed"]) == ("matmul_free", "2")]
    expected = [row["bits_per_byte"] for row in record if row["kind"] == "validation"]
    assert [float(row["validation_bits_per_byte"]) for row in curve] == expected
    receipt = {row["field"]: row["value"] for row in _csv(project, "receipts") if row["variant"] == "gpt2"}
    assert receipt["source_sha256"] == comparison["variants"][0]["receipt"]["source_sha256"]


def test_the_page_says_what_was_found(laptop: tuple[Project, Catalog]) -> None:
    project, _ = laptop
    text = _page(project).text
    comparison = read_comparison(project, "laptop", "language")
    gpt2, matmul_free, _ = comparison["variants"]
    assert f"gpt2 ends at {gpt2['mean']:.3f} bits per byte" in text
    assert f"matmul_free is worse by {matmul_free['difference']['mean']:.3f} bits per byte" in text
    assert "selection_transformer is equivalent to gpt2: the paired difference, " in text
    assert "below the trigram floor of 3.060" in text
    assert "No conclusion." not in text
    assert "nnn-bench run laptop matmul_free" in text
    markdown = (project.reports / "laptop" / "report.md").read_text(encoding="utf-8")
    assert "matmul\\_free is worse by" in markdown
    assert all((project.reports / "laptop" / name).is_file() for name in re.findall(r"\((figures/[^)]+)\)", markdown))


def test_the_sources_columns_are_filled_from_the_runs(laptop: tuple[Project, Catalog]) -> None:
    project, _ = laptop
    markdown = (project.reports / "laptop" / "report.md").read_text(encoding="utf-8")
    rows = [line for line in markdown.split("### In the sources' columns")[1].splitlines() if line.startswith("| gpt2")]
    cells = [cell.strip() for cell in rows[0].strip("|").split("|")]
    runs = read_comparison(project, "laptop", "language")["variants"][0]["runs"]
    results = [_result(project, key) for key in runs]
    receipt, scored = results[0]["receipt"], results[0]["test"]["tokens"]
    batch, context, steps = (receipt[name] for name in ("batch", "context", "steps"))
    assert cells[:5] == ["gpt2", "4", "64", str(batch), str(context)]
    assert int("".join(filter(str.isdecimal, cells[5]))) == steps
    assert float(cells[6]) == pytest.approx(1000 * sum(result["seconds"] for result in results) / 3 / steps, abs=0.05)
    assert cells[8:10] == [str(math.ceil(scored / (batch * context))), "not measured"]
    for text in (markdown, _page(project).text):
        assert "test batches (computed)" in text
        assert "Test batches are computed, not counted: test tokens / (batch × context), rounded up." in text


def test_receipts_name_the_seeds_and_the_environment(laptop: tuple[Project, Catalog]) -> None:
    project, _ = laptop
    markdown = (project.reports / "laptop" / "report.md").read_text(encoding="utf-8")
    receipts = markdown.split("### Receipts")[1].split("### Samples")[0].split("\n**")[1:]
    assert len(receipts) == 3
    for receipt in receipts:
        assert "- seeds: 0, 1, 2\n" in receipt
        assert "- environment.device: cpu\n" in receipt
        assert "- environment.libraries.torch: 2.13.0\n" in receipt
    fields = [text for text in _page(project).texts if text == "environment.libraries.torch"]
    assert len(fields) == 3
    assert "- libraries.torch: 2.13.0\n" in markdown.split("### Environment")[1]


def test_nothing_is_loaded_from_anywhere(laptop: tuple[Project, Catalog], hostile: Page) -> None:
    for page in (_page(laptop[0]), hostile):
        policies = [a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
        assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]
        assert not {tag for tag, _ in page.elements} & {"script", "link", "img", "iframe", "object", "embed", "base"}
        for tag, attributes in page.elements:
            assert "src" not in attributes, tag
            assert not [name for name in attributes if name.startswith("on")]
            target = attributes.get("href") or attributes.get("xlink:href") or ""
            assert not re.match(r"[a-z]+:|//", target), target
    source = (laptop[0].reports / "laptop" / "index.html").read_text()
    assert "@import" not in source
    assert not re.search(r"url\((?!#)", source)


def test_hostile_texts_are_shown_and_do_nothing(hostile: Page) -> None:
    assert hostile.text.count("<script>alert(1)</script>") >= 5
    assert [tag for tag, _ in hostile.elements].count("style") == 1 + [t for t, _ in hostile.elements].count("svg")


def test_hostile_texts_keep_markdown_whole(tmp_path: Path) -> None:
    wanted = plain(suite="smoke", prompt=HOSTILE, text=HOSTILE, summaries={"gpt2": HOSTILE}, saw=HOSTILE)
    project, _ = _reported(tmp_path, replace(wanted, quarantined={"matmul_free": ["step"]}))
    lines = (project.reports / "smoke" / "report.md").read_text(encoding="utf-8").splitlines()
    fence, outside = "", []
    for line in lines:
        ticks = re.match(r"(`{3,})(text)?$", line)
        if ticks and not fence:
            fence = ticks[1]
        elif ticks and ticks[1] == fence:
            fence = ""
        elif not fence:
            outside.append(line)
    assert fence == ""
    assert not [line for line in outside if "<script" in line]
    assert len([line for line in outside if "&lt;script&gt;" in line]) >= 3


def test_the_page_is_sound_for_people_who_do_not_see_it(laptop: tuple[Project, Catalog]) -> None:
    page = _page(laptop[0])
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert [name for name, count in ids.items() if count > 1] == []
    for tag, attributes in page.elements:
        target = attributes.get("href") or ""
        named = [target[1:]] if target.startswith("#") else []
        named += (attributes.get("aria-labelledby") or "").split()
        assert set(named) <= ids.keys(), (tag, named)
        if tag == "svg":
            assert attributes["role"] == "img"
        if tag == "table":
            assert page.elements[page.elements.index((tag, attributes)) - 1][1].get("tabindex") == "0"
    tags = [tag for tag, _ in page.elements]
    assert tags.count("desc") == tags.count("svg") == 10
    assert page.elements[tags.index("html")][1]["lang"] == "en"
    levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_links_to_files_lead_to_files(laptop: tuple[Project, Catalog]) -> None:
    project, _ = laptop
    targets = [a["href"] for tag, a in _page(project).elements if tag == "a" and not a["href"].startswith("#")]
    assert len(targets) == 13
    assert all((project.reports / "laptop" / target).is_file() for target in targets)


def test_writing_it_again_gives_the_same_bytes(tmp_path: Path) -> None:
    project, catalog = _reported(tmp_path, plain(suite="smoke"))
    folder = project.reports / "smoke"
    before = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    write_report(project, catalog, "smoke")
    assert {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert {path.suffix for path in before} == {".html", ".md", ".csv", ".svg"}
    assert sorted(path.name for path in project.reports.iterdir()) == [".smoke.lock", "smoke"]


def test_figures_are_whole_svg_files_without_scripts(laptop: tuple[Project, Catalog]) -> None:
    files = sorted((laptop[0].reports / "laptop" / "figures").glob("*.svg"))
    assert len(files) == 10
    for path in files:
        root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
        tags = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert root.tag.endswith("svg")
        assert {"title", "desc", "text"} <= tags
        assert not tags & {"script", "foreignObject", "image", "metadata"}


def test_a_diverged_seed_is_shown_everywhere(tmp_path: Path) -> None:
    project, _ = _reported(tmp_path, plain(diverged=frozenset({("matmul_free", 1)})))
    page = _page(project)
    assert "1 diverged" in page.text
    assert "1 of its 3 seeds diverged" in page.text
    assert "1 of 3 pairs missing" in page.text
    assert [row["status"] for row in _csv(project, "runs") if row["variant"] == "matmul_free"] == [
        "ok",
        "diverged",
        "ok",
    ]
    assert [row["missing_pairs"] for row in _csv(project, "differences")] == ["1", "0"]
    seeds = TERMINAL_HEADERS.index("seeds")
    assert [line[seeds] for line in headline_lines(project, "laptop") if line[0] == "matmul_free"] == ["2/3"]


def test_a_variant_that_never_finishes_is_a_row_and_comes_last(tmp_path: Path) -> None:
    project, _ = _reported(tmp_path, plain(suite="smoke", diverged=frozenset({("gpt2", 0), ("gpt2", 1)})))
    assert _csv(project, "headline", "smoke")[-1]["name"] == "gpt2"
    text = _page(project, "smoke").text
    assert "all 2 seeds diverged" in text
    assert "has no seed that can be paired with gpt2" in text


def test_one_seed_has_no_interval_and_says_so(tmp_path: Path) -> None:
    project, _ = _reported(tmp_path, plain(seeds=1))
    assert {row["bits_per_byte_low"] for row in _csv(project, "headline")} == {""}
    assert "at the one seed that can be paired, which says nothing about chance" in _page(project).text


def test_a_suite_that_concludes_nothing_says_so_first(tmp_path: Path) -> None:
    project, _ = _reported(tmp_path, plain(suite="smoke"))
    text = _page(project, "smoke").text
    assert text.index("Nothing may be concluded") < text.index("gpt2 ends at")


def test_a_missing_run_is_told_and_the_old_report_stays(tmp_path: Path) -> None:
    project, catalog = _reported(tmp_path, plain(suite="smoke"))
    before = (project.reports / "smoke" / "index.html").read_bytes()
    key = read_comparison(project, "smoke", "language")["variants"][1]["runs"][0]
    (project.run(key) / "result.json").unlink()
    with pytest.raises(UserError, match=r"result.json: is missing; make it with `nnn-bench run smoke matmul_free`"):
        write_report(project, catalog, "smoke")
    assert (project.reports / "smoke" / "index.html").read_bytes() == before


def test_a_missing_comparison_and_a_missing_report_are_told(tmp_path: Path) -> None:
    project, catalog = make_project(tmp_path, plain(suite="smoke"))
    with pytest.raises(UserError, match=r"headline.csv: is missing; make it with `nnn-bench run smoke`"):
        headline_lines(project, "smoke")
    (project.results / "comparisons" / "smoke" / "language.json").unlink()
    with pytest.raises(
        UserError, match=r"comparisons/smoke/language.json: is missing; make it with `nnn-bench run smoke`"
    ):
        write_report(project, catalog, "smoke")
    assert not project.reports.exists()


def test_a_report_that_cannot_be_moved_in_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, catalog = _reported(tmp_path, plain(suite="smoke"))
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name.endswith(".new"):
            raise OSError("no room")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="no room"):
        write_report(project, catalog, "smoke")
    assert (project.reports / "smoke" / "index.html").is_file()


def test_headline_at_the_terminal_needs_no_heavy_library(laptop: tuple[Project, Catalog]) -> None:
    program = (
        "import sys; from pathlib import Path; from nnn_bench.config.paths import Project\n"
        "from nnn_bench.report.headline import headline_lines\n"
        f"lines = headline_lines(Project(Path({str(laptop[0].root)!r})), 'laptop')\n"
        "print(len(lines), {'pandas', 'numpy', 'scipy', 'matplotlib', 'jinja2', 'torch', 'mlflow'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert answer.strip() == "10 set()"
    lines = headline_lines(laptop[0], "laptop")
    assert lines[0] == TERMINAL_HEADERS
    assert all(len(line) == len(TERMINAL_HEADERS) for line in lines)
    assert sorted(line[0] for line in lines[1:4]) == ["gpt2", "matmul_free", "selection_transformer"]
