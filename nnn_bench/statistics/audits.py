"""What the audits of a variant found, at both gates.

A variant that failed any test is quarantined: its numbers are shown, and compared with nothing.
"""

from __future__ import annotations

from typing import Any

from nnn_bench.config.errors import UserError
from nnn_bench.config.expansion import RunSpec, audit_key
from nnn_bench.config.paths import Project
from nnn_bench.statistics.records import read_object

#: Before the first training step, and on trained weights.
GATES = ("untrained", "trained")

_SHOWN = ("test", "passed", "saw")


def read_audit(project: Project, suite: str, spec: RunSpec) -> dict[str, Any]:
    """Both gates together: whether all tests passed, the names of those that failed, and every finding with its gate.

    `passed` of a finding is None where the test does not apply. Raises `UserError` when a gate's file is missing,
    damaged, another variant's, or says of itself other than its findings do.
    """
    findings = [finding for gate in GATES for finding in _findings(project, suite, spec, gate)]
    failed = list(dict.fromkeys(finding["test"] for finding in findings if finding["passed"] is False))
    return {"passed": not failed, "failed": failed, "findings": findings}


def audit_words(audit: dict[str, Any]) -> str:
    """`passed`, or `failed` with the names of the tests."""
    return "passed" if audit["passed"] else f"failed: {', '.join(audit['failed'])}"


def _findings(project: Project, suite: str, spec: RunSpec, gate: str) -> list[dict[str, Any]]:
    command = f"nnn-bench run {suite} {spec.variant}"
    path = project.audit(audit_key(spec, gate), gate)
    told = read_object(project, path, command)
    try:
        findings = [{"gate": gate} | {name: finding[name] for name in _SHOWN} for finding in told["findings"]]
        failed = {finding["test"] for finding in findings if finding["passed"] is False}
        whole = (told["variant"], told["gate"]) == (spec.variant, gate) and bool(findings)
        whole &= all(finding["passed"] is None or isinstance(finding["passed"], bool) for finding in findings)
        whole &= all(isinstance(finding[name], str) for finding in findings for name in ("test", "saw"))
        whole &= set(told["failed"]) == failed and told["passed"] is (not failed)
    except (KeyError, TypeError):
        whole = False
    if not whole:
        raise UserError(
            f"is no whole audit of {spec.variant} ({gate}); remove it, then `{command}`", file=project.relative(path)
        )
    return findings
