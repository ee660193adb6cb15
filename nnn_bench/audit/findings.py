"""What an audit says: one finding for each test, and whether all of them together let a network into a ranking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from nnn_bench.config.files import finite

#: Every test, in the order they are told.
TESTS = (
    "future_tokens",
    "future_gradient",
    "past_coverage",
    "batch_rows",
    "step",
    "modes",
    "gradient",
    "unselected",
    "selector",
    "growth",
    "random_tokens",
    "position",
)


@dataclass(frozen=True)
class Finding:
    """The answer of one test. `passed` is None where it does not apply; `saw` is one plain sentence.

    `numbers["worst"]` ranks findings of the same test: more is worse.
    """

    test: str
    passed: bool | None
    saw: str
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Audit:
    """All findings on a variant at one gate (`untrained` or `trained`); `facts` are what they rest on."""

    variant: str
    gate: str
    findings: tuple[Finding, ...]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> list[str]:
        """Names of the tests that failed, in order."""
        return [finding.test for finding in self.findings if finding.passed is False]

    @property
    def passed(self) -> bool:
        return not self.failed

    def plain(self) -> dict[str, Any]:
        """Everything as plain data; numbers that JSON cannot hold are None."""
        told: dict[str, Any] = {
            **self.facts,
            "variant": self.variant,
            "gate": self.gate,
            "passed": self.passed,
            "failed": self.failed,
            "findings": [asdict(finding) for finding in self.findings],
        }
        plain: dict[str, Any] = finite(told)
        return plain


def not_applicable(test: str, why: str) -> Finding:
    return Finding(test, None, why)


def worst(found: Mapping[str, Finding]) -> Finding:
    """The worst of several findings of one test, by place (a stage, a mode, a seed); with several, its place is named."""
    place = max(found, key=lambda name: _rank(found[name]))
    one = found[place]
    if len(found) == 1 or one.passed is None:
        return one
    failures = sum(finding.passed is False for finding in found.values())
    if failures:
        said = f"{place}{f' (fails at {failures} of {len(found)})' if failures > 1 else ''}: {one.saw}"
    else:
        said = f"{one.saw}; worst of {len(found)}: {place}"
    return Finding(one.test, one.passed, said, one.numbers)


def worst_by_test(found: Iterable[tuple[str, Iterable[Finding]]]) -> list[Finding]:
    """The worst finding of each test over several places, in the order of `TESTS`."""
    by_test: dict[str, dict[str, Finding]] = {}
    for place, findings in found:
        for finding in findings:
            by_test.setdefault(finding.test, {})[place] = finding
    return [worst(by_test[test]) for test in sorted(by_test, key=TESTS.index)]


def _rank(finding: Finding) -> tuple[bool, bool, float]:
    return finding.passed is False, finding.passed is True, finding.numbers.get("worst", 0.0)
