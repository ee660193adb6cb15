"""The verbs that put networks to the test."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from nnn_bench.commands.shared import AsJson, StudyName, SuiteName, VariantName, open_project, settings_of, spec_of


class GateName(Enum):
    """Where an audit stands: before the first training step, or on trained weights."""

    untrained = "untrained"
    trained = "trained"


def audit(
    variant: VariantName,
    suite: Annotated[str, typer.Option(metavar="SUITE", help="at whose size and context")] = "laptop",
    as_json: AsJson = False,
) -> None:
    """Put VARIANT to every test that needs no data: future, past, rows, step, gradient, growth, random tokens.

    Beside it stands what the gate after training said, where it has been passed in SUITE. Exit 1 when a test fails.
    """
    from nnn_bench.training.gates import audit_variant, trained_audits

    project, catalog = open_project()
    with settings_of(catalog, suite), _told() as tell:
        made = audit_variant(catalog, variant, suite, tell)
        trained = trained_audits(project, catalog, variant, suite)
    passed = made.passed and all(told["passed"] for told in trained.values())
    if as_json:
        print(json.dumps({**made.plain(), "passed": passed, "trained": trained}, indent=1))
    else:
        body = made.facts["body_parameters"]
        size = "outside the budget" if body is None else f"{body:,} body parameters"
        print(f"{variant}, {size}, as in suite {suite}")
        _print_findings(made.plain()["findings"])
        for study, told in trained.items():
            print(f"after training in study {study}")
            _print_findings(told["findings"])
    if not passed:
        raise typer.Exit(1)


@contextmanager
def _told() -> Iterator[Callable[[str], None]]:
    """Says on a terminal what is being done, in one line that is gone in the end; elsewhere nothing."""
    shown = sys.stderr.isatty()

    def tell(what: str) -> None:
        if shown:
            print(f"\r\x1b[K{what}", end="", file=sys.stderr, flush=True)

    try:
        yield tell
    finally:
        tell("")


def _print_findings(findings: list[dict[str, Any]]) -> None:
    marks = {True: "passed", False: "FAILED", None: "-"}
    for finding in findings:
        print(f"  {marks[finding['passed']]:<6}  {finding['test']:<15}  {finding['saw']}")


def gate(
    which: Annotated[GateName, typer.Argument(metavar="untrained|trained")],
    suite: SuiteName,
    study: StudyName,
    variant: VariantName,
    output: Annotated[Path | None, typer.Option(help="write the audit here (default: where comparisons look)")] = None,
) -> None:
    """Audit one variant of one study as the pipeline does: a failed audit is written like any other, and exits 0."""
    from nnn_bench.config.expansion import audit_key
    from nnn_bench.training.gates import audit_trained, audit_untrained, write_audit

    project, catalog = open_project()
    spec = spec_of(catalog, suite, study, variant)
    path = output or project.audit(audit_key(spec, which.value), which.value)
    with settings_of(catalog, suite):
        if which is GateName.untrained:
            made = write_audit(path, lambda: audit_untrained(project, catalog, spec))
        else:
            seeds = range(catalog.suite(suite).seeds)
            made = write_audit(path, lambda: audit_trained(project, catalog, spec, seeds))
    print(f"{spec.key}, {which.value}: {'passed' if made.passed else 'failed ' + ', '.join(made.failed)}")
