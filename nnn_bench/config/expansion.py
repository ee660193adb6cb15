"""From a suite to the runs it asks for.

A `RunSpec` is everything that decides a run but its seed and the source code: two studies, or two suites, that ask for the
same thing get the same spec, and the run is trained once. Texts that only people read (summary, citation) are not part of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from nnn_bench.config.catalog import Catalog
from nnn_bench.config.datasets import Dataset, TokenSettings
from nnn_bench.config.errors import UserError
from nnn_bench.config.files import digest
from nnn_bench.config.recipe import LanguageScale, Training
from nnn_bench.config.schema import RateSearch, Study, Suite, Variant

_WORDS = {"summary", "source", "licence", "citation"}


@dataclass(frozen=True)
class Search:
    """A suite's search for learning rates: its variants are one group, so a rate found in it is the suite's own."""

    suite: str
    settings: RateSearch


@dataclass(frozen=True)
class RunSpec:
    """What is trained, on what, how, under which budget.

    A budget of FLOPs or time is what `anchor`, the spec of the baseline under the budget of tokens, spends on those; so the
    baseline itself is the same run under every budget.
    """

    variant: str
    variant_config: Variant
    dataset: str
    dataset_config: Dataset
    tokenizer: str
    tokens: TokenSettings
    budget: str
    objective: str
    ahead: int
    scale: LanguageScale
    training: Training
    threads: int
    device: str
    search: Search | None = None
    anchor: RunSpec | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Plain data that decides the run. The dataset is named by its content hash where that is known."""
        dataset = self.dataset_config.model_dump(mode="json", exclude=_WORDS - {"source"}, exclude_none=True)
        if self.dataset_config.sha256:
            for way in ("source", "sources", "reader", "bytes"):  # another way to the same content is the same dataset
                dataset.pop(way, None)
        return {
            "variant": self.variant,
            "variant_config": self.variant_config.model_dump(mode="json", exclude=_WORDS, exclude_none=True),
            "dataset": self.dataset,
            "dataset_config": dataset,
            "tokenizer": self.tokenizer,
            "tokens": self.tokens.model_dump(mode="json"),
            "budget": self.budget,
            "objective": self.objective,
            "ahead": self.ahead,
            "scale": self.scale.model_dump(mode="json"),
            "training": self.training.model_dump(mode="json"),
            "threads": self.threads,
            "device": self.device,
            **(
                {"search": {"suite": self.search.suite, **self.search.settings.model_dump(mode="json")}}
                if self.search
                else {}
            ),
            **({"anchor": self.anchor.settings} if self.anchor else {}),
        }

    @property
    def searched(self) -> RunSpec:
        """The spec whose rate this one trains at: its own under the budget of tokens, so that one search serves all budgets."""
        return replace(self, budget="tokens", anchor=None)

    @property
    def declared(self) -> RunSpec:
        """The same network with nothing that must be measured first: at the declared rate, under the budget of tokens."""
        return replace(self, budget="tokens", anchor=None, search=None)

    @property
    def unsearched(self) -> RunSpec:
        """The same run at the declared rate."""
        return replace(self, search=None)

    @property
    def group(self) -> str:
        """What a search has in common with those of other variants: all but the network and its optimizer."""
        settings = self.searched.settings
        training = {key: value for key, value in settings["training"].items() if key != "optimizer"}
        shared = {key: value for key, value in settings.items() if key not in ("variant", "variant_config")}
        return digest({**shared, "training": training})

    @property
    def id(self) -> str:
        return digest(self.settings)[:10]

    @property
    def key(self) -> str:
        """Folder of the spec's runs below `results/runs`, unique and readable."""
        return f"{self.dataset}/{self.variant}-{self.id}"

    @property
    def model_tree(self) -> dict[str, Any]:
        """The model as plain data, its knobs still open."""
        return self.variant_config.model_tree

    @property
    def ladder_key(self) -> str:
        """Name of the n-gram ladder that saw the same characters and is scored on the same targets."""
        scored = {key: self.settings["scale"][key] for key in ("context", "training_characters", "test_tokens")}
        data = [self.settings["dataset_config"], self.settings["tokens"]]
        return f"{self.dataset}.{self.tokenizer}-{digest([scored, self.objective, self.ahead, data])[:10]}"


