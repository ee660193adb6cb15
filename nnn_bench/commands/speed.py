"""The verbs that time networks, with the machine to themselves."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
from nnn_bench.config.catalog import Catalog
from nnn_bench.config.errors import RunBusy, UserError, nearest
from nnn_bench.config.paths import Project
from nnn_bench.config.terminal import WARNING_PREFIX

if TYPE_CHECKING:
    from nnn_bench.config.expansion import RunSpec
    from nnn_bench.config.schema import Measurement

_QUIET = 0.5  # cores that others may keep busy before absolute times are in doubt


def speed(
    variants: Annotated[list[str], typer.Argument(metavar="VARIANT...", help="which networks to time")],
    suite: Annotated[str, typer.Option(metavar="SUITE", help="at whose size, batch and context")] = "laptop",
    study: Annotated[
        str | None,
        typer.Option(metavar="STUDY", help="on whose data (default: the first of the suite that has VARIANT)"),
    ] = None,
    groups: Annotated[int | None, typer.Option(min=1, help="groups of four blocks, in place of the suite's")] = None,
    card: Annotated[bool, typer.Option(help="measure inference too")] = True,
    as_json: AsJson = False,
) -> None:
    """Time the training step of VARIANT in turns with that of its study's baseline, and its inference.

    Nothing else should run meanwhile: ratios bear it, absolute times do not.
    """
    project, catalog = open_project()
    settings = _settings(catalog, suite, groups)
    pairs = [_pair(catalog, suite, study, name) for name in variants]
    with settings_of(catalog, suite), _alone(project, wait=False):
        _warn_of_other_work()
        found = [_measured(project, catalog, spec, baseline, settings, card) for spec, baseline in pairs]
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        _show(found)


def measure(
    suite: SuiteName,
    study: StudyName,
    variant: VariantName,
    output: Annotated[Path, typer.Option(help="the JSON file to write")],
) -> None:
    """Time one variant of a study beside its baseline, for the pipeline. Waits for another measurement to end."""
    from nnn_bench.config.files import write_json

    project, catalog = open_project()
    settings = _settings(catalog, suite, None)
    spec, baseline = _pair(catalog, suite, study, variant)
    with settings_of(catalog, suite), _alone(project, wait=True):
        found = _measured(project, catalog, spec, baseline, settings, card=True)
    write_json(output, found)


def _measured(
    project: Project, catalog: Catalog, spec: RunSpec, baseline: RunSpec, settings: Measurement, card: bool
) -> dict[str, Any]:
    from nnn_bench.config.files import finite
    from nnn_bench.speed.measurement import measure_spec  # torch takes seconds to load

    found: dict[str, Any] = finite(measure_spec(project, catalog, spec, baseline, settings, card))
    busy = found["training"]["cores_busy_with_other_work"]
    if busy is not None and busy > _QUIET:
        print(
            f"{WARNING_PREFIX}{spec.variant}: other work kept {busy:.1f} cores busy meanwhile: ratios hold, absolute times "
            "may not",
            file=sys.stderr,
        )
    return found


def _settings(catalog: Catalog, suite: str, groups: int | None) -> Measurement:
    """What a suite says of measuring; the defaults where it says nothing."""
    from nnn_bench.config.schema import Measurement

    settings = catalog.suite(suite).measure or Measurement()
    return settings if groups is None else settings.model_copy(update={"groups": groups})


def _pair(catalog: Catalog, suite: str, study: str | None, variant: str) -> tuple[RunSpec, RunSpec]:
    """The spec of a variant and that of its study's baseline."""
    studies = {name: catalog.study(name) for name in catalog.suite(suite).studies}
    if study is None:
        having = [name for name, told in studies.items() if variant in told.variants]
        if not having:
            known = {one for told in studies.values() for one in told.variants}
            raise UserError(f"suite {suite!r} has no variant {variant!r}; {nearest(variant, known)}")
        study = having[0]
    spec = spec_of(catalog, suite, study, variant)
    return spec, spec_of(catalog, suite, study, catalog.study(study).baseline)


@contextmanager
def _alone(project: Project, wait: bool) -> Iterator[None]:
    """One measurement at a time. Raises `RunBusy` where another one is under way and is not waited for."""
    project.results.mkdir(parents=True, exist_ok=True)
    with (project.results / ".speed.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise RunBusy(
                "another measurement of speed is under way in this project; wait for it, or stop it"
            ) from None
        yield


def _warn_of_other_work() -> None:
    load = os.getloadavg()[0]
    if load > _QUIET:
        print(
            f"{WARNING_PREFIX}other work runs (load {load:.1f}): ratios hold, absolute times may not", file=sys.stderr
        )


def _show(found: list[dict[str, Any]]) -> None:
    from nnn_bench.speed.machine import in_words

    shape = found[0]["shape"]
    print(f"a training step of {shape['batch']} windows of {shape['context']} tokens, {shape['precision']}")
    head = ["variant", "ms/step", "quartiles", "times", "interval", "baseline", "us/token", "peak MB", "baseline's"]
    print_table([head, *(_training_row(one) for one in found)])
    if any(one["inference"] for one in found):
        print("inference")
        head = ["variant", "context", "batch", "first token ms", "ms/token", "recomputed", "times faster", "state kB"]
        print_table([head, *(row for one in found if one["inference"] for row in _card_rows(one))])
    print(in_words(found[0]["machine"]))


def _training_row(one: dict[str, Any]) -> list[str]:
    told = one["training"]
    ratio = told["ratio"]
    return [
        one["variant"],
        f"{told['step_seconds'] * 1e3:.2f}",
        "-".join(f"{value * 1e3:.2f}" for value in told["quartiles"]),
        f"{ratio['median']:.3f}",
        "-".join(f"{value:.3f}" for value in ratio["interval"]) if ratio["groups"] > 1 else "-",
        one["baseline"],
        f"{told['seconds_per_predicted_token'] * 1e6:.2f}",
        _megabytes(told["peak_memory_bytes"]),
        _megabytes(told["baseline_peak_memory_bytes"]),
    ]


def _card_rows(one: dict[str, Any]) -> Iterator[list[str]]:
    for row in one["inference"]["rows"]:
        yield [
            one["variant"],
            f"{row['context']:,}",
            f"{row['batch']}",
            *(_told(row[key], 1e3, 3) for key in ("prefill_seconds", "token_seconds", "recomputed_token_seconds")),
            _told(row["cached_speedup"], 1, 1),
            _told(row["state_bytes"], 1 / 1024, 1),
        ]


def _megabytes(value: int | None) -> str:
    return _told(value, 1 / 1024**2, 1)


def _told(value: float | None, scale: float, digits: int) -> str:
    return "-" if value is None else f"{value * scale:,.{digits}f}"
