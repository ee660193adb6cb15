"""What a run will be, before it runs: sizes, steps, and the receipt that says how its budget was met."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from nnn_bench.budget.solver import meta_model, solve
from nnn_bench.budget.steps import Measured, Spent, met
from nnn_bench.config.closure import is_trees, source_hash
from nnn_bench.config.errors import UserError
from nnn_bench.config.expansion import RunSpec
from nnn_bench.config.validation import Settings
from nnn_bench.models.build import build

_NOTHING = Measured()


class Budgeted(Settings):
    """The data a plan needs to know: what was really prepared, not what was asked for."""

    content_sha256: str
    vocabulary: int = Field(ge=2)
    origin: dict[str, Any] = Field(default={}, description="where the content came from")
    predicted_share: float = Field(
        default=1.0, gt=0, le=1, description="of the positions of windows, those with a target"
    )
    question_share: float | None = Field(
        default=None, description="of scored answers, those whose window holds the question"
    )
    unknown_share: float = Field(default=0.0, description="of the characters of the test split, those of no vocabulary")


class Plan(Settings):
    """A resolved run, the same for all its seeds."""

    learning_rate: float
    model: dict[str, Any]
    steps: int
    receipt: dict[str, Any]

    @property
    def spent(self) -> Spent:
        return Spent(self.steps, sum(self.receipt["training_flops"].values()))


def plan(
    spec: RunSpec, data: Budgeted, *, file: str, measured: Measured = _NOTHING, anchor: Spent | None = None
) -> Plan:
    """Solve the sizes of `spec` and count its steps. `file` is the variant's YAML, for messages; `anchor` is what the
    baseline spends, where the budget is one of FLOPs or time.

    Trees have no sizes to solve: their receipt says that nothing of them was matched but the text.
    """
    scale = spec.scale
    if scale.batch % scale.accumulation:
        raise UserError(
            f"{scale.accumulation} does not divide the batch of {scale.batch} windows", key="language.accumulation"
        )
    if is_trees(spec.model_tree):
        return _unmatched(spec, data, file)
    solution = solve(
        spec.variant_config, scale.body_parameters, vocabulary=data.vocabulary, context=scale.context, file=file
    )
    model = meta_model(solution.model, vocabulary=data.vocabulary, context=scale.context, file=file)
    if model.ahead == 0 != spec.ahead:
        raise UserError(
            "predicts the character at a position from those around it; it asks for a study with ahead: 0, "
            f"not {spec.ahead}",
            file=file,
            key="model",
        )
    if spec.ahead == 0 != model.ahead:
        raise UserError(
            "sees the character at its own position, which is the target there; it asks for a study with ahead: 1 or more, not 0",
            file=file,
            key="model",
        )
    if model.ahead > spec.ahead:
        raise UserError(
            f"looks {model.ahead} tokens ahead inside a block, so its target must lie as far; it asks for a study with "
            f"ahead: {model.ahead} or more, not {spec.ahead}",
            file=file,
            key="model",
        )
    budget = met(spec, model, measured, anchor)
    tokens_per_step, steps = scale.batch * scale.context, budget.steps
    flops = model.training_flops(steps * tokens_per_step, scale.context)
    rate = spec.variant_config.learning_rate if measured.learning_rate is None else measured.learning_rate
    count = solution.parameters
    receipt = {
        **_told(spec, data),
        "learning_rate": rate,
        "trials": measured.trials,
        "met": budget.plain,
        "matched": True,
        "target_body_parameters": scale.body_parameters,
        "knobs": solution.knobs,
        "parameters": {"total": count.total, "tables": count.tables, "head": count.head, "body": count.body},
        "residual": solution.residual,
        "training_flops": {"matrix": flops.matrix, "other": flops.other},
        "steps": steps,
        "batch": scale.batch,
        "tokens": steps * tokens_per_step,
        # with random left padding p of T positions hold no text, p from 0 .. T - 1: the same windows, fewer of their targets
        "predicted_share": data.predicted_share
        * ((scale.context + 1) / (2 * scale.context) if model.random_left_padding else 1.0),
        "source_sha256": source_hash(solution.model),
    }
    return Plan(learning_rate=rate, model=solution.model, steps=steps, receipt=receipt)


def _unmatched(spec: RunSpec, data: Budgeted, file: str) -> Plan:
    """A plan without sizes: as many steps as there are rounds, each over the whole text."""
    model = spec.model_tree
    build(model, vocabulary=data.vocabulary, context=spec.scale.context, file=file)  # refuses what cannot be built
    if (spec.ahead, spec.objective) != (1, "next"):
        raise UserError(
            "predicts the next token alone; it asks for a study with objective: next and ahead: 1, not "
            f"{spec.objective} and {spec.ahead}",
            file=file,
            key="model",
        )
    steps = model["trees"]["rounds"]
    receipt = {
        **_told(spec, data),
        "trials": None,
        "met": None,
        "matched": False,
        "target_body_parameters": None,
        "knobs": {},
        "parameters": {"total": None, "tables": None, "head": None, "body": None},
        "residual": None,
        "training_flops": {},
        "steps": steps,
        "batch": None,
        "tokens": spec.scale.training_characters,
        "predicted_share": 1.0,
        "source_sha256": source_hash(model),
    }
    return Plan(learning_rate=spec.variant_config.learning_rate, model=model, steps=steps, receipt=receipt)


def _told(spec: RunSpec, data: Budgeted) -> dict[str, Any]:
    """What every receipt begins with."""
    return {
        "variant": spec.variant,
        "budget": spec.budget,
        "objective": spec.objective,
        "ahead": spec.ahead,
        "context": spec.scale.context,
        "training_characters": spec.scale.training_characters,
        "learning_rate": spec.variant_config.learning_rate,
        "dataset": {
            "name": spec.dataset,
            "sha256": data.content_sha256,
            "tokenizer": spec.tokenizer,
            "vocabulary": data.vocabulary,
        },
        "origin": data.origin,
        "question_share": data.question_share,
        "unknown_share": data.unknown_share,
    }
