"""The two gates a variant passes on its way to a ranking: before its first training step, and on its trained weights.

A gate finds and writes; it stops nothing. Who failed is trained and shown all the same, and ranked nowhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from nnn_bench.audit.findings import TESTS, Audit, Finding, not_applicable, worst_by_test
from nnn_bench.audit.position import position
from nnn_bench.audit.random_tokens import LEAST_STEPS, STEPS, random_tokens
from nnn_bench.audit.random_tokens import VOCABULARY as RANDOM_VOCABULARY
from nnn_bench.audit.static import Tell, audit_fresh, audit_weights
from nnn_bench.budget.solver import solve
from nnn_bench.config.catalog import Catalog
from nnn_bench.config.closure import is_trees
from nnn_bench.config.errors import UserError
from nnn_bench.config.expansion import RunSpec, suite_specs
from nnn_bench.config.files import read_json, write_json
from nnn_bench.config.paths import Project
from nnn_bench.data.store import load
from nnn_bench.models.build import build
from nnn_bench.models.language_model import LanguageModel
from nnn_bench.training.job import make_plan
from nnn_bench.training.run_directory import RunDirectory
from nnn_bench.training.trained import load_trained
from nnn_bench.training.trainer import initial_seed
from nnn_bench.training.trees import random_trees

_SMALL_VOCABULARY = 29  # where there is no data to bring one


def audit_untrained(project: Project, catalog: Catalog, spec: RunSpec) -> Audit:
    """The network of `spec` exactly as planned, with the fresh weights of seed 0, at every stage of its growth."""
    torch.set_num_threads(spec.threads)
    made = make_plan(project, catalog, spec.declared)
    vocabulary = made.receipt["dataset"]["vocabulary"]
    if is_trees(made.model):
        return _unfitted(spec.variant, {"source_sha256": made.receipt["source_sha256"], "vocabulary": vocabulary})
    model = _fresh(spec.variant, made.model, vocabulary, spec.scale.context)
    facts = {"source_sha256": made.receipt["source_sha256"], "seed": 0, "vocabulary": vocabulary}
    return Audit(spec.variant, "untrained", tuple(audit_fresh(model)), facts)


def audit_trained(project: Project, catalog: Catalog, spec: RunSpec, seeds: Iterable[int]) -> Audit:
    """The trained weights and the loss by position of every finished seed, the worst of each test; and random tokens.

    Runs that diverged have nothing to look at and are named in `facts`. Raises `UserError` when a seed is not trained yet.
    """
    torch.set_num_threads(spec.threads)
    made = make_plan(project, catalog, spec)
    vocabulary = load(project, spec.dataset, spec.tokenizer).manifest.vocabulary
    trees = is_trees(made.model)
    fresh = _fresh(spec.variant, made.model, RANDOM_VOCABULARY, spec.scale.context)
    found: list[tuple[str, list[Finding]]] = []
    runs = []
    for seed in seeds:
        path = project.run(f"{spec.key}/s{seed}")
        result = _result(project, path)
        runs.append({key: result[key] for key in ("run_key", "fingerprint", "status")})
        if result["test"] is not None:
            weights = audit_weights(load_trained(path, vocabulary), rounds=1)
            found.append((f"seed {seed}", [*weights, _position(fresh, result, spec.objective)]))
    if trees:
        chance = random_trees(made.model, RANDOM_VOCABULARY, spec.scale.context, made.learning_rate)
    else:
        chance = random_tokens(fresh, _random_steps(made.steps))
    found.append(("fresh weights", [chance]))
    if len(found) == 1:
        found.append(
            ("every seed", [not_applicable("position", f"all {len(runs)} runs diverged: there is no loss to look at")])
        )
    facts = {"runs": runs, "diverged": [run["run_key"] for run in runs if run["status"] != "ok"]}
    return Audit(spec.variant, "trained", tuple(worst_by_test(found)), facts)


def audit_variant(catalog: Catalog, name: str, suite: str, tell: Tell) -> Audit:
    """All that the variant `name`, at the size of a suite, can be asked without data and without training it first."""
    scale = catalog.suite(suite).language
    variant, file = catalog.variant(name), str(catalog.file("variants", name))
    torch.set_num_threads(catalog.suite(suite).threads_per_job)
    if is_trees(variant.model_tree):
        build(variant.model_tree, vocabulary=_SMALL_VOCABULARY, context=scale.context, file=file)  # or refuse it
        return _unfitted(name, {"suite": suite, "body_parameters": None})
    solution = solve(variant, scale.body_parameters, vocabulary=_SMALL_VOCABULARY, context=scale.context, file=file)
    findings = audit_fresh(_fresh(name, solution.model, _SMALL_VOCABULARY, scale.context), tell)

    def tell_share(done: int, steps: int) -> None:
        tell(f"random_tokens, step {done} of {steps}")

    fresh = _fresh(name, solution.model, RANDOM_VOCABULARY, scale.context)
    steps = _random_steps(scale.tokens // (scale.batch * scale.context))
    findings.append(random_tokens(fresh, steps, tell_share))
    return Audit(name, "untrained", tuple(findings), {"suite": suite, "body_parameters": solution.parameters.body})


def _unfitted(variant: str, facts: dict[str, Any]) -> Audit:
    """Trees that nothing was fitted to yet answer nothing: there is no audit before, only one after."""
    why = "trees answer nothing before they are fitted; they are asked afterwards"
    return Audit(variant, "untrained", tuple(not_applicable(test, why) for test in TESTS), facts)


def trained_audits(project: Project, catalog: Catalog, variant: str, suite: str) -> dict[str, dict[str, Any]]:
    """What the gate after training said of a variant in the studies of a suite, where it has been passed."""
    specs = {study: found.get(variant) for study, found in suite_specs(catalog, suite).items()}
    told = {study: read_json(project.audit(spec.key, "trained")) for study, spec in specs.items() if spec}
    return {study: audit for study, audit in told.items() if isinstance(audit, dict)}


def write_audit(path: Path, make: Callable[[], Audit]) -> Audit:
    """Make an audit, write it whole with the seconds it took, and hand it back."""
    started = time.perf_counter()
    audit = make()
    write_json(path, {**audit.plain(), "seconds": round(time.perf_counter() - started, 3)})
    return audit


def _fresh(variant: str, tree: dict[str, Any], vocabulary: int, context: int) -> LanguageModel:
    """The network as the trainer makes it for seed 0; torch's random generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(initial_seed(0, variant))
        return build(tree, vocabulary=vocabulary, context=context, file=variant)


def _random_steps(steps: int) -> int:
    """Steps on random tokens that vouch for a run of `steps`: a short one needs no longer proof than itself."""
    return min(STEPS, max(LEAST_STEPS, steps))


def _position(model: LanguageModel, result: dict[str, Any], objective: str) -> Finding:
    """Of a network that reads on both sides, the last positions are left out: they have less to read."""
    losses: list[float | None] = result["test"]["by_position"]
    told = [one for one in losses if one is not None]
    if objective == "aligned":
        return not_applicable(
            "position", "answers lie beside questions: what stands at a place differs along the window"
        )
    if len(told) < len(losses):
        return not_applicable("position", f"{len(losses) - len(told)} places of the window had no target")
    if not model.ahead:
        seen = model.visible(len(told)).sum(dim=1)
        told = told[: int((seen == seen.max()).nonzero().max()) + 1]
    return position(told, model.ahead)


def _result(project: Project, path: Path) -> dict[str, Any]:
    result = read_json(RunDirectory(path).result)
    if not isinstance(result, dict):
        raise UserError("is missing or damaged; train this seed first", file=project.relative(path / "result.json"))
    return result
