"""A results tree as a finished suite leaves it, made from formulas in milliseconds.

Runs, audits, ladders and comparisons lie where the real ones lie and hold the same fields; the configuration is a copy
of the real `config/`. Losses fall along a power law with a little seed-dependent noise, so every number can be worked
out again.
"""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from nnn_bench.config.catalog import Catalog
from nnn_bench.config.expansion import RunSpec, audit_key, digest, study_specs
from nnn_bench.config.paths import Project
from nnn_bench.statistics.comparison import write_comparison

STARTED = 1_760_000_000.0
FLOOR = 3.06  # bits per byte of the synthetic trigram
FAR_FLOOR = 4.66  # the same where targets lie further ahead
#: Last loss in bits per byte, training FLOPs per token and seconds of each variant.
CHARACTER = {
    "gpt2": (2.41, 1.32e6, 24.0),
    "matmul_free": (2.53, 1.21e6, 41.0),
    "selection_transformer": (2.40, 2.05e6, 63.0),
    "conv_attention": (2.47, 0.98e6, 19.0),
    "progressive_untying": (2.45, 1.05e6, 33.0),
    "node_cascade": (2.50, 1.61e6, 52.0),
}
OTHER_FLOPS = 21_000.0  # per token
UNKNOWN = (2.6, 1.5e6, 30.0)
#: Audits of each gate, in their order; those of a gate that a plain network has no use for.
STATIC = ("future_tokens", "future_gradient", "past_coverage", "batch_rows", "step", "modes")
AUDITS = {
    "untrained": (*STATIC, "gradient", "unselected", "selector", "growth"),
    "trained": (*STATIC, "random_tokens", "position"),
}
LEAKS = frozenset({"future_tokens", "future_gradient", "random_tokens", "position"})


@dataclass(frozen=True)
class Synthetic:
    """What to make. `diverged` holds (variant, seed); `text` is what every sample says, `saw` what every audit says.

    `quarantined` maps a variant to the audits it fails, `growing` names variants whose records tell of growth, and
    `studies` maps the studies of the suite beside `language` to what they change in it; None leaves the suite's own. `changes`
    are to the suite's file: `{"measure": {}}` lets a study have a budget of time, `{"search": {}}` gives receipts their trials.
    """

    suite: str = "laptop"
    diverged: frozenset[tuple[str, int]] = frozenset()
    seeds: int | None = None
    verdicts: bool | None = None
    prompt: str = "ROMEO:"
    text: str = "\nBut soft, what light the wond of heart,\nAnd stand the king to thee, my lord."
    summaries: dict[str, str] = field(default_factory=dict)
    variants: tuple[str, ...] | None = None
    quarantined: dict[str, list[str]] = field(default_factory=dict)
    growing: frozenset[str] = frozenset()
    studies: dict[str, dict[str, Any]] | None = None
    saw: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)


PLAIN = ("gpt2", "matmul_free", "selection_transformer")


def plain(**wanted: Any) -> Synthetic:
    """One study of three variants, whatever else the checkout's configuration has come to hold."""
    return Synthetic(**{"variants": PLAIN, "studies": {}} | wanted)


def make_project(root: Path, wanted: Synthetic | None = None) -> tuple[Project, Catalog]:
    """A project at `root` with configuration, runs, ladder and comparison of one suite."""
    wanted = wanted or Synthetic()
    shutil.copytree(Path(__file__).resolve().parents[1] / "config", root / "config")
    _configure(root, wanted)
    project = Project(root)
    catalog = Catalog(project)
    make_runs(project, catalog, wanted)
    for study in catalog.suite(wanted.suite).studies:
        write_comparison(project, catalog, wanted.suite, study)
    return project, catalog


def make_runs(project: Project, catalog: Catalog, wanted: Synthetic) -> list[Path]:
    """Write the ladder, the audits and every run of a suite; returns the run folders."""
    folders = []
    for study in catalog.suite(wanted.suite).studies:
        for name, spec in study_specs(catalog, wanted.suite, study).items():
            _write(project.results / "ladders" / f"{spec.ladder_key}.json", _ladder(spec))
            failed = wanted.quarantined.get(name, [])
            make_audits(project, spec, failed, wanted.saw)
            for seed in range(catalog.suite(wanted.suite).seeds):
                folders.append(
                    make_run(
                        *(project, spec, seed),
                        diverged=(name, seed) in wanted.diverged,
                        leaks=bool(LEAKS & set(failed)),
                        grows=name in wanted.growing or next(iter(spec.model_tree.values()))["kind"] == "growing",
                        prompt=wanted.prompt,
                        text=wanted.text,
                    )
                )
    return folders


