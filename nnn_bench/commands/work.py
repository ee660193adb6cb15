"""The verbs of the pipeline, from data to report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from nnn_bench.commands.shared import (
    AsJson,
    StudyName,
    SuiteName,
    VariantName,
    open_project,
    settings_of,
    spec_of,
)
from nnn_bench.config.errors import UserError

_LONGEST_SEED = 9  # digits: what every generator takes


def run(
    suite: SuiteName = "laptop",
    targets: Annotated[
        list[str] | None, typer.Argument(metavar="[TARGET]...", help="variants, or targets of the Snakefile")
    ] = None,
    cores: Annotated[int | None, typer.Option(min=1, help="processes at once (default: all cores)")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="say what would be done, do nothing")] = False,
    again: Annotated[bool, typer.Option("--again", help="train the targets anew, from their first step")] = False,
) -> None:
    """Do all that SUITE still lacks: data, training, comparison, tracking, report. Ends with the headline table."""
    from nnn_bench.pipeline import run_suite

    project, catalog = open_project()
    code = run_suite(project, catalog, suite, targets or [], cores, dry_run, again)
    if code:
        raise typer.Exit(code)


def list_entries(as_json: AsJson = False) -> None:
    """What there is: suites, studies, variants, data sets, tokenizers."""
    _, catalog = open_project()
    entries = {
        "suites": {name: catalog.suite(name).summary for name in catalog.names("suites")},
        "studies": {name: catalog.study(name).question for name in catalog.names("studies")},
        "variants": {name: catalog.variant(name).summary for name in catalog.names("variants")},
        "datasets": {name: catalog.dataset(name).summary for name in catalog.names("datasets")},
        "tokenizers": {name: catalog.tokenization(name).summary for name in catalog.names("tokenizers")},
    }
    if as_json:
        print(json.dumps(entries, indent=1))
        return
    for kind, named in entries.items():
        print(kind)
        for name, words in named.items():
            print(f"  {name:<26} {words}")


def train(
    suite: SuiteName,
    study: StudyName,
    variant: VariantName,
    seeds: Annotated[str, typer.Option(help="seeds, with commas between (default: all of the suite)")] = "",
    output: Annotated[Path | None, typer.Option(help="write the list of finished runs to this file")] = None,
    checkpoint_seconds: Annotated[float, typer.Option(min=0, help="time between checkpoints")] = 15.0,
) -> None:
    """Train one variant of one study, seed after seed; goes on where it was stopped."""
    from nnn_bench.config.files import write_json
    from nnn_bench.training.job import train_seeds

    project, catalog = open_project()
    spec = spec_of(catalog, suite, study, variant)
    with settings_of(catalog, suite):
        done = train_seeds(project, catalog, spec, _seeds(seeds, catalog.suite(suite).seeds), checkpoint_seconds)
    if output:
        write_json(output, done)


def _seeds(text: str, count: int) -> list[int]:
    if not text:
        return list(range(count))
    words = text.split(",")
    if not all(word.isdecimal() and len(word) <= _LONGEST_SEED for word in words):
        raise UserError(f"{text[:80]!r} is not a list of seeds such as 0,1,2", key="--seeds")
    return [int(word) for word in words]


def ladder(
    suite: SuiteName,
    study: StudyName,
    output: Annotated[Path | None, typer.Option(help="write JSON to this file")] = None,
) -> None:
    """Count the n-gram ladder of a study: what simple counting reaches on the same characters."""
    from nnn_bench.config.expansion import study_specs
    from nnn_bench.config.files import write_json
    from nnn_bench.data.ngrams import ladder as count_ladder
    from nnn_bench.data.prepare import prepare
    from nnn_bench.data.store import load

    project, catalog = open_project()
    spec = next(iter(study_specs(catalog, suite, study).values()))
    prepare(spec.dataset, spec.dataset_config, spec.tokenizer, spec.tokens, project)
    store = load(project, spec.dataset, spec.tokenizer)
    with settings_of(catalog, suite):
        counted = count_ladder(store, spec.scale, spec.objective, spec.ahead)
    if output:
        write_json(output, counted)
    for row in counted["orders"]:
        print(f"  order {row['order']}: {row['loss']:.4f} nats, {row['bits_per_byte']:.4f} bits per byte")


def compare(suite: SuiteName, study: StudyName) -> None:
    """Compare the finished runs of a study, seed by seed, with its baseline."""
    from nnn_bench.statistics.comparison import write_comparison

    project, catalog = open_project()
    print(write_comparison(project, catalog, suite, study))


def report(suite: SuiteName) -> None:
    """Write reports/SUITE from the comparisons of a suite."""
    from nnn_bench.report.build import write_report

    project, catalog = open_project()
    print(write_report(project, catalog, suite))
