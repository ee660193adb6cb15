"""What the files under `config/` may say: variants, studies, suites (`datasets.py`: data sets and tokenizers).

A *variant* names an architecture as a tree of components (`kind` = the name of the Python file that holds it), the two
knobs the budget solver may turn, and its learning rate. A *study* asks one question of several variants. A *suite* says how
big. Options of a component are declared beside its code, and are checked when the model is planned.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from nnn_bench.config.component import Component
from nnn_bench.config.recipe import Count, LanguageScale, OptimizerSettings, PositiveInt, Training
from nnn_bench.config.validation import Inconsistent, Settings
from nnn_bench.config.words import Name, Names, Text


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
    learning_rate: float = Field(gt=0, lt=1, description="declared; a suite that searches for rates searches around it")
    optimizer: Annotated[OptimizerSettings, Field(discriminator="name")] | None = Field(
        default=None, description="in place of the study's: for a study that compares optimizers"
    )

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


class Study(Settings):
    """One question: which variants, on what, under which equality."""

    kind: Literal["language"] = "language"
    title: Text
    question: Text
    baseline: Name
    variants: Names
    dataset: Name
    tokenizer: Name = "characters"
    objective: Literal["next", "answers", "aligned"] = Field(
        default="next",
        description="what is predicted: every next token; those of a conversation's answers alone; or, a control, each token "
        "of an answer from the tokens of the question that stand no further on",
    )
    budget: Literal["tokens", "flops", "time"] = Field(
        default="tokens",
        description="what is equal beside body parameters: the tokens of the suite, or the training FLOPs or the training time "
        "that the baseline spends on them",
    )
    context: int | None = Field(
        default=None,
        ge=2,
        le=65536,
        strict=True,
        description="in place of the suite's; windows per step shrink as much",
    )
    ahead: Count = Field(
        default=1,
        description="how many tokens after a position its target lies, for all variants; 0: the position itself, hidden",
    )
    margin: float = Field(
        default=0.01,
        gt=0,
        lt=1,
        description="a variant that differs by less is as good as the baseline: a share of the baseline's bits per byte",
    )
    training: Training = Training()

    @model_validator(mode="after")
    def _fits_together(self) -> Study:
        if self.baseline not in self.variants:
            raise Inconsistent(f"{self.baseline!r} must be one of the variants", key="baseline")
        if self.objective == "aligned" and self.ahead != 1:
            raise Inconsistent("an aligned answer has no distance from its question; leave it out", key="ahead")
        return self


class RateSearch(Settings):
    """Trials of a learning rate: as many for every variant of a suite, each a short run scored on validation data.

    `factors` multiply the rate a variant declares and lie evenly on a logarithmic scale. Where the best of any variant lies at an
    edge, every variant gets one trial more beyond that edge.
    """

    factors: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(0.5, 1.0, 2.0), min_length=3)
    share: float = Field(default=0.2, gt=0, le=1, description="length of a trial, as a share of the suite's tokens")
    seeds: PositiveInt = Field(default=1, description="seeds a trial is averaged over; no run of the suite uses them")

    @model_validator(mode="after")
    def _is_a_grid(self) -> RateSearch:
        if 1.0 not in self.factors:
            raise Inconsistent("must hold 1, the declared rate", key="factors")
        ratios = [later / earlier for earlier, later in pairwise(self.factors)]
        if ratios[0] <= 1 or not all(math.isclose(ratio, ratios[0], rel_tol=1e-6) for ratio in ratios):
            raise Inconsistent("must rise by the same ratio from each to the next", key="factors")
        return self


class Measurement(Settings):
    """How long the speed lane and the inference card measure a variant, with the machine to themselves."""

    groups: PositiveInt = Field(default=12, description="groups of four blocks, A B B A, of training steps")
    block_seconds: float = Field(
        default=0.1, gt=0, description="time a block takes about, between two synchronisations"
    )
    contexts: tuple[PositiveInt, ...] = Field(default=(64, 256), min_length=1, description="of the inference card")
    batches: tuple[PositiveInt, ...] = Field(default=(1, 8), min_length=1, description="texts at once, of the card")


class Suite(Settings):
    """How big: which studies, at which scale, with how many seeds."""

    summary: Text
    studies: Names
    language: LanguageScale
    seeds: PositiveInt
    search: RateSearch | None = Field(default=None, description="none: every variant trains at the rate it declares")
    measure: Measurement | None = Field(default=None, description="none: no speed lane, no card, no budget of time")
    seeds_per_job: PositiveInt = Field(default=1000, description="seeds one process trains one after another")
    threads_per_job: PositiveInt = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    verdicts: bool = Field(default=True, description="false: too small to conclude anything from")
