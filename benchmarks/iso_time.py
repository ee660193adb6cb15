"""Do runs under the budget of time take the time they were given?

Every variant of study `language_time`, at the size of suite `laptop`: its step is measured beside the baseline's, the plan turns
the baseline's seconds into steps, and those steps are trained, alone on the machine, by the loop that trains any run. Target:
each within 10 % of the budget. Do nothing else on the machine meanwhile.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.timing import arguments, publish
from nnn_bench.config.catalog import Catalog
from nnn_bench.config.expansion import measured_key, study_specs
from nnn_bench.config.files import write_json
from nnn_bench.config.paths import Project
from nnn_bench.config.schema import Measurement
from nnn_bench.data.store import load
from nnn_bench.speed.measurement import measure_spec
from nnn_bench.training.job import make_plan, run_configuration
from nnn_bench.training.trainer import train_run

SUITE, STUDY = "laptop", "language_time"


def main() -> None:
    chosen = arguments(__doc__ or "")
    project = Project.find()
    catalog = Catalog(project)
    specs = study_specs(catalog, SUITE, STUDY)
    baseline = specs[catalog.study(STUDY).baseline]
    with tempfile.TemporaryDirectory() as folder:
        # measurements and runs of their own; the data are those of the checkout
        elsewhere = Project(Path(folder))
        (elsewhere.root / ".cache").symlink_to(project.cache)
        for spec in specs.values():
            told = measure_spec(elsewhere, catalog, spec, baseline, Measurement(groups=chosen.rounds), card=False)
            write_json(elsewhere.measured(measured_key(spec, baseline)), told)
        rows = [_row(elsewhere, catalog, spec.unsearched) for spec in specs.values()]
    publish(
        "iso_time", rows, chosen.threads, "training time under equal time, alone on the machine; target: within 10 %"
    )


def _row(project: Project, catalog: Catalog, spec):  # type: ignore[no-untyped-def]
    made = make_plan(project, catalog, spec)
    configuration = run_configuration(spec, made, seed=0)
    store = load(project, spec.dataset, spec.tokenizer)
    result = train_run(configuration, store, project.run(configuration.run_key), checkpoint_seconds=1e9)
    base = project.measured(measured_key(spec.anchor or spec, spec.anchor or spec))
    budget = made.receipt["met"]["amount"] if spec.anchor else made.steps * _step_seconds(base)
    return {
        "case": spec.variant,
        "ms": {"budget": budget * 1e3, "taken": result["seconds"] * 1e3},
        "ratio": {"taken": {"median": result["seconds"] / budget, "quartiles": [result["seconds"] / budget] * 2}},
    }


def _step_seconds(path: Path) -> float:
    from nnn_bench.config.files import read_json

    told = read_json(path)
    assert isinstance(told, dict), path
    return float(told["training"]["step_seconds"])


if __name__ == "__main__":
    main()
