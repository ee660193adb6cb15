"""What the numbers say, in plain sentences, and what was made equal before they were taken.

Verdicts are the comparison's; the sentence about the floor, and the warning that nothing may be concluded, come from the numbers
too. A variant that failed an audit is said to be quarantined, by which test, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nnn_bench.report.audits import quarantine_reason
from nnn_bench.report.collect import StudyView, VariantView
from nnn_bench.report.numbers import fixed, interval, percent, power, whole
from nnn_bench.report.target import distance, target_equalities
from nnn_bench.report.verdicts import quarantine_sentence, variant_sentence

_METRIC = "bits per byte"


def findings(study: StudyView) -> list[str]:
    """A sentence each: where the baseline stands, then every variant against it, those in quarantine last."""
    held = [quarantine_sentence(study.baseline)] if study.baseline.quarantined else []
    barred = warning(study) is not None
    told = (variant_sentence(study, variant, barred=barred) for variant in study.challengers)
    return [_baseline_sentence(study), *held, *told]


def warning(study: StudyView) -> str | None:
    """Why nothing may be concluded from a study, if so."""
    baseline = study.baseline
    if baseline.quarantined:
        return (
            f"Nothing may be concluded: the baseline {baseline.name} is quarantined, because "
            f"{quarantine_reason(baseline)}. What differs from it shows nothing."
        )
    if not study.comparison["conclusive"]:
        return (
            "Nothing may be concluded from this suite about which architecture is better: it is made to prove that the "
            "whole pipeline works, and is too small for anything else."
        )
    if baseline.mean is None:
        return f"Nothing may be concluded: no run of the baseline {baseline.name} finished."
    if baseline.mean >= study.floor:
        return (
            f"Nothing may be concluded: {baseline.name} does not end below the trigram floor, so these runs measure how "
            "networks warm up, not what they can learn."
        )
    return None


def equalities(study: StudyView) -> list[tuple[str, str]]:
    """What is the same for every variant, as (name, value)."""
    receipts = [variant.receipt for variant in study.variants]
    first = study.baseline.receipt
    residual = max(abs(receipt["residual"]) for receipt in receipts)
    size = f"{whole(first['batch'])} windows × {whole(first['context'])} tokens"
    same = "a seed gives every variant the same ones in the same order"
    batches = (
        f"{whole(first['steps'])} steps of {size}; {same}"
        if study.budget == "tokens"
        else f"{size} in each step; {same}, as far as each goes"
    )
    scored = next((run.result["test"]["tokens"] for v in study.variants for run in v.finished), None)
    return [
        *target_equalities(study),
        ("Body parameters", f"{whole(first['target_body_parameters'])}, met within {percent(residual)}"),
        _budget_equality(study),
        ("Batches", batches),
        ("Test", f"the same {whole(scored)} tokens with the same context, scored once, after training"),
        *_rate_equality(study),
    ]


def inequalities(study: StudyView) -> str:
    """What could not be made equal at the same time."""
    told = [] if study.budget == "flops" else _differs(study, "the arithmetic a run costs", _flops, power, "FLOPs")
    if study.budget != "tokens":
        told += _differs(study, "the text a run sees", lambda v: float(v.receipt["tokens"]), whole, "tokens")
    beside = "what stands beside the body, lookup tables and the map to the vocabulary"
    told += _differs(study, beside, _beside_body, whole, "parameters")
    searched = "chosen for each by trials" if study.searched else "which each variant's configuration sets"
    return f"Not equal: {'; '.join([*told, f'the learning rate, {searched}'])}."


def _budget_equality(study: StudyView) -> tuple[str, str]:
    """What the budget makes equal. Under FLOPs and time it is what the baseline spends on the suite's tokens."""
    first = study.baseline.receipt
    if study.budget == "tokens":
        return (
            "Training tokens",
            f"{whole(first['tokens'])} {'predicted' if study.objective == 'next' else 'read'} by each run",
        )
    met = [v.receipt["met"] for v in study.variants if not v.is_baseline]
    name = study.baseline.name
    if not met:
        return "Budget", f"what {name} spends"
    within = percent(max(abs(one["residual"]) for one in met))
    if study.budget == "flops":
        return "Training FLOPs", f"{power(met[0]['amount'])} for each run, as {name} spends, met within {within}"
    seconds = f"{fixed(met[0]['amount'], 1)} s for each run, as {name} takes"
    return "Training time", f"{seconds} by step times measured alone on the machine, met within {within}"


