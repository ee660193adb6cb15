"""What was found out before runs could be planned: ledgers of learning rates, and what was measured alone on the machine.

A suite that asks for neither has no such files, and its report no such tables.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnn_bench.config.catalog import Catalog
from nnn_bench.config.expansion import RunSpec, measured_key
from nnn_bench.config.files import digest
from nnn_bench.config.paths import Project
from nnn_bench.statistics.records import read_object


def read_rates(project: Project, suite: str, spec: RunSpec | None) -> dict[str, Any] | None:
    """A variant's ledger of trials; None where its rate is declared, or no trial was made."""
    if spec is None or spec.search is None:
        return None
    return _where_there(project, project.rates(spec.searched.key), f"nnn-bench run {suite} rates")


def read_measured(project: Project, suite: str, spec: RunSpec | None, baseline: RunSpec) -> dict[str, Any] | None:
    """What was measured of a variant in turns with the baseline; None where nothing was."""
    if spec is None:
        return None
    return _where_there(project, project.measured(measured_key(spec, baseline)), f"nnn-bench run {suite} speed")


def alike(catalog: Catalog, study: str) -> str:
    """The same for studies that ask the same of the same variants under different budgets."""
    asked = catalog.study(study).model_dump(mode="json", exclude={"title", "question", "budget"})
    return digest(asked | {"variants": sorted(asked["variants"])})


def _where_there(project: Project, path: Path, command: str) -> dict[str, Any] | None:
    """A JSON object, or None where there is no file; `UserError` for one that is not whole."""
    return read_object(project, path, command) if path.exists() else None
