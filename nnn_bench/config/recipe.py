"""How a run is trained and how big it is: the part of the configuration the training program reads.

It stands apart from `schema.py` so that a new field of a suite or a dataset does not count as a change of the trainer.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nnn_bench.config.validation import Settings

# Counts are strict: `true` and `2.0` are no integers.
Count = Annotated[int, Field(ge=0, strict=True)]
PositiveInt = Annotated[int, Field(ge=1, strict=True)]
Decay = Annotated[float, Field(ge=0, lt=1)]


class AdamW(Settings):
    """Decoupled weight decay on tensors with two or more dimensions."""

    name: Literal["adamw"] = "adamw"
    betas: tuple[Decay, Decay] = (0.9, 0.95)
    weight_decay: float = Field(default=0.1, ge=0)
    epsilon: float = Field(default=1e-8, gt=0)


class Lion(Settings):
    """Sign of an interpolated momentum (lion-pytorch); weight decay as for AdamW."""

    name: Literal["lion"]
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    weight_decay: float = Field(default=0.1, ge=0)


class SparseLion(Settings):
    """Lion on those entries of a tensor alone whose gradient is not zero; see `nnn_bench.training.sparse_lion`."""

    name: Literal["sparse_lion"]
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    weight_decay: float = Field(default=0.1, ge=0)


OptimizerSettings = AdamW | Lion | SparseLion


class Schedule(Settings):
    """Learning rate over a run, as shares of its steps, decided before it begins; see `nnn_bench.training.schedule`."""

    name: Literal["cosine", "stable_decay"] = "cosine"
    warmup: float = Field(default=0.05, ge=0, lt=1)
    decay: float = Field(default=0.2, gt=0, le=1, description="stable_decay: share of the run that decays")
    floor: float = Field(default=0.1, ge=0, le=1, description="last learning rate, as a share of the peak")


class PlateauSchedule(Settings):
    """Learning rate that falls when the validation loss stands still; see `nnn_bench.training.plateau`."""

    name: Literal["plateau"]
    warmup: float = Field(default=0.05, ge=0, lt=1)
    factor: float = Field(default=0.1, gt=0, lt=1, description="what the rate is multiplied by")
    patience: PositiveInt = Field(default=2, description="validations without a gain before that happens")
    threshold: float = Field(default=1e-4, ge=0, lt=1, description="share of the best loss that counts as a gain")
    floor: float = Field(default=0.001, ge=0, le=1, description="lowest learning rate, as a share of the peak")


ScheduleSettings = Schedule | PlateauSchedule


class Training(Settings):
    """How every variant of a study is trained: one setting for all."""

    optimizer: Annotated[OptimizerSettings, Field(discriminator="name")] = AdamW()
    schedule: Annotated[ScheduleSettings, Field(discriminator="name")] = Schedule()
    clip: float = Field(default=1.0, gt=0, description="global gradient norm, clipped before the step")
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False
    activation_checkpointing: bool = False


class LanguageScale(Settings):
    """How big the language studies of a suite are."""

    body_parameters: PositiveInt
    context: int = Field(ge=2, le=65536, strict=True)
    training_characters: PositiveInt = Field(
        description="length of the text a run may see, from the start of the training split"
    )
    tokens: PositiveInt = Field(
        description="positions of the windows of one run: with a target each, or those of answers alone"
    )
    batch: PositiveInt = Field(description="windows per optimizer step")
    accumulation: PositiveInt = Field(default=1, description="micro-batches a step is cut into")
    evaluations: PositiveInt = 10
    validation_tokens: PositiveInt = 16384
    test_tokens: PositiveInt = 131072
    sample_tokens: Count = 400
