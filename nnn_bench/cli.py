"""The command line: `nnn-bench VERB`. Everything heavy is imported by the verb that needs it.

Exit codes: 0 done, 1 the answer is no, 2 bad input (one line says what and how to mend it), 75 somebody else holds the run,
143 stopped after a checkpoint.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nnn_bench.config.catalog import Catalog
from nnn_bench.config.errors import RunBusy, Terminated, UserError, nearest
from nnn_bench.config.paths import Project
from nnn_bench.config.terminal import ERROR_PREFIX, EXIT_BAD_INPUT, EXIT_BUSY, EXIT_TERMINATED

if TYPE_CHECKING:
    from nnn_bench.config.expansion import RunSpec

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train unconventional small networks beside one honest GPT-2, under equal budgets, and say what holds.",
)
data_app = typer.Typer(no_args_is_help=True, help="Fetch, clean, split and tokenize data sets.")
track_app = typer.Typer(no_args_is_help=True, help="The MLflow mirror of the runs.")
app.add_typer(data_app, name="data")
app.add_typer(track_app, name="track")

_LONGEST_SEED = 9  # digits: what every generator takes

SuiteName = Annotated[
    str, typer.Argument(metavar="SUITE", help="how big: a file of config/suites (smoke, laptop, ...)")
]
StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="which question: a file of config/studies")]
VariantName = Annotated[str, typer.Argument(metavar="VARIANT", help="which network: a file of config/variants")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON for programs")]


class GateName(Enum):
    """Where an audit stands: before the first training step, or on trained weights."""

    untrained = "untrained"
    trained = "trained"


def main() -> None:
    """Entry point: every foreseen trouble is one line and an exit code."""
    try:
        code = app(standalone_mode=False)
    except UserError as error:
        _stop(str(error), EXIT_BAD_INPUT)
    except RunBusy as error:
        _stop(str(error), EXIT_BUSY)
    except Terminated as error:
        _stop(str(error), EXIT_TERMINATED)
    except (KeyboardInterrupt, typer.Abort):
        _stop("stopped", 130)
    except Exception as error:
        usage = getattr(error, "format_message", None)  # a misspelt verb or option
        if usage is not None:
            _stop(f"{usage()} See nnn-bench --help.", EXIT_BAD_INPUT)
        raise
    sys.exit(code if isinstance(code, int) else 0)


def _stop(message: str, code: int) -> None:
    print(f"{ERROR_PREFIX}{message}", file=sys.stderr)
    sys.exit(code)


def _open() -> tuple[Project, Catalog]:
    project = Project.find()
    return project, Catalog(project)


@contextmanager
def _settings_of(catalog: Catalog, suite: str) -> Iterator[None]:
    """Let errors about the scale of a run name the file of the suite that set it."""
    try:
        yield
    except UserError as error:
        if error.key and (error.key == "device" or error.key.startswith("language.")):
            raise error.located(catalog.file("suites", suite)) from None
        raise


def _spec(catalog: Catalog, suite: str, study: str, variant: str) -> RunSpec:
    from nnn_bench.config.expansion import study_specs

    specs = study_specs(catalog, suite, study)
    if variant not in specs:
        raise UserError(f"study {study!r} has no variant {variant!r}; {nearest(variant, specs)}")
    return specs[variant]


@app.command()
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

    project, catalog = _open()
    code = run_suite(project, catalog, suite, targets or [], cores, dry_run, again)
    if code:
        raise typer.Exit(code)


@app.command("list")
def list_entries(as_json: AsJson = False) -> None:
    """What there is: suites, studies, variants, data sets."""
    _, catalog = _open()
    entries = {
        "suites": {name: catalog.suite(name).summary for name in catalog.names("suites")},
        "studies": {name: catalog.study(name).question for name in catalog.names("studies")},
        "variants": {name: catalog.variant(name).summary for name in catalog.names("variants")},
        "datasets": {name: catalog.dataset(name).summary for name in catalog.names("datasets")},
    }
    if as_json:
        print(json.dumps(entries, indent=1))
        return
    for kind, named in entries.items():
        print(kind)
        for name, words in named.items():
            print(f"  {name:<26} {words}")


@app.command()
def plan(suite: SuiteName, as_json: AsJson = False) -> None:
    """Every run of SUITE and the receipt of its budget, before anything trains (fetches the data if need be)."""
    from nnn_bench.config.expansion import suite_specs
    from nnn_bench.training.job import make_plan

    project, catalog = _open()
    seeds = catalog.suite(suite).seeds
    with _settings_of(catalog, suite):
        receipts = {
            study: {
                name: {"key": spec.key, "seeds": seeds, **make_plan(project, catalog, spec).receipt}
                for name, spec in specs.items()
            }
            for study, specs in suite_specs(catalog, suite).items()
        }
    if as_json:
        print(json.dumps(receipts, indent=1))
        return
    for study, variants in receipts.items():
        print(f"{suite} / {study}: {seeds} seeds each; equal: predicted tokens and, within 1 %, body parameters")
        head = ["variant", "body", "off by", "total", "knobs", "steps", "tokens", "MFLOP/token", "learning rate"]
        rows = [_plan_row(name, receipt) for name, receipt in variants.items()]
        _print_table([head, *rows])


def _plan_row(name: str, receipt: dict[str, Any]) -> list[str]:
    flops = sum(receipt["training_flops"].values()) / receipt["tokens"]
    return [
        name,
        f"{receipt['parameters']['body']:,}",
        f"{receipt['residual']:+.2%}",
        f"{receipt['parameters']['total']:,}",
        ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in receipt["knobs"].items()),
        f"{receipt['steps']:,}",
        f"{receipt['tokens']:,}",
        f"{flops / 1e6:.2f}",
        f"{receipt['learning_rate']:g}",
    ]


def _print_table(rows: list[list[str]]) -> None:
    """Columns aligned by spaces: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  " + "  ".join(cells).rstrip())


