"""Sentences, numbers and colours of a report, one by one."""

import math
import re

import numpy as np
import pytest

from nnn_bench.report import numbers
from nnn_bench.report.audits import audit_rows
from nnn_bench.report.collect import RunView, StudyView, VariantView
from nnn_bench.report.figure_style import themed, variant_line
from nnn_bench.report.figures import along
from nnn_bench.report.finding import findings, warning
from nnn_bench.report.page import TEMPLATES
from nnn_bench.report.shown import markdown_text
from nnn_bench.report.target import target_equalities, target_note, target_title
from nnn_bench.report.verdicts import verdict_words
from nnn_bench.statistics.records import flat
from nnn_bench.statistics.verdict import verdict


def _variant(
    name: str,
    mean: float | None,
    difference: dict | None,
    statuses: tuple[str, ...] = ("ok", "ok"),
    failed: tuple[str, ...] = (),
) -> VariantView:
    findings = [{"gate": "untrained", "test": test, "passed": False, "saw": "it"} for test in failed]
    row = {"mean": mean, "interval": None, "difference": difference, "statuses": list(statuses)}
    row |= {"quarantined": bool(failed), "audit": {"passed": not failed, "failed": list(failed), "findings": findings}}
    found = verdict({**row, "matched": True}, baseline=difference is None)
    row |= {"verdict": found.word, "reason": found.reason}
    runs = [RunView(f"k/{i}", i, status, mean, {}, {}, [], [], []) for i, status in enumerate(statuses)]
    return VariantView(name, "", "", 0, name == "gpt2", row, runs)


def _difference(low: float | None, high: float | None) -> dict:
    interval = None if low is None or high is None else [low, high]
    decides = interval is not None and (interval[0] > 0 or interval[1] < 0)
    p, seeds = (None, [0]) if interval is None else (0.01 if decides else 0.4, [0, 1])
    found = {"mean": ((low or 0.0) + (high or 0.0)) / 2, "interval": interval, "p": p, "p_holm": p, "seeds": seeds}
    found |= {
        "equivalence": {"margin": 0.024, "p": 0.6, "p_holm": 0.6},
        "seeds_needed": 14,
        "values": [0.0] * len(seeds),
    }
    return found


def _study(
    baseline: VariantView, *others: VariantView, conclusive: bool = True, ahead: int = 1, objective: str = "next"
) -> StudyView:
    ladder = {"floor_order": 3, "orders": [{"order": 3, "bits_per_byte": 3.0}]}
    comparison = {"ladder": ladder, "conclusive": conclusive, "dataset": "plays", "baseline": baseline.name}
    comparison |= {"ahead": ahead, "objective": objective, "budget": "tokens"}
    return StudyView("language", comparison, [baseline, *others], [])


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (_difference(0.01, 0.2), "worse"),
        (_difference(-0.2, -0.01), "better"),
        (_difference(-0.1, 0.1), "no evidence"),
        (_difference(-0.1, 0.1) | {"equivalence": {"margin": 0.2, "p": 0.01, "p_holm": 0.01}}, "equivalent"),
        (_difference(0.01, 0.2) | {"p_holm": 0.06}, "no evidence"),
        (_difference(None, None), "no evidence"),
        (None, "baseline"),
    ],
)
def test_the_verdict_is_that_of_the_comparison(difference: dict | None, words: str) -> None:
    variant = _variant("gpt2" if difference is None else "x", 2.0, difference)
    assert verdict_words(variant) == words


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        (
            _difference(-0.1, 0.1),
            "no evidence that x differs from gpt2, nor that it is equivalent (paired difference 0.000 [−0.100, +0.100], "
            "Holm p 0.400); a difference of this size asks for 14 seeds.",
        ),
        (
            _difference(-0.1, 0.1) | {"equivalence": {"margin": 0.2, "p": 0.01, "p_holm": 0.01}},
            "x is equivalent to gpt2: the paired difference, 0.000 [−0.100, +0.100], is within the margin of 0.200.",
        ),
        (
            _difference(0.01, 0.03) | {"equivalence": {"margin": 0.2, "p": 0.01, "p_holm": 0.01}},
            "x is worse by 0.020 bits per byte (paired 95 % interval [+0.010, +0.030], Holm p 0.010), "
            "yet within the margin of 0.200.",
        ),
    ],
)
def test_a_verdict_is_a_sentence(difference: dict, said: str) -> None:
    assert findings(_study(_variant("gpt2", 2.5, None), _variant("x", 2.5, difference)))[1] == said


