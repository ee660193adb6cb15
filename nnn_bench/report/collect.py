"""Everything a report shows, read once: comparisons, the runs they name, and what was found out before those could be planned.

Nothing is computed here that a comparison already says; nothing is left out because it looks bad.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from nnn_bench.config.catalog import Catalog
from nnn_bench.config.expansion import study_specs
from nnn_bench.config.paths import Project
from nnn_bench.report.found import alike, read_measured, read_rates
from nnn_bench.statistics.comparison import read_comparison
from nnn_bench.statistics.records import read_object, read_record


@dataclass(frozen=True)
class RunView:
    """One run: its files, and its rows by kind. `value` is test bits per byte, None when it diverged."""

    key: str
    seed: int
    status: str
    value: float | None
    result: dict[str, Any]
    config: dict[str, Any]
    train: list[dict[str, Any]]
    validation: list[dict[str, Any]]
    growth: list[dict[str, Any]]

    @property
    def finished(self) -> bool:
        return self.status == "ok"


@dataclass(frozen=True)
class VariantView:
    """One variant of a study. `place` is its position in the study, which fixes its colour; `row` is the comparison's.

    `rates` is the ledger of its learning rates, `measured` what the speed lane and the inference card found; None where there
    is none.
    """

    name: str
    summary: str
    source: str
    place: int
    is_baseline: bool
    row: dict[str, Any]
    runs: list[RunView]
    rates: dict[str, Any] | None = None
    measured: dict[str, Any] | None = None

    @property
    def mean(self) -> float | None:
        mean: float | None = self.row["mean"]
        return mean

    @property
    def interval(self) -> list[float] | None:
        ends: list[float] | None = self.row["interval"]
        return ends

    @property
    def receipt(self) -> dict[str, Any]:
        receipt: dict[str, Any] = self.row["receipt"]
        return receipt

    @property
    def difference(self) -> dict[str, Any] | None:
        difference: dict[str, Any] | None = self.row["difference"]
        return difference

    @property
    def audit(self) -> dict[str, Any]:
        audit: dict[str, Any] = self.row["audit"]
        return audit

    @property
    def quarantined(self) -> bool:
        """Whether it failed an audit: shown, never ranked."""
        quarantined: bool = self.row["quarantined"]
        return quarantined

    @property
    def label(self) -> str:
        """The name for legends and descriptions."""
        return f"{self.name} (quarantined)" if self.quarantined else self.name

    @property
    def finished(self) -> list[RunView]:
        return [run for run in self.runs if run.finished]

    @property
    def training_flops(self) -> float:
        """What one whole run spent, mean over the finished ones; where none finished, what its receipt declares."""
        spent = self.mean_of("flops")
        return float(sum(self.receipt["training_flops"].values())) if spent is None else spent

    def mean_of(self, *path: str) -> float | None:
        """Mean over the finished runs of a number in `result.json`."""
        values = []
        for run in self.finished:
            value: Any = run.result
            for part in path:
                value = value[part]
            values.append(value)
        return math.fsum(values) / len(values) if values else None


@dataclass(frozen=True)
class StudyView:
    """One study at the scale of the suite."""

    name: str
    comparison: dict[str, Any]
    variants: list[VariantView]
    outside: list[VariantView]  # only their text was matched: in a table of their own
    alike: str = ""  # the same for studies that differ in their budget alone

    @property
    def baseline(self) -> VariantView:
        return next(variant for variant in self.variants if variant.is_baseline)

    @property
    def everything(self) -> list[VariantView]:
        """What was matched, then what was not."""
        return [*self.variants, *self.outside]

    @property
    def challengers(self) -> list[VariantView]:
        """All but the baseline, the quarantined ones last."""
        others = [variant for variant in self.variants if not variant.is_baseline]
        return sorted(others, key=lambda variant: variant.quarantined)

    @property
    def ranked(self) -> list[VariantView]:
        """The variants that passed their audits."""
        return [variant for variant in self.variants if not variant.quarantined]

    @property
    def quarantined(self) -> list[VariantView]:
        return [variant for variant in self.variants if variant.quarantined]

    @property
    def conclusive(self) -> bool:
        """Whether differences may be called better or worse."""
        return bool(self.comparison["conclusive"]) and not self.baseline.quarantined

    @property
    def ahead(self) -> int:
        """How many tokens after a position its target lies; 1 is the next token."""
        return int(self.comparison["ahead"])

    @property
    def objective(self) -> str:
        """What is predicted: `next`, `answers` or `aligned` (`nnn_bench/data/objectives.py`)."""
        return str(self.comparison["objective"])

    @property
    def budget(self) -> str:
        """What is equal beside body parameters: `tokens`, `flops` or `time`."""
        return str(self.comparison["budget"])

    @property
    def searched(self) -> list[VariantView]:
        """The variants whose learning rate was searched for."""
        return [variant for variant in self.variants if variant.rates]

    @property
    def timed(self) -> list[VariantView]:
        """The variants that were measured alone on the machine."""
        return [variant for variant in self.variants if variant.measured]

    @property
    def floor(self) -> float:
        """Bits per byte of the n-gram of the floor's order."""
        ladder = self.comparison["ladder"]
        found = next(row for row in ladder["orders"] if row["order"] == ladder["floor_order"])
        return float(found["bits_per_byte"])