def make_audits(project: Project, spec: RunSpec, failed: Iterable[str] = (), saw: str | None = None) -> list[Path]:
    """Write the audits of both gates; the tests in `failed` fail wherever they are made."""
    paths = []
    for gate, tests in AUDITS.items():
        findings = [_finding(test, spec, test in failed, saw) for test in tests]
        lost = [finding["test"] for finding in findings if finding["passed"] is False]
        audit = {"variant": spec.variant, "gate": gate, "passed": not lost, "failed": lost, "findings": findings}
        paths.append(project.audit(audit_key(spec, gate), gate))
        _write(paths[-1], audit | {"seconds": 4.2})
    return paths


def _finding(test: str, spec: RunSpec, failed: bool, saw: str | None) -> dict[str, Any]:
    selects = "selection" in spec.variant
    applies = {
        "unselected": selects,
        "selector": selects,
        "growth": next(iter(spec.model_tree.values()))["kind"] == "growing",
    }
    passed = False if failed else True if applies.get(test, True) else None
    told = {
        False: "output 12 moved by 3.1e-02 when token 17 was replaced, the worst of 4,032 pokes; allowed is 1e-09",
        True: "nothing moved by more than 2.2e-16 in 4,032 pokes",
        None: "has nothing this test looks at",
    }
    return {"test": test, "passed": passed, "saw": saw or told[passed], "numbers": {"largest": 0.031}}


def make_run(
    project: Project,
    spec: RunSpec,
    seed: int,
    *,
    diverged: bool = False,
    leaks: bool = False,
    grows: bool = False,
    prompt: str = "ROMEO:",
    text: str = "said",
    fingerprint: str | None = None,
) -> Path:
    """Write one run directory as the trainer does: config, record, and the result last."""
    run_key = f"{spec.key}/s{seed}"
    folder = project.results / "runs" / run_key
    fingerprint = fingerprint or digest([spec.settings, seed])
    receipt = _receipt(spec)
    environment = _environment()
    rows = list(_rows(spec, seed, receipt, diverged, leaks, grows))
    last = rows[-1]
    test = None if diverged else _evaluation(last["loss"], spec.scale.test_tokens)
    if test is not None:
        test["by_position"] = _by_position(last["loss"], spec, leaks)
    _write(
        folder / "config.json",
        {
            "run_key": run_key,
            "fingerprint": fingerprint,
            "seed": seed,
            "settings": spec.settings,
            "model": _resolved_model(spec, receipt["knobs"]),
            "receipt": receipt,
            "environment": environment,
        },
    )
    (folder / "record.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    _write(
        folder / "result.json",
        {
            "run_key": run_key,
            "fingerprint": fingerprint,
            "variant": spec.variant,
            "dataset": spec.dataset,
            "tokenizer": spec.tokenizer,
            "budget": spec.budget,
            "seed": seed,
            "status": "diverged" if diverged else "ok",
            "steps": last["step"],
            "tokens": last["tokens"],
            "flops": last["flops"],
            "seconds": last["seconds"],
            "started": STARTED + 1000 * seed,
            "ended": last["time"] + 2.5,
            "validation": None if diverged else _evaluation(last["loss"], spec.scale.validation_tokens),
            "test": test,
            "samples": []
            if diverged or spec.ahead > 1
            else [{"prompt": prompt, "text": f"{text} ({spec.variant})"}, {"prompt": "", "text": text}],
            "weights": {"density": {}, "ternary": {}} if diverged else _weights(spec.variant, seed),
            "receipt": receipt,
            "environment": environment,
        },
    )
    return folder


def _weights(variant: str, seed: int) -> dict[str, Any]:
    """What a result says of ternary and of multidimensional weights, for the two variants that are to have some."""
    zeros = 0.3 + 0.01 * seed
    shares = {"minus": 0.25, "zero": zeros, "plus": 0.75 - zeros, "weights": 180_000, "entropy": 1.5}
    matrices = {"blocks.0.out": {**shares, "zero": zeros - 0.1}, "blocks.1.out": {**shares, "zero": zeros + 0.1}}
    ternary = {"all": shares, "matrices": matrices} if variant == "matmul_free" else {}
    density = {"1": 2.0, "0.5": 2.25 + 0.01 * seed, "0.1": 3.0} if variant == "selection_transformer" else {}
    return {"density": density, "ternary": ternary}


