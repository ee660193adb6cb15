"""`nnn-bench run`: check everything cheap first, let Snakemake do the work, show progress, end with the headline table."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from nnn_bench.config.catalog import Catalog
from nnn_bench.config.closure import is_trees, source_hash
from nnn_bench.config.errors import RunBusy, UserError, nearest
from nnn_bench.config.expansion import Job, audit_key, jobs, suite_specs, unique_specs
from nnn_bench.config.files import digest, read_json, write_json
from nnn_bench.config.paths import Project
from nnn_bench.config.terminal import ERROR_PREFIX, EXIT_BAD_INPUT, EXIT_BUSY, EXIT_TERMINATED, WARNING_PREFIX
from nnn_bench.progress import Progress, stages_of
from nnn_bench.tracking.store import marker_is_current
from nnn_bench.training.run_directory import RunDirectory

STAGES = ("data", "rates", "speed", "training", "audits", "comparisons", "tracking", "report")


def run_suite(
    project: Project, catalog: Catalog, suite: str, targets: list[str], cores: int | None, dry_run: bool, again: bool
) -> int:
    """Bring `targets` (variants or stages; default: everything) of `suite` up to date. Returns the exit code."""
    wanted = _training_jobs(catalog, suite, targets)
    if again and targets and not set(targets) - set(STAGES):
        raise UserError(
            "trains variants anew: name some, or no target at all for every one of the suite", key="--again"
        )
    check(project, catalog, suite)
    goals = _goals(suite, targets, wanted)
    if dry_run:
        return subprocess.run(
            _command(project, suite, goals, cores, "--dry-run"), cwd=project.root, check=False
        ).returncode
    with _only_one(project) as lock:
        if again:
            _forget(project, wanted)
        _drop_stale(project, suite, wanted)
        started = time.time()
        code, stopped, log = _snakemake(
            project, suite, goals, cores, wanted, stages_of(project, catalog, suite, wanted), lock
        )
    if stopped:
        return EXIT_TERMINATED
    if code:
        return _explain(project, log, started)
    for line in _said(project, started, WARNING_PREFIX):
        print(line, file=sys.stderr)
    if not targets:
        _print_headline(project, suite)
    return 0


def check(project: Project, catalog: Catalog, suite: str) -> None:
    """Build every network of `suite` on the meta device, so that a wrong option stops everything before it starts.

    What was found sound is remembered by the hash of settings and source: importing torch for it costs seconds.
    """
    specs = unique_specs(suite_specs(catalog, suite).values())
    stamp = project.results / "checked" / f"{suite}.json"
    found = digest([[spec.settings, source_hash(spec.model_tree)] for spec in specs])
    if read_json(stamp) == found:
        return
    from nnn_bench.budget.solver import solve
    from nnn_bench.models.build import build

    for spec in specs:
        file, context = str(catalog.file("variants", spec.variant)), spec.scale.context
        # the vocabulary is not known before the data is; body parameters do not depend on it
        if is_trees(spec.model_tree):
            build(spec.model_tree, vocabulary=256, context=context, file=file)
        else:
            solve(spec.variant_config, spec.scale.body_parameters, vocabulary=256, context=context, file=file)
    write_json(stamp, found)


def _training_jobs(catalog: Catalog, suite: str, targets: list[str]) -> list[Job]:
    """The training jobs among `targets`; all of the suite's when no variant is named."""
    every = jobs(catalog, suite)
    variants = {job.spec.variant for job in every}
    for target in targets:
        if target not in variants and target not in STAGES:
            raise UserError(
                f"{target!r} is no variant of suite {suite!r} and no stage; {nearest(target, [*variants, *STAGES])}"
            )
    named = variants & set(targets)
    return [job for job in every if not named or job.spec.variant in named]


def _goals(suite: str, targets: list[str], wanted: list[Job]) -> list[str]:
    if not targets:
        return [suite]
    named = {job.spec.variant for job in wanted} & set(targets)
    trained = [f"results/trained/{job.key}.json" for job in wanted if job.spec.variant in named]
    audited = {f"results/audits/{job.spec.key}.trained.json": None for job in wanted if job.spec.variant in named}
    return [target for target in targets if target in STAGES] + trained + list(audited)


def _command(project: Project, suite: str, goals: list[str], cores: int | None, *options: str) -> list[str]:
    parallel = ["--cores", str(cores)] if cores else []
    # our own lock replaces Snakemake's, which a killed process leaves behind
    start = [sys.executable, "-m", "snakemake", "--directory", str(project.root), "--nolock"]
    profile = ["--workflow-profile", str(project.root / "workflow" / "profiles" / "default")]
    return [*start, *profile, *parallel, *options, "--config", f"suite={suite}", "--", *goals]