@dataclass(frozen=True)
class Job:
    """One process: one spec, some seeds, one after another."""

    spec: RunSpec
    seeds: tuple[int, ...]

    @property
    def key(self) -> str:
        return f"{self.spec.key}.s{'_'.join(str(seed) for seed in self.seeds)}"


def study_specs(catalog: Catalog, suite_name: str, study_name: str) -> dict[str, RunSpec]:
    """The spec of each variant of a study at the scale of a suite, in the study's order."""
    suite, study = catalog.suite(suite_name), catalog.study(study_name)
    _check_baseline(catalog, study, study_name)
    _check_budget(catalog, suite, study, suite_name, study_name)
    search = Search(suite_name, suite.search) if suite.search else None

    def spec(name: str) -> RunSpec:
        variant = catalog.variant(name)
        optimizer = {"optimizer": variant.optimizer} if variant.optimizer else {}
        return RunSpec(
            variant=name,
            variant_config=variant,
            dataset=study.dataset,
            dataset_config=catalog.dataset(study.dataset),
            tokenizer=study.tokenizer,
            tokens=catalog.tokenization(study.tokenizer).tokens,
            budget="tokens",
            objective=study.objective,
            ahead=study.ahead,
            scale=_scale(suite.language, study.context),
            training=study.training.model_copy(update=optimizer),
            threads=suite.threads_per_job,
            device=suite.device,
            search=search if variant.knobs else None,  # trees have no rate that a short run could tell
        )

    anchor = spec(study.baseline)
    return {name: _under(study.budget, spec(name), anchor) for name in study.variants}


def measured_key(spec: RunSpec, baseline: RunSpec) -> str:
    """Name of what is measured of a spec's step, rate and budget aside, in turns with a baseline's."""
    return f"{spec.declared.key}-{baseline.declared.id}"


def audit_key(spec: RunSpec, gate: str) -> str:
    """Name of a spec's audit: before training nothing but the network is looked at, so rate and budget are left aside."""
    return spec.declared.key if gate == "untrained" else spec.key


def suite_specs(catalog: Catalog, suite_name: str) -> dict[str, dict[str, RunSpec]]:
    """Study name -> variant name -> spec."""
    return {study: study_specs(catalog, suite_name, study) for study in catalog.suite(suite_name).studies}


def jobs(catalog: Catalog, suite_name: str) -> list[Job]:
    """The training processes of a suite, each spec once. Seeds come first, so that early results are paired."""
    suite = catalog.suite(suite_name)
    specs = unique_specs(suite_specs(catalog, suite_name).values())
    return [Job(spec, seeds) for seeds in seed_groups(suite) for spec in specs]


def seed_groups(suite: Suite) -> list[tuple[int, ...]]:
    seeds = range(suite.seeds)
    return [tuple(seeds[i : i + suite.seeds_per_job]) for i in range(0, suite.seeds, suite.seeds_per_job)]


def unique_specs(specs: Iterable[dict[str, RunSpec]]) -> list[RunSpec]:
    """Each different spec of several studies once, in order."""
    return list({spec.key: spec for study in specs for spec in study.values()}.values())


def _scale(scale: LanguageScale, context: int | None) -> LanguageScale:
    """A suite's scale with a context of a study's own: as many tokens in a step, in fewer windows."""
    if context is None:
        return scale
    return scale.model_copy(update={"context": context, "batch": max(1, scale.batch * scale.context // context)})


def _under(budget: str, spec: RunSpec, anchor: RunSpec) -> RunSpec:
    """`spec` under a budget. What the baseline itself spends defines the others, so it keeps its own, and so do trees."""
    if budget == "tokens" or spec.variant == anchor.variant or spec.variant_config.knobs is None:
        return spec
    return replace(spec, budget=budget, anchor=anchor)


def _check_budget(catalog: Catalog, suite: Suite, study: Study, suite_name: str, study_name: str) -> None:
    if study.budget == "time" and suite.measure is None:
        raise UserError(
            f"study {study_name!r} has a budget of time, which the speed lane turns into steps; add measure: {{}}",
            file=catalog.file("suites", suite_name),
            key="measure",
        )


def _check_baseline(catalog: Catalog, study: Study, study_name: str) -> None:
    if catalog.variant(study.baseline).knobs is None:
        raise UserError(
            f"{study.baseline!r} is matched with nothing, so nothing can be compared with it; name a network",
            file=catalog.file("studies", study_name),
            key="baseline",
        )