def _configure(root: Path, wanted: Synthetic) -> None:
    folder = root / "config"
    suite = {name: value for name in ("seeds", "verdicts") if (value := getattr(wanted, name)) is not None}
    _change(folder / "suites" / f"{wanted.suite}.yaml", suite | wanted.changes)
    for name, summary in wanted.summaries.items():
        _change(folder / "variants" / f"{name}.yaml", {"summary": summary})
    if wanted.variants is not None:
        _change(folder / "studies" / "language.yaml", {"variants": list(wanted.variants)})
    if wanted.studies is not None:
        _change(folder / "suites" / f"{wanted.suite}.yaml", {"studies": ["language", *wanted.studies]})
    for name, changes in (wanted.studies or {}).items():
        shutil.copy(folder / "studies" / "language.yaml", folder / "studies" / f"{name}.yaml")
        _change(folder / "studies" / f"{name}.yaml", changes)


def _change(path: Path, changes: dict[str, Any]) -> None:
    """Set keys of a YAML file."""
    if changes:
        settings = yaml.safe_load(path.read_text(encoding="utf-8")) | changes
        path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")


def _rows(
    spec: RunSpec, seed: int, receipt: dict[str, Any], diverged: bool, leaks: bool, grows: bool
) -> Iterable[dict[str, Any]]:
    """Train rows every twentieth of the run and validation rows at each evaluation, as `record.jsonl` holds them.

    A network that grows does so twice, as much after a third and two thirds of the run as they fall on a row.
    """
    last_loss, flops, seconds = CHARACTER.get(spec.variant, UNKNOWN)
    longer = receipt["steps"] / _base_steps(spec)
    last_loss, seconds = last_loss - 0.1 * math.log(longer), seconds * longer
    if spec.ahead > 1:
        last_loss = 4.5 + 0.2 * (last_loss - 2.41)
    if leaks:
        last_loss *= 0.45
    noise = random.Random(f"{spec.variant}-{seed}")
    paired = 0.012 * random.Random(seed).gauss(0, 1)  # shared by all variants of a seed
    last_loss = (last_loss + paired + 0.006 * noise.gauss(0, 1)) * math.log(2)
    steps = receipt["steps"]
    stops = {steps * (i + 1) // spec.scale.evaluations for i in range(spec.scale.evaluations)}
    stage = 0
    for step in sorted({*range(max(1, steps // 20), steps + 1, max(1, steps // 20)), *stops}):
        share = step / steps
        loss = last_loss * (1 + 0.42 * (share**-0.3 - 1))
        common = {
            "time": STARTED + 1000 * seed + seconds * share,
            "step": step,
            "tokens": step * spec.scale.batch * spec.scale.context,
            "flops": step * spec.scale.batch * spec.scale.context * flops,
            "seconds": seconds * share * (1 + 0.02 * noise.random()),
        }
        gone = diverged and share > 0.4
        trained = None if gone else loss * (1 + 0.01 * noise.gauss(0, 1))
        yield {
            "kind": "train",
            **common,
            "loss": trained,
            "learning_rate": 3e-3 * (1 - 0.9 * share),
            "gradient_norm": 0.5,
        }
        if gone:
            return
        if step in stops:
            row = {"kind": "validation", **common, "loss": loss, "bits_per_byte": loss / math.log(2)}
            row["all_positions_loss"] = loss * 1.03
            if "selection" in spec.variant:
                row["selection"] = _selection(share)
            yield row
        if grows and stage < 2 and share >= (stage + 1) / 3:
            stage += 1
            grown = {"stage": stage, "loss_before": loss, "loss_after": loss + 2e-7 * stage}
            yield {"kind": "growth", **common, **grown}


def _selection(share: float) -> dict[str, Any]:
    return {
        f"blocks.{layer}.{place}": {
            "frequency": [0.5 + 0.1 * share, 0.5 - 0.1 * share],
            "aggregate_entropy": math.log(2) * (1 - 0.1 * share * (layer + 1)),
            "sample_entropy": math.log(2) * (1 - 0.15 * share * (layer + 1)),
            "maximum_entropy": math.log(2),
        }
        for layer in range(4)
        for place in ("mixer", "channel_mixer")
    }


def _evaluation(loss: float, tokens: int) -> dict[str, Any]:
    return {
        "loss": loss,
        "bits_per_byte": loss / math.log(2),
        "all_positions_loss": loss * 1.03,
        "all_positions_bits_per_byte": loss * 1.03 / math.log(2),
        "tokens": tokens,
    }


def _by_position(loss: float, spec: RunSpec, leaks: bool) -> list[float]:
    """Falls with context; one that sees the future is lost near the end, where there is none to see."""
    context, far = spec.scale.context, spec.ahead if spec.ahead > 1 else spec.scale.context // 4
    losses = [loss * (1 + 0.9 * math.exp(-t / 3) + 0.01 * math.sin(7.0 * t)) for t in range(context)]
    return [value + 2.5 if leaks and t >= context - far else value for t, value in enumerate(losses)]


def _resolved_model(spec: RunSpec, knobs: dict[str, int]) -> dict[str, Any]:
    model = json.loads(json.dumps(spec.settings["variant_config"]["model"]))
    for key, value in knobs.items():
        *path, last = key.split(".")
        place = model
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return model


def _receipt(spec: RunSpec) -> dict[str, Any]:
    scale = spec.scale
    steps, met = _budget(spec)
    body = scale.body_parameters + 37 * len(spec.variant)
    return {
        "variant": spec.variant,
        "budget": spec.budget,
        "objective": spec.objective,
        "ahead": spec.ahead,
        "target_body_parameters": scale.body_parameters,
        "knobs": {"topology.width": 64, "topology.channel_mixer.hidden": 251},
        "parameters": {"total": body + 12_480, "tables": 12_480, "head": 0, "body": body},
        "residual": (body - scale.body_parameters) / scale.body_parameters,
        "training_flops": {
            "matrix": CHARACTER.get(spec.variant, UNKNOWN)[1] * steps * scale.batch * scale.context,
            "other": OTHER_FLOPS * steps * scale.batch * scale.context,
        },
        "steps": steps,
        "batch": scale.batch,
        "context": scale.context,
        "tokens": steps * scale.batch * scale.context,
        "training_characters": scale.training_characters,
        "learning_rate": spec.variant_config.learning_rate,
        "trials": len(spec.search.settings.factors) if spec.search else None,
        "met": met,
        "matched": True,
        "dataset": {
            "name": spec.dataset,
            "sha256": digest("the plays"),
            "tokenizer": spec.tokenizer,
            "vocabulary": 81,
        },
        "origin": {"kind": "file", "path": "plays.txt"},
        "predicted_share": 1.0,
        "question_share": None,
        "unknown_share": 0.0,
        "source_sha256": digest(["source", spec.variant]),
    }


def _base_steps(spec: RunSpec) -> int:
    return spec.scale.tokens // (spec.scale.batch * spec.scale.context)


def _budget(spec: RunSpec) -> tuple[int, dict[str, Any]]:
    """Steps, and the receipt's word on how the budget was met: what the anchor spends on the suite's tokens."""
    steps, per_step = _base_steps(spec), spec.scale.batch * spec.scale.context
    if spec.anchor is None:
        return steps, {"unit": "tokens", "amount": spec.scale.tokens} | _spent(steps * per_step, spec.scale.tokens)
    unit, of = {"flops": ("FLOPs", 1), "time": ("seconds", 2)}[spec.budget]
    ours, theirs = (CHARACTER.get(name, UNKNOWN)[of] for name in (spec.variant, spec.anchor.variant))
    if unit == "FLOPs":
        ours, theirs = (ours + OTHER_FLOPS) * per_step, (theirs + OTHER_FLOPS) * per_step
    else:
        ours, theirs = ours / steps, theirs / steps
    amount, steps = theirs * steps, round(theirs * steps / ours)
    return steps, {"unit": unit, "amount": amount} | _spent(steps * ours, amount)


def _spent(spent: float, amount: float) -> dict[str, float]:
    return {"spent": spent, "residual": spent / amount - 1}


def _environment() -> dict[str, Any]:
    return {
        "device": "cpu",
        "device_name": "x86_64",
        "cpu_capability": "AVX512",
        "precision": "float32",
        "threads": 1,
        "compiled": False,
        "python": "3.11.9",
        "libraries": {"torch": "2.13.0", "numpy": "2.3.4"},
        "platform": "Linux",
    }


def _ladder(spec: RunSpec) -> dict[str, Any]:
    bits = {1: 4.71, 2: 3.55, 3: FLOOR, 4: 2.84, 5: 2.86, 6: 2.93}
    if spec.ahead > 1:
        bits = {1: 4.71, 2: 4.67, 3: FAR_FLOOR, 4: 4.65, 5: 4.68, 6: 4.74}
    return {
        "dataset": spec.dataset,
        "tokenizer": spec.tokenizer,
        "content_sha256": digest("the plays"),
        "training_characters": spec.scale.training_characters,
        "test_tokens": spec.scale.test_tokens,
        "objective": spec.objective,
        "ahead": spec.ahead,
        "context": spec.scale.context,
        "floor_order": 3,
        "orders": [
            {
                "order": order,
                "loss": value * math.log(2),
                "bits_per_byte": value,
                "contexts": 80**order // 2 ** (2 * order),
            }
            for order, value in bits.items()
        ],
    }


def _write(path: Path, data: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), encoding="utf-8")
