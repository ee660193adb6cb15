"""Sentences, numbers and colours of a report, one by one."""

import math
import re

import pytest

from nnn_bench.report import numbers
from nnn_bench.report.collect import RunView, StudyView, VariantView
from nnn_bench.report.figure_style import themed
from nnn_bench.report.finding import difference_words, finding, warning
from nnn_bench.report.page import TEMPLATES
from nnn_bench.report.tables import markdown_text
from nnn_bench.statistics.records import flat


def _variant(
    name: str, mean: float | None, difference: dict | None, statuses: tuple[str, ...] = ("ok", "ok")
) -> VariantView:
    row = {"mean": mean, "interval": None, "difference": difference, "statuses": list(statuses)}
    runs = [RunView(f"k/{i}", i, status, mean, {}, {}, [], []) for i, status in enumerate(statuses)]
    return VariantView(name, "", "", 0, difference is None, row, runs)


def _difference(low: float | None, high: float | None) -> dict:
    interval = None if low is None or high is None else [low, high]
    return {"mean": ((low or 0.0) + (high or 0.0)) / 2, "interval": interval, "p": 0.01, "seeds": [0, 1]}


def _study(baseline: VariantView, *others: VariantView, conclusive: bool = True) -> StudyView:
    ladder = {"floor_order": 3, "orders": [{"order": 3, "bits_per_byte": 3.0}]}
    comparison = {"ladder": ladder, "conclusive": conclusive, "dataset": "plays", "baseline": baseline.name}
    return StudyView("language", comparison, [baseline, *others])


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (_difference(0.01, 0.2), "worse"),
        (_difference(-0.2, -0.01), "better"),
        (_difference(-0.1, 0.1), "not told apart"),
        (_difference(0.0, 0.1), "not told apart"),
        (_difference(None, None), "one pair"),
        (_difference(None, None) | {"mean": None}, "no pair"),
        (None, "baseline"),
    ],
)
def test_better_and_worse_need_an_interval_without_zero(difference: dict | None, words: str) -> None:
    variant = _variant("x", 2.0, difference)
    study = _study(_variant("gpt2", 2.5, None), variant)
    assert difference_words(study, variant) == words
    study.comparison["conclusive"] = False
    assert difference_words(study, variant) == "no conclusion"


def test_lower_is_better_in_the_sentence_too() -> None:
    study = _study(_variant("gpt2", 2.5, None), _variant("good", 2.3, _difference(-0.25, -0.15)))
    assert "good is better by 0.200 bits per byte (paired 95 % interval [−0.250, −0.150])." in finding(study)
    assert "0.500 below the trigram floor of 3.000" in finding(study)
    assert warning(study) is None


def test_a_variant_above_the_floor_is_said_to_be() -> None:
    study = _study(_variant("gpt2", 2.5, None), _variant("poor", 3.2, _difference(0.6, 0.8)))
    assert "poor is worse by 0.700" in finding(study)
    assert "it does not get below the trigram floor" in finding(study)


@pytest.mark.parametrize(
    ("mean", "conclusive", "said"),
    [
        (2.5, False, "too small for anything else"),
        (3.1, True, "gpt2 does not end below the trigram floor"),
        (None, True, "no run of the baseline gpt2 finished"),
    ],
)
def test_nothing_is_concluded_from_what_proves_nothing(mean: float | None, conclusive: bool, said: str) -> None:
    told = warning(_study(_variant("gpt2", mean, None), conclusive=conclusive))
    assert told is not None
    assert told.startswith("Nothing may be concluded")
    assert said in told


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (numbers.fixed(2.41349), "2.413"),
        (numbers.fixed(-0.5, 1), "−0.5"),
        (numbers.fixed(None), "–"),
        (numbers.fixed(math.nan), "–"),
        (numbers.signed(0.12), "+0.120"),
        (numbers.signed(-0.0001), "0.000"),
        (numbers.interval([1.0, 2.0], 1), "[1.0, 2.0]"),
        (numbers.interval(None), ""),
        (numbers.whole(1507328), "1\u202f507\u202f328"),
        (numbers.power(1.992e12), "1.99\u202f×\u202f10¹²"),
        (numbers.power(9.999e-5), "1.00\u202f×\u202f10⁻⁴"),
        (numbers.power(0), "0"),
        (numbers.probability(0.0004), "< 0.001"),
        (numbers.probability(0.0123), "0.012"),
        (numbers.percent(0.0042), "0.42\u202f%"),
        (numbers.scaled(1_500_000), "1.5\u202fM"),
        (numbers.scaled(250), "250"),
    ],
)
def test_numbers_read_well(shown: str, expected: str) -> None:
    assert shown == expected


def test_markdown_shows_text_as_it_is() -> None:
    assert markdown_text("a|b <i> *x* `y` [z](u)\nnext") == r"a\|b &lt;i&gt; \*x\* \`y\` \[z\](u) next"


def test_flat_names_every_leaf() -> None:
    assert dict(flat({"a": {"b": 1, "c": [1, 2]}, "d": None})) == {"a.b": 1, "a.c": "[1, 2]", "d": None}


def test_a_figure_takes_every_colour_from_the_page() -> None:
    inside = '<path style="fill: {}; stroke: {}"/><rect width="3"/></svg>'
    drawing = '<svg width="1pt" height="2pt" viewBox="0 0 1 2">' + inside.format("#0072b2", "#2a313b")
    assert themed(drawing) == '<svg viewBox="0 0 1 2">' + inside.format("var(--variant-1)", "var(--ink)")


def _palettes() -> list[dict[str, str]]:
    """The custom properties of each `:root` block of the page's style: light, dark, print."""
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", style, flags=re.DOTALL)
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in blocks]


def _luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(first: str, second: str) -> float:
    light, dark = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", _palettes(), ids=["light", "dark", "print"])
def test_everything_can_be_read_in_light_in_dark_and_on_paper(palette: dict[str, str]) -> None:
    """WCAG 2: text 4.5 to 1, lines and dots 3 to 1. Variant colours write names in figures, as bold text."""
    for name in ("ink", "muted", "accent", "bad"):
        assert _contrast(palette[name], palette["card"]) >= 4.5, name
    assert _contrast(palette["warn"], palette["warn-soft"]) >= 4.5
    for place in range(7):
        assert _contrast(palette[f"variant-{place}"], palette["card"]) >= 3, place