@contextmanager
def _only_one(project: Project) -> Iterator[int]:
    """One pipeline per project. Snakemake inherits the descriptor, so that the lock lives as long as either of them."""
    project.results.mkdir(parents=True, exist_ok=True)
    with (project.results / ".running").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunBusy("another nnn-bench run works in this project; wait for it, or stop it") from None
        yield file.fileno()


def _forget(project: Project, wanted: list[Job]) -> None:
    """Drop the runs of `wanted`, so that they are trained again from their first step."""
    for job in wanted:
        for seed in job.seeds:
            RunDirectory(project.run(f"{job.spec.key}/s{seed}")).clear()


def _drop_stale(project: Project, suite: str, wanted: list[Job]) -> None:
    """Remove what says a step is done when its work is not there any more, so that Snakemake does it again.

    Snakemake does not mind a lost file between two that are there; so what stands on a lost run goes too.
    """
    for job in wanted:
        trained = project.results / "trained" / f"{job.key}.json"
        if any(not RunDirectory(project.run(f"{job.spec.key}/s{seed}")).result.exists() for seed in job.seeds):
            trained.unlink(missing_ok=True)
        audits = [project.audit(audit_key(job.spec, gate), gate) for gate in ("untrained", "trained")]
        if not trained.exists():
            audits[1].unlink(missing_ok=True)
        if not all(path.exists() for path in (trained, *audits)):
            for path in (project.results / "comparisons" / suite).glob("*.json"):
                path.unlink()
            (project.reports / suite / "index.html").unlink(missing_ok=True)
    for path in (project.results / "tracking").glob("*/*.published"):
        marker = read_json(path)
        if not isinstance(marker, dict) or not marker_is_current(project, marker):
            path.unlink()


def _snakemake(
    project: Project,
    suite: str,
    goals: list[str],
    cores: int | None,
    wanted: list[Job],
    stages: dict[str, list[Path]],
    lock: int,
) -> tuple[int, bool, Path]:
    """Run Snakemake to its end; its exit code, whether it was asked to stop, and its log."""
    log = project.root / "logs" / f"snakemake.{suite}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(project, suite, goals, cores),
            cwd=project.root,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(lock,),
            start_new_session=True,  # so that a stop reaches the training jobs too, which then write checkpoints
        )
        with _forwarded_stop(process) as stopped:
            progress = Progress(project, wanted, stages)
            while process.poll() is None:
                progress.show()
                time.sleep(0.2)
            progress.close()
    return process.returncode, stopped.is_set(), log


@contextmanager
def _forwarded_stop(process: subprocess.Popen[bytes]) -> Iterator[threading.Event]:
    """While the block runs, SIGINT, SIGTERM and SIGHUP become a SIGTERM to Snakemake and all its jobs, and set the event."""
    stopped = threading.Event()

    def forward(_number: int, _frame: FrameType | None) -> None:
        stopped.set()
        print("stopping: training jobs write a checkpoint first", file=sys.stderr, flush=True)
        os.killpg(process.pid, signal.SIGTERM)

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _explain(project: Project, log: Path, started: float) -> int:
    """Say why the pipeline stopped: the one-line errors of its jobs, else where to look. Returns the exit code."""
    lines = _said(project, started, ERROR_PREFIX)
    for line in lines:
        print(line, file=sys.stderr)
    if lines:
        return EXIT_BUSY if all("held by another process" in line for line in lines) else EXIT_BAD_INPUT
    print(f"{ERROR_PREFIX}a step failed or was stopped; see {project.relative(log)}", file=sys.stderr)
    return 1


def _said(project: Project, since: float, prefix: str) -> list[str]:
    """Lines with `prefix` that jobs wrote to their logs since a time, each once; of one log the last alone."""
    lines: list[str] = []
    for path in sorted((project.root / "logs").rglob("*.log")):
        if path.stat().st_mtime >= since:
            found = [line for line in path.read_text(errors="replace").splitlines() if line.startswith(prefix)]
            lines += [line for line in found[-1:] if line not in lines]
    return lines


def _print_headline(project: Project, suite: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from nnn_bench.report.headline import headline_lines

    head, *rows = headline_lines(project, suite)
    table = Table(title=f"suite {suite}", title_justify="left", box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(head):
        table.add_column(name, justify="left" if index == 0 else "right", overflow="fold" if index == 0 else "ellipsis")
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    console.print(table)
    print(f"report: {project.relative(project.reports / suite / 'index.html')}")
