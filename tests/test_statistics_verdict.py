"""Verdicts: each word from rows made by hand, and how often they are wrong when studies are simulated.

Noise as seen in three seeds of GPT-2 at the size of suite `laptop`: mean 2.975 bits per byte, standard deviation 0.022. The
correlation of other networks with it lay anywhere between -0.96 and 0.98 there, so none and 0.6 stand for what pairing may bring.
"""

import itertools

import numpy as np
import pytest
from scipy import stats

from nnn_bench.statistics import rows
from nnn_bench.statistics.verdict import WORDS, verdict

MEAN, DEVIATION = 2.975, 0.022
STUDIES, NAMES = 200, 8


def row(difference=None, *, failed=(), statuses=("ok", "ok", "ok"), matched=True):
    audit = {"passed": not failed, "failed": list(failed)}
    return {"audit": audit, "statuses": list(statuses), "matched": matched, "difference": difference}


def difference(mean, p_holm, p_equal, values=(1, 2, 3)):
    equal = {"margin": 0.03, "p_holm": p_equal}
    return {"mean": mean, "p_holm": p_holm, "equivalence": equal, "values": list(values)}


@pytest.mark.parametrize(
    ("given", "word", "reason"),
    [
        (difference(-0.2, 0.01, 1.0), "better", "lower by 0.2000 bits per byte (Holm p 0.010)"),
        (difference(0.2, 0.0001, 1.0), "worse", "higher by 0.2000 bits per byte (Holm p below 0.001)"),
        (
            difference(-0.01, 0.02, 0.01),
            "better",
            "lower by 0.0100 bits per byte (Holm p 0.020), a real difference, yet within the margin of 0.0300 "
            "(equivalence, Holm p 0.010)",
        ),
        (
            difference(-0.01, 0.3, 0.04),
            "equivalent",
            "within the margin of 0.0300 (equivalence, Holm p 0.040); no difference found (Holm p 0.300)",
        ),
        (
            difference(-0.01, 0.05, 0.05),
            "no evidence",
            "of a difference (Holm p 0.050) or that it is within the margin of 0.0300 (Holm p 0.050)",
        ),
        (difference(0.1, None, None, [0.1]), "no evidence", "one pair says nothing about chance"),
        (difference(None, None, None, []), "no evidence", "no seed can be paired"),
        (
            difference(0.5, None, None, [0.5, 0.5]),
            "no evidence",
            "the difference is the same at every seed, which leaves no spread to judge by",
        ),
    ],
)
def test_words_and_reasons(given, word, reason):
    found = verdict(row(given))
    assert (found.word, found.reason) == (word, reason)
    assert word in WORDS


def test_what_is_wrong_with_a_variant_comes_before_its_numbers():
    good = difference(-0.2, 0.001, 1.0)
    failed = row(good, failed=["step", "position"], statuses=("ok", "diverged"))
    assert verdict(failed, barred="x").word == "quarantined"
    assert verdict(failed).reason == "failed the audit: step, position"
    diverged = verdict(row(good, statuses=("ok", "diverged", "diverged")), barred="x")
    assert (diverged.word, diverged.reason) == ("unstable", "2 of 3 seeds diverged")
    assert verdict(row(good), barred="suite concludes nothing").word == "no evidence"
    assert verdict(row(good), barred="suite concludes nothing").reason == "suite concludes nothing"


def test_the_baseline_and_what_was_not_matched_have_no_verdict():
    assert verdict(row(), baseline=True).word is None
    assert verdict(row(matched=False)).word is None
    assert verdict(row(statuses=("diverged",)), baseline=True).word == "unstable"
    assert verdict(row(failed=["step"]), baseline=True).word == "quarantined"


@pytest.fixture
def no_planning(monkeypatch):
    """How many seeds would be needed is half the time of a simulation, and decides nothing."""
    monkeypatch.setattr(rows, "seeds_needed", lambda effect, deviation, level: None)


def simulated(seeds, paired, shift=0.0):
    """The verdicts of studies whose variants are the baseline under other names, but for the first, which is worse by `shift`."""
    draw = np.random.default_rng([seeds, int(10 * paired), int(1000 * shift)])
    for _ in range(STUDIES):
        common = paired**0.5 * draw.normal(size=seeds)
        values = MEAN + DEVIATION * (common + (1 - paired) ** 0.5 * draw.normal(size=(1 + NAMES, seeds)))
        values[1] += shift
        base, *others = (dict(enumerate(map(float, one))) for one in values)
        found = rows.compared_with(base, {str(i): one for i, one in enumerate(others)}, 0.01, NAMES)
        yield [verdict(row(one, statuses=["ok"] * seeds)).word for one in found.values()]


@pytest.mark.usefixtures("no_planning")
def test_the_baseline_under_other_names_is_neither_better_nor_worse():
    """At most 5 % of studies say either of any variant; of 200 of one kind, chance allows 18, but for one time in a hundred."""
    kinds = itertools.product((3, 5, 8), (0.0, 0.6))
    wrong = [sum(any(word in ("better", "worse") for word in words) for words in simulated(*kind)) for kind in kinds]
    assert sum(wrong) <= 0.05 * STUDIES * len(wrong)
    assert max(wrong) <= stats.binom.ppf(0.99, STUDIES, 0.05)


@pytest.mark.usefixtures("no_planning")
@pytest.mark.parametrize("paired", [0.0, 0.6])
def test_two_noise_floors_are_found_at_eight_seeds(paired):
    words = [first for first, *_ in simulated(8, paired, shift=4 * DEVIATION)]
    assert words.count("worse") >= 0.8 * STUDIES
    assert words.count("better") == 0
