"""The verbs that settle what a run will be before it runs: its plan, the trials of its learning rate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nnn_bench.commands.shared import (
    AsJson,
    StudyName,
    SuiteName,
    VariantName,
    open_project,
    print_table,
    settings_of,
    spec_of,
)
from nnn_bench.config.errors import UserError

if TYPE_CHECKING:
    from nnn_bench.config.catalog import Catalog
    from nnn_bench.config.expansion import RunSpec
    from nnn_bench.config.paths import Project
    from nnn_bench.config.schema import RateSearch

_Output = Annotated[Path, typer.Option(help="write JSON to this file")]
_Checkpoints = Annotated[float, typer.Option(min=0, help="time between checkpoints")]

_EQUAL = {
    "tokens": "tokens and, within 1 %, body parameters",
    "flops": "training FLOPs of the baseline and body parameters, both within 1 %",
    "time": "training time of the baseline, as the speed lane measured it, and body parameters, both within 1 %",
}


def plan(suite: SuiteName, as_json: AsJson = False) -> None:
    """Every run of SUITE and the receipt of its budget, before anything trains (fetches the data if need be)."""
    from nnn_bench.config.expansion import suite_specs

    project, catalog = open_project()
    seeds = catalog.suite(suite).seeds
    with settings_of(catalog, suite):
        receipts = {
            study: {
                name: {"key": spec.key, "seeds": seeds, **_receipt(project, catalog, spec)}
                for name, spec in specs.items()
            }
            for study, specs in suite_specs(catalog, suite).items()
        }
    if as_json:
        print(json.dumps(receipts, indent=1))
        return
    for study, variants in receipts.items():
        print(f"{suite} / {study}: {seeds} seeds each; equal: {_EQUAL[catalog.study(study).budget]}")
        head = ["variant", "body", "off by", "total", "knobs", "steps", "tokens", "MFLOP/token", "learning rate"]
        print_table([head, *(_row(name, receipt) for name, receipt in variants.items())])
    if any(receipt["to_measure"] for variants in receipts.values() for receipt in variants.values()):
        print("? is measured by the pipeline before the run that asks for it; a rate with ? is the declared one")


def _receipt(project: Project, catalog: Catalog, spec: RunSpec) -> dict[str, Any]:
    """The receipt of `spec`; where something must be measured first, that of its declared form, and what is to be measured."""
    from nnn_bench.training.job import make_plan
    from nnn_bench.training.measured import NotMeasured

    missing: list[str] = []
    if spec.search and not project.rates(spec.searched.key).is_file():
        missing, spec = ["learning_rate"], spec.unsearched
    try:
        return {**make_plan(project, catalog, spec).receipt, "to_measure": missing}
    except NotMeasured:
        told = {**make_plan(project, catalog, spec.searched).receipt, "budget": spec.budget, "met": None}
        return {**told, "to_measure": [*missing, "steps", "tokens", "training_flops"]}


def _row(name: str, receipt: dict[str, Any]) -> list[str]:
    unknown = "steps" in receipt["to_measure"]
    rate = f"{receipt['learning_rate']:g}" + ("?" if "learning_rate" in receipt["to_measure"] else "")
    if not receipt["matched"]:
        return [name, "outside", *["-"] * 3, f"{receipt['steps']:,}", f"{receipt['tokens']:,}", "-", rate]
    flops = sum(receipt["training_flops"].values()) / receipt["tokens"]
    return [
        name,
        f"{receipt['parameters']['body']:,}",
        f"{receipt['residual']:+.2%}",
        f"{receipt['parameters']['total']:,}",
        ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in receipt["knobs"].items()),
        "?" if unknown else f"{receipt['steps']:,}",
        "?" if unknown else f"{receipt['tokens']:,}",
        f"{flops / 1e6:.2f}",
        rate,
    ]


def trials(
    suite: SuiteName, study: StudyName, variant: VariantName, output: _Output, checkpoint_seconds: _Checkpoints = 15.0
) -> None:
    """Train the first grid of trials of one variant's learning rate, on validation data alone."""
    from nnn_bench.config.files import write_json
    from nnn_bench.training.search import train_trials

    project, catalog = open_project()
    spec, search = _searching(catalog, suite, study, variant)
    with settings_of(catalog, suite):
        made = train_trials(project, catalog, spec, search.factors, checkpoint_seconds)
    write_json(output, {"variant": spec.variant, "trials": made})


def rate(
    suite: SuiteName, study: StudyName, variant: VariantName, output: _Output, checkpoint_seconds: _Checkpoints = 15.0
) -> None:
    """Choose one variant's learning rate, after one trial more beyond each edge where the best of any variant lies."""
    from nnn_bench.budget.rates import extension, ledger
    from nnn_bench.config.expansion import suite_specs
    from nnn_bench.config.files import write_json

    project, catalog = open_project()
    spec, search = _searching(catalog, suite, study, variant)
    every = [one.searched for specs in suite_specs(catalog, suite).values() for one in specs.values() if one.search]
    keys = dict.fromkeys(one.key for one in every if one.group == spec.group)
    group = {key: _first_grid(project, suite, key) for key in keys}
    more = extension(search.factors, group.values())
    made = []
    if more:  # torch takes seconds to load
        from nnn_bench.training.search import train_trials

        with settings_of(catalog, suite):
            made = train_trials(project, catalog, spec, more, checkpoint_seconds)
    write_json(output, ledger(spec.variant, spec.variant_config.learning_rate, group[spec.key], made))


def _searching(catalog: Catalog, suite: str, study: str, variant: str) -> tuple[RunSpec, RateSearch]:
    """The spec whose trials are asked for, and the search they belong to."""
    spec = spec_of(catalog, suite, study, variant)
    if spec.variant_config.knobs is None:
        raise UserError(f"trees have no rate that a short run could tell; {variant!r} trains at the one it declares")
    if spec.search is None:
        raise UserError(
            f"suite {suite!r} searches for no rate of {variant!r}; add search: {{}}",
            file=catalog.file("suites", suite),
            key="search",
        )
    return spec.searched, spec.search.settings


def _first_grid(project: Project, suite: str, key: str) -> list[dict[str, Any]]:
    from nnn_bench.config.files import read_json

    path = project.results / "trials" / f"{key}.json"
    told = read_json(path)
    if not isinstance(told, dict):
        raise UserError(f"is not there yet; make it with `nnn-bench run {suite} rates`", file=project.relative(path))
    found: list[dict[str, Any]] = told["trials"]
    return found