def test_a_lost_seed_is_said_before_any_difference() -> None:
    lost = _variant("x", 2.6, _difference(0.1, 0.2), statuses=("ok", "ok", "diverged"))
    told = findings(_study(_variant("gpt2", 2.5, None), lost))[1]
    assert (
        told
        == "x is unstable: 1 of its 3 seeds diverged; over the others it differs from gpt2 by +0.150 [+0.100, +0.200]."
    )


def test_lower_is_better_in_the_sentence_too() -> None:
    study = _study(_variant("gpt2", 2.5, None), _variant("good", 2.3, _difference(-0.25, -0.15)))
    assert "good is better by 0.200 bits per byte (paired 95 % interval [−0.250, −0.150], Holm p 0.010)." in " ".join(
        findings(study)
    )
    assert "0.500 below the trigram floor of 3.000" in " ".join(findings(study))
    assert warning(study) is None


def test_a_variant_above_the_floor_is_said_to_be() -> None:
    study = _study(_variant("gpt2", 2.5, None), _variant("poor", 3.2, _difference(0.6, 0.8)))
    assert "poor is worse by 0.700" in " ".join(findings(study))
    assert "it does not get below the trigram floor" in " ".join(findings(study))


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


def test_a_quarantined_variant_is_never_better() -> None:
    leak = _variant("leak", 0.3, None, failed=("future_tokens", "future_gradient", "position", "new_test"))
    study = _study(_variant("gpt2", 2.5, None), leak, _variant("poor", 2.8, _difference(0.2, 0.4)))
    assert [variant.name for variant in study.challengers] == ["poor", "leak"]
    assert verdict_words(leak) == "quarantined: future_tokens, future_gradient, position, new_test"
    told = findings(study)
    assert told[-1] == (
        "leak is quarantined and not ranked: it sees the future (future_tokens, future_gradient); its loss has a cliff along "
        "the window (position); it fails new_test (new_test)."
    )
    assert "worse" in told[1]
    assert warning(study) is None


def test_nothing_is_concluded_from_a_quarantined_baseline() -> None:
    other = _variant("good", 2.0, _difference(-0.6, -0.4))
    study = _study(_variant("gpt2", 2.5, None, failed=("batch_rows",)), other)
    told = warning(study)
    assert told is not None
    assert told.startswith(
        "Nothing may be concluded: the baseline gpt2 is quarantined, because it mixes the rows of a batch"
    )
    assert "good differs by −0.500 [−0.600, −0.400]." in findings(study)
    assert "gpt2 is quarantined and not ranked: it mixes the rows of a batch (batch_rows)." in " ".join(findings(study))
    assert "better" not in " ".join(findings(study))


def test_marks_take_both_gates_together() -> None:
    def audited(*found: tuple[str, str, bool | None]) -> VariantView:
        variant = _variant("x", 2.0, None)
        variant.audit["findings"] += [{"gate": g, "test": t, "passed": p, "saw": "it"} for g, t, p in found]
        return variant

    first = audited(("untrained", "step", True), ("trained", "step", False), ("untrained", "growth", None))
    second = audited(("untrained", "step", None), ("trained", "step", True), ("trained", "position", True))
    rows = audit_rows(_study(_variant("gpt2", 2.5, None), first, second))
    assert [(row.test, [mark.word for mark in row.marks]) for row in rows] == [
        ("step", ["not made", "failed", "passed"]),
        ("growth", ["not made", "does not apply", "not made"]),
        ("position", ["not made", "not made", "passed"]),
    ]