@data_app.command("prepare")
def data_prepare(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="a file of config/datasets")],
    tokenizer: Annotated[str, typer.Option(help="how text becomes tokens")] = "characters",
) -> None:
    """Fetch, check, clean, split and tokenize DATASET; what is there and sound is reused."""
    from nnn_bench.data.prepare import prepare

    project, catalog = _open()
    manifest = prepare(dataset, catalog.dataset(dataset), tokenizer, project)
    print(f"{dataset}: {manifest.vocabulary} tokens in the vocabulary, content {manifest.content_sha256[:12]}")
    for name, split in manifest.splits.items():
        print(f"  {name:<10} {split.tokens:>12,} tokens  {split.bytes:>12,} bytes  {split.unknown:,} unknown")


@app.command()
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

    project, catalog = _open()
    spec = _spec(catalog, suite, study, variant)
    with _settings_of(catalog, suite):
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


@app.command()
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

    project, catalog = _open()
    spec = next(iter(study_specs(catalog, suite, study).values()))
    prepare(spec.dataset, spec.dataset_config, spec.tokenizer, project)
    store = load(project, spec.dataset, spec.tokenizer)
    scale = spec.scale
    with _settings_of(catalog, suite):
        counted = count_ladder(store, scale.context, scale.training_characters, scale.test_tokens, spec.ahead)
    if output:
        write_json(output, counted)
    for row in counted["orders"]:
        print(f"  order {row['order']}: {row['loss']:.4f} nats, {row['bits_per_byte']:.4f} bits per byte")


@app.command()
def audit(
    variant: VariantName,
    suite: Annotated[str, typer.Option(metavar="SUITE", help="at whose size and context")] = "laptop",
    as_json: AsJson = False,
) -> None:
    """Put VARIANT to every test that needs no data: future, past, rows, step, gradient, growth, random tokens.

    Beside it stands what the gate after training said, where it has been passed in SUITE. Exit 1 when a test fails.
    """
    from nnn_bench.training.gates import audit_variant, trained_audits

    project, catalog = _open()
    with _settings_of(catalog, suite), _told() as tell:
        made = audit_variant(catalog, variant, suite, tell)
        trained = trained_audits(project, catalog, variant, suite)
    passed = made.passed and all(told["passed"] for told in trained.values())
    if as_json:
        print(json.dumps({**made.plain(), "passed": passed, "trained": trained}, indent=1))
    else:
        print(f"{variant}, {made.facts['body_parameters']:,} body parameters, as in suite {suite}")
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


@app.command(hidden=True)
def gate(
    which: Annotated[GateName, typer.Argument(metavar="untrained|trained")],
    suite: SuiteName,
    study: StudyName,
    variant: VariantName,
    output: Annotated[Path | None, typer.Option(help="write the audit here (default: where comparisons look)")] = None,
) -> None:
    """Audit one variant of one study as the pipeline does: a failed audit is written like any other, and exits 0."""
    from nnn_bench.training.gates import audit_trained, audit_untrained, write_audit

    project, catalog = _open()
    spec = _spec(catalog, suite, study, variant)
    path = output or project.audit(spec.key, which.value)
    with _settings_of(catalog, suite):
        if which is GateName.untrained:
            made = write_audit(path, lambda: audit_untrained(project, catalog, spec))
        else:
            seeds = range(catalog.suite(suite).seeds)
            made = write_audit(path, lambda: audit_trained(project, catalog, spec, seeds))
    print(f"{spec.key}, {which.value}: {'passed' if made.passed else 'failed ' + ', '.join(made.failed)}")


@app.command()
def compare(suite: SuiteName, study: StudyName) -> None:
    """Compare the finished runs of a study, seed by seed, with its baseline."""
    from nnn_bench.statistics.comparison import write_comparison

    project, catalog = _open()
    print(write_comparison(project, catalog, suite, study))


@app.command()
def report(suite: SuiteName) -> None:
    """Write reports/SUITE from the comparisons of a suite."""
    from nnn_bench.report.build import write_report

    project, catalog = _open()
    print(write_report(project, catalog, suite))


@track_app.command("init")
def track_init() -> None:
    """Create or upgrade the tracking database and its experiments."""
    from nnn_bench.tracking.store import initialise

    initialise(*_open())


@track_app.command("publish")
def track_publish(
    suite: SuiteName,
    study: StudyName,
    output: Annotated[Path | None, typer.Option(help="write to this file whether and where it was published")] = None,
) -> None:
    """Mirror the runs of a study to MLflow. Doing it twice changes nothing; a dead tracker is a warning."""
    from nnn_bench.config.files import write_json
    from nnn_bench.tracking.mirror import publish
    from nnn_bench.tracking.store import tracking_uri, without_passwords

    project, _ = _open()
    published = publish(project, suite, study)
    if output:
        write_json(output, {"published": published, "uri": without_passwords(tracking_uri(project))})


@track_app.command("rebuild")
def track_rebuild() -> None:
    """Make the MLflow database anew from the records."""
    from nnn_bench.tracking.mirror import rebuild

    project, catalog = _open()
    if not rebuild(project, catalog):
        raise typer.Exit(1)


@app.command()
def ui(port: Annotated[int, typer.Option(min=1, max=65535, help="on 127.0.0.1")] = 5000) -> None:
    """Browse the runs in the MLflow UI (this machine only)."""
    import os

    from nnn_bench.tracking.server import ui_address, ui_command

    project, _ = _open()
    command = ui_command(project, port)
    print(f"{ui_address(port)}  (stop with Ctrl-C)", flush=True)
    os.execv(command[0], command)
