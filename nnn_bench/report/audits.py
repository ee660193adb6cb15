"""The audits as people read them: what each test asks, what it means to fail it, and a mark for every variant."""

from __future__ import annotations

from dataclasses import dataclass

from nnn_bench.report.collect import StudyView, VariantView

#: Test -> what holds when it passes, and what is wrong with a network that fails it.
WORDS = {
    "future_tokens": ("another future token changes nothing before it", "it sees the future"),
    "future_gradient": ("no gradient reaches back from later inputs", "it sees the future"),
    "past_coverage": ("sees all the past it claims to see", "it does not see all the past it claims to see"),
    "batch_rows": ("rows of a batch do not touch each other", "it mixes the rows of a batch"),
    "step": ("token by token gives the same as all at once", "it computes something else token by token than at once"),
    "modes": ("training and evaluation compute the same", "it computes something else in training than in evaluation"),
    "gradient": ("every trainable tensor gets gradient", "it has parameters that nothing trains"),
    "selector": ("selectors learn towards the better choice", "its selectors learn to pick the worse computation"),
    "unselected": ("what was not selected gets no gradient", "it trains what it did not select"),
    "growth": ("growing leaves the loss where it was", "growing changes what it computes"),
    "random_tokens": ("random tokens stay random to it", "it predicts random tokens, which only a look ahead allows"),
    "position": ("no cliff in the loss along the window", "its loss has a cliff along the window"),
}
GATE_WORDS = {"untrained": "before training", "trained": "after training"}


@dataclass(frozen=True)
class Mark:
    """One cell of the table of audits: a sign, and the word it stands for."""

    sign: str
    word: str


PASSED, FAILED = Mark("✓", "passed"), Mark("✗", "failed")
NOT_APPLICABLE, NOT_MADE = Mark("–", "does not apply"), Mark("", "not made")


@dataclass(frozen=True)
class AuditRow:
    """A test, what holds when it passes, and the mark of each variant, in the study's order."""

    test: str
    holds: str
    marks: list[Mark]


@dataclass(frozen=True)
class Failure:
    """A failed test, before or after training, and what it saw."""

    test: str
    when: str
    saw: str


def audit_rows(study: StudyView) -> list[AuditRow]:
    """Every test that was made on any variant, in the order they were made; both gates count as one test."""
    made = {finding["test"]: None for variant in study.variants for finding in variant.audit["findings"]}
    return [AuditRow(test, _words(test)[0], [_mark(variant, test) for variant in study.variants]) for test in made]


def failures(study: StudyView) -> list[tuple[VariantView, list[Failure]]]:
    """Each variant in quarantine with the tests it failed, gate by gate."""
    return [
        (
            variant,
            [
                Failure(finding["test"], GATE_WORDS[finding["gate"]], finding["saw"])
                for finding in variant.audit["findings"]
                if finding["passed"] is False
            ],
        )
        for variant in study.quarantined
    ]


def whole_mark(variant: VariantView) -> Mark:
    """All tests together."""
    return FAILED if variant.quarantined else PASSED


def quarantine_reason(variant: VariantView) -> str:
    """`it sees the future (future_tokens, future_gradient); it ...`: what is wrong, and which tests say so."""
    tests: dict[str, list[str]] = {}
    for test in variant.audit["failed"]:
        tests.setdefault(_words(test)[1], []).append(test)
    return "; ".join(f"{wrong} ({', '.join(names)})" for wrong, names in tests.items())


def quarantine_tests(variant: VariantView) -> str:
    """`quarantined: future_tokens, step`, for tables and captions."""
    return f"quarantined: {', '.join(variant.audit['failed'])}"


def _words(test: str) -> tuple[str, str]:
    """What holds and what is wrong; a test this page does not know speaks for itself."""
    return WORDS.get(test, (test, f"it fails {test}"))


def _mark(variant: VariantView, test: str) -> Mark:
    found = [finding["passed"] for finding in variant.audit["findings"] if finding["test"] == test]
    if not found:
        return NOT_MADE
    return FAILED if False in found else PASSED if True in found else NOT_APPLICABLE