@pytest.mark.parametrize(
    ("objective", "title", "says"),
    [("answers", "Answers alone", "what an assistant says"), ("aligned", "Answers beside questions", "A control.")],
)
def test_an_objective_of_its_own_is_told_with_its_share(objective: str, title: str, says: str) -> None:
    study = _study(_variant("gpt2", 2.5, None), objective=objective)
    study.baseline.row["receipt"] = {"predicted_share": 0.4, "question_share": 0.25, "unknown_share": 0.02}
    assert says in (target_note(study) or "") and "never to be set beside" in (target_note(study) or "")
    assert target_title(study) == title
    (_, targets), (_, unknown) = target_equalities(study)
    assert "40% of the positions of a run have one; of those that are scored, 25% have all of the question" in targets
    assert unknown.startswith("2.00% of the characters") and unknown.endswith(
        "not to be compared with other tokenizers"
    )


def test_a_far_target_is_said_in_the_first_sentence() -> None:
    study = _study(_variant("gpt2", 2.5, None), ahead=16)
    assert "on unseen text of plays, 16 tokens after the position that predicts them" in findings(study)[0]
    assert "never to be set beside next-token losses" in (target_note(study) or "")
    assert target_note(_study(_variant("gpt2", 2.5, None))) is None


def test_no_two_variants_are_drawn_alike_even_without_colour() -> None:
    lines = [variant_line(place) for place in range(28)]
    assert len({(str(line["marker"]), str(line["linestyle"])) for line in lines}) == 28
    assert len({(line["color"], str(line["linestyle"])) for line in lines}) == 28
    assert len({line["marker"] for line in lines[:8]}) == 8
    held = [variant_line(place, quarantined=True) for place in range(28)]
    assert not {str(line["linestyle"]) for line in held} & {str(line["linestyle"]) for line in lines}


@pytest.mark.parametrize(
    ("losses", "places", "shown"),
    [
        ([3.0, 2.0, 1.0], [1, 2, 3], [3.0, 2.0, 1.0]),
        ([1.0] * 128, list(range(1, 129)), [1.0] * 128),
        ([0.0, 2.0] * 128, [1.5 + 2 * i for i in range(128)], [1.0] * 128),
        ([0.0, 2.0] * 64 + [7.0], [*(1.5 + 2 * i for i in range(64)), 129.0], [1.0] * 64 + [7.0]),
    ],
)
def test_a_line_along_the_window_keeps_every_position_it_can(
    losses: list[float], places: list[float], shown: list[float]
) -> None:
    found = along(np.array(losses))
    assert found[0].tolist() == places
    assert found[1].tolist() == shown


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (numbers.fixed(2.41349), "2.413"),
        (numbers.fixed(-0.5, 1), "−0.5"),
        (numbers.fixed(None), "–"),
        (numbers.fixed(math.nan), "–"),
        (numbers.signed(0.12), "+0.120"),
        (numbers.signed(-0.0001), "0.000"),
        (numbers.small(0.12), "+0.120"),
        (numbers.small(-0.001), "−0.001"),
        (numbers.small(2e-7), "+2.00\u202f×\u202f10⁻⁷"),
        (numbers.small(-2e-7), "−2.00\u202f×\u202f10⁻⁷"),
        (numbers.small(0.0), "0"),
        (numbers.small(None), "–"),
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


def test_what_is_unseen_in_a_table_widens_no_page() -> None:
    """Placed against the page, a hidden word far right in a wide table would make a phone scroll sideways."""
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    rules = dict(re.findall(r"^(\.\w+) \{([^}]*)\}", style, flags=re.MULTILINE))
    assert "position: absolute" in rules[".unseen"]
    assert "position: relative" in rules[".scroll"] and "overflow-x: auto" in rules[".scroll"]