@dataclass(frozen=True)
class SuiteView:
    """What one report shows."""

    name: str
    summary: str
    studies: list[StudyView]

    def siblings(self, study: StudyView) -> list[StudyView]:
        """The studies that differ from this one in their budget alone, itself among them."""
        return [other for other in self.studies if other.alike == study.alike]

    def shown_by(self, study: StudyView, part: str) -> StudyView:
        """The first study whose `rates` or `measured` are those of this one: what several share is shown once."""
        own = {variant.name: getattr(variant, part) for variant in study.variants}
        return next(
            other
            for other in self.studies
            if {variant.name: getattr(variant, part) for variant in other.variants} == own
        )


def collect(project: Project, catalog: Catalog, suite: str) -> SuiteView:
    """Read all studies of a suite; `UserError` names the first comparison or run that is missing, and the mend."""
    asked = catalog.suite(suite)
    return SuiteView(suite, asked.summary, [_study(project, catalog, suite, study) for study in asked.studies])


def _study(project: Project, catalog: Catalog, suite: str, study: str) -> StudyView:
    comparison = read_comparison(project, suite, study)
    specs = study_specs(catalog, suite, study)
    baseline = specs[catalog.study(study).baseline]
    variants = [
        VariantView(
            name=row["variant"],
            summary=row["summary"],
            source=row["source"],
            place=place,
            is_baseline=row["variant"] == comparison["baseline"],
            row=row,
            runs=[
                _run(project, key, value, f"nnn-bench run {suite} {row['variant']}")
                for key, value in zip(row["runs"], row["values"], strict=True)
            ],
            rates=read_rates(project, suite, specs.get(row["variant"])),
            measured=read_measured(project, suite, specs.get(row["variant"]), baseline),
        )
        for place, row in enumerate(_baseline_first(comparison))
    ]
    matched = [variant for variant in variants if variant.row.get("matched", True)]
    outside = [variant for variant in variants if variant not in matched]
    return StudyView(study, comparison, matched, outside, alike(catalog, study))


def _baseline_first(comparison: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = comparison["variants"]
    return sorted(rows, key=lambda row: row["variant"] != comparison["baseline"])


def _run(project: Project, key: str, value: float | None, command: str) -> RunView:
    folder = project.run(key)
    result = read_object(project, folder / "result.json", command)
    record = read_record(project, key, command)
    return RunView(
        key=key,
        seed=result["seed"],
        status=result["status"],
        value=value,
        result=result,
        config=read_object(project, folder / "config.json", command),
        train=[row for row in record if row["kind"] == "train"],
        validation=[row for row in record if row["kind"] == "validation"],
        growth=[row for row in record if row["kind"] == "growth"],
    )