def _rate_equality(study: StudyView) -> list[tuple[str, str]]:
    counts = sorted({len((variant.rates or {})["trials"]) for variant in study.searched})
    if not counts:
        return []
    told = f"{counts[0]}" if len(counts) == 1 else f"not equal: {counts[0]} to {counts[-1]}"
    return [("Learning-rate trials", f"{told} for each variant, on validation data")]


def _flops(variant: VariantView) -> float:
    return variant.training_flops


def _beside_body(variant: VariantView) -> float:
    count = variant.receipt["parameters"]
    return float(count["total"] - count["body"])


def _differs(
    study: StudyView, what: str, value: Callable[[VariantView], float], shown: Callable[[float | None], str], unit: str
) -> list[str]:
    """`what, from 3 unit (one) to 7 (other)`: the smallest and the largest of a number; nothing where all have the same."""
    values = {variant.name: value(variant) for variant in study.variants}
    low, high = min(values, key=lambda name: values[name]), max(values, key=lambda name: values[name])
    if values[low] == values[high]:
        return []
    return [f"{what}, from {shown(values[low])} {unit} ({low}) to {shown(values[high])} ({high})"]


def limits(study: StudyView) -> list[str]:
    """What a reader might look for and does not find here."""
    nothing = (
        "learn answers beside questions" if study.objective == "aligned" else f"predict {study.ahead} tokens ahead"
    )
    unwritten = f"No samples: networks that {nothing} have no next token to write."
    silent = [v.name for v in study.variants if v.finished and not v.finished[0].result["samples"]]
    unsaid = f"No samples of {', '.join(silent)}: {'they have' if len(silent) > 1 else 'it has'} no step to write by."
    return [
        *(
            [unwritten]
            if study.ahead > 1 or study.objective == "aligned"
            else [unsaid]
            if silent and len(silent) < len(study.variants)
            else []
        ),
        "An audit that passes has found no fault with the tests named above; it cannot prove that there is none. The audit "
        "of random tokens and those before training look at one initialisation.",
        _RATES if study.searched else _NO_RATES,
        *([] if study.timed else [_NO_TIMES]),
        f"One data set ({study.comparison['dataset']}), one size and one amount of training: nothing here says how differences "
        "grow or shrink with any of them.",
        "Seeds vary initialisation and the order of batches; the text and its splits are the same for all, so intervals "
        "say nothing about other texts.",
    ]


_RATES = (
    "Learning rates were tried on a grid, in short runs; one between its points, or one for longer runs, may be better."
)
_NO_RATES = (
    "Not measured in this suite: other learning rates; each variant was trained with the one its configuration names."
)
_NO_TIMES = (
    "Not measured in this suite: speed, latency and memory on an otherwise idle machine. Seconds and milliseconds shown here "
    "were taken while runs shared it."
)


def _baseline_sentence(study: StudyView) -> str:
    baseline = study.baseline
    if baseline.mean is None:
        return f"No run of the baseline {baseline.name} finished: all {len(baseline.runs)} seeds diverged."
    far = "" if study.ahead == 1 else f", {distance(study)}"
    gap = study.floor - baseline.mean
    side = f"{fixed(abs(gap))} {'below' if gap > 0 else 'above'} the trigram floor of {fixed(study.floor)}"
    spread = f"95 % interval {interval(baseline.interval)}, " if baseline.interval else ""
    return (
        f"{baseline.name} ends at {fixed(baseline.mean)} {_METRIC} on unseen text of {study.comparison['dataset']}{far} "
        f"({spread}{_seeds(baseline)}), {side}."
    )


def sample_words(sample: dict[str, Any]) -> str:
    """How new a generated text is, and how often a text that was rewritten was."""
    share, whole_length = sample.get("copied_share"), sample.get("before_repeat")
    told = [f"rewritten {sample['passes']} times"] if "passes" in sample else []
    told += [f"{share:.0%} of its 8-grams stand in the training text"] if share is not None else []
    told += [f"{whole_length} tokens before an 8-gram comes again"] if whole_length is not None else []
    return "; ".join(told)


def _seeds(variant: VariantView) -> str:
    total, finished = len(variant.runs), len(variant.finished)
    if finished < total:
        return f"{finished} of {total} seeds; {total - finished} diverged"
    return f"{total} seed{'s' if total > 1 else ''}"
