"""What earlier jobs found out and wrote down for a plan: the learning rate of a search, the step times of the speed lane.

Both are JSON files that stand at places known beforehand, so the pipeline's graph is fixed before anything is measured.
"""

from __future__ import annotations

from typing import Any

from nnn_bench.budget.steps import Measured
from nnn_bench.config.errors import UserError
from nnn_bench.config.expansion import RunSpec, measured_key
from nnn_bench.config.files import read_json
from nnn_bench.config.paths import Project


class NotMeasured(UserError):
    """A plan asks for what no job has found out yet."""


def read_measured(project: Project, spec: RunSpec) -> Measured:
    """All that a plan of `spec` needs. Raises `NotMeasured` with the command that measures it."""
    found: dict[str, Any] = {}
    if spec.search is not None:
        told = _read(project, project.rates(spec.searched.key), f"nnn-bench run {spec.search.suite} rates")
        found |= {"learning_rate": told["chosen"]["learning_rate"], "trials": len(told["trials"])}
    if spec.budget == "time" and spec.anchor is not None:
        command = f"nnn-bench run {spec.search.suite if spec.search else 'SUITE'} speed"
        told = _read(project, project.measured(measured_key(spec, spec.anchor)), command)
        base = _read(project, project.measured(measured_key(spec.anchor, spec.anchor)), command)
        found |= {
            "step_seconds": base["training"]["step_seconds"],
            "step_ratio": told["training"]["ratio"]["median"],
        }
    return Measured(**found)


def _read(project: Project, path: Any, command: str) -> dict[str, Any]:
    told = read_json(path)
    if not isinstance(told, dict):
        raise NotMeasured(f"is not there yet; make it with `{command}`", file=project.relative(path))
    return told
