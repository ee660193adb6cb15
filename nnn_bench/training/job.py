"""One training process: a spec's seeds, one after another, each in its own run directory.

A cold start costs seconds of imports against seconds of training, so seeds share a process. A run that is done is skipped, one
that was stopped goes on, one that diverged is a result like any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nnn_bench.budget.plan import Budgeted, Plan, plan
from nnn_bench.budget.steps import Measured, Spent
from nnn_bench.config.catalog import Catalog
from nnn_bench.config.closure import is_trees
from nnn_bench.config.errors import UserError
from nnn_bench.config.expansion import RunSpec
from nnn_bench.config.paths import Project
from nnn_bench.data.objectives import evaluation_windows, predicted_share, question_share, training_batches
from nnn_bench.data.prepare import prepare
from nnn_bench.data.store import TokenStore, load
from nnn_bench.training.configuration import RunConfiguration
from nnn_bench.training.measured import read_measured
from nnn_bench.training.trainer import train_run
from nnn_bench.training.trees import fit_run


def make_plan(project: Project, catalog: Catalog, spec: RunSpec) -> Plan:
    """The plan of `spec` on the data that is really there; prepares the data first if need be.

    Raises `NotMeasured` where a rate was not searched yet, or a step not timed, that the plan asks for.
    """
    manifest = prepare(spec.dataset, spec.dataset_config, spec.tokenizer, spec.tokens, project)
    store = load(project, spec.dataset, spec.tokenizer)
    _check_windows(spec, store)
    data = Budgeted(
        content_sha256=manifest.content_sha256,
        vocabulary=manifest.vocabulary,
        origin=manifest.origin,
        predicted_share=predicted_share(store, spec.scale, spec.objective),
        question_share=question_share(store, spec.scale) if spec.objective == "answers" else None,
        unknown_share=manifest.splits["test"].unknown / manifest.splits["test"].characters,
    )

    def planned(one: RunSpec, measured: Measured, anchor: Spent | None) -> Plan:
        return plan(one, data, file=str(catalog.file("variants", one.variant)), measured=measured, anchor=anchor)

    anchor = planned(spec.anchor.declared, Measured(), None).spent if spec.anchor else None
    return planned(spec, read_measured(project, spec), anchor)


def _check_windows(spec: RunSpec, store: TokenStore) -> None:
    """Refuse a scale the data cannot serve, before anything is planned on it."""
    train = store.manifest.splits["train"]
    characters = spec.scale.context * train.characters / train.tokens
    if store.manifest.form == "text" and spec.dataset_config.gap < characters:
        raise UserError(
            f"is {spec.scale.context} tokens or {characters:.0f} characters, longer than the gap of {spec.dataset_config.gap} "
            f"characters between the splits of {spec.dataset!r}; lower it, or raise gap in config/datasets/{spec.dataset}.yaml",
            key="language.context",
        )
    training_batches(store, spec.scale, spec.objective, spec.ahead, seed=0)
    evaluation_windows(store, "validation", spec.scale, spec.objective, spec.ahead)
    evaluation_windows(store, "test", spec.scale, spec.objective, spec.ahead)


def run_configuration(spec: RunSpec, made: Plan, seed: int) -> RunConfiguration:
    return RunConfiguration(
        run_key=f"{spec.key}/s{seed}",
        variant=spec.variant,
        dataset=spec.dataset,
        tokenizer=spec.tokenizer,
        budget=spec.budget,
        objective=spec.objective,
        ahead=spec.ahead,
        seed=seed,
        learning_rate=made.learning_rate,
        model=made.model,
        steps=made.steps,
        scale=spec.scale,
        training=spec.training,
        threads=spec.threads,
        device=spec.device,
        settings=spec.settings,
        receipt=made.receipt,
    )


def train_seeds(
    project: Project, catalog: Catalog, spec: RunSpec, seeds: Iterable[int], checkpoint_seconds: float
) -> dict[str, Any]:
    """Train all `seeds` of `spec`; returns `{"runs": [{run_key, fingerprint, status}]}`."""
    made = make_plan(project, catalog, spec)
    store = load(project, spec.dataset, spec.tokenizer)
    runs = []
    for seed in seeds:
        configuration = run_configuration(spec, made, seed)
        path = project.run(configuration.run_key)
        if is_trees(made.model):
            result = fit_run(configuration, store, path)
        else:
            result = train_run(configuration, store, path, checkpoint_seconds)
        runs.append({key: result[key] for key in ("run_key", "fingerprint", "status")})
        test = result["test"]
        score = f"{test['bits_per_byte']:.4f} bits per byte" if test else "no score"
        print(f"{configuration.run_key}: {result['status']}, {score}, {result['seconds']:.1f} s", flush=True)
    return {"runs": runs}
