"""What the numbers say, in plain sentences, and what was made equal before they were taken.

A difference is called better or worse only when its 95 % interval leaves out zero; the sentence about the floor, and
the warning that nothing may be concluded, come from the numbers too. A variant that failed an audit is said to be
quarantined, by which test, and nothing else.
"""

from __future__ import annotations

from typing import Any

from nnn_bench.report.audits import quarantine_reason, quarantine_tests
from nnn_bench.report.collect import StudyView, VariantView
from nnn_bench.report.numbers import fixed, interval, percent, power, signed, signed_interval, whole
from nnn_bench.report.target import distance, target_equalities

_METRIC = "bits per byte"


def findings(study: StudyView) -> list[str]:
    """A sentence each: where the baseline stands, then every variant against it, those in quarantine last."""
    held = [_quarantine(study.baseline)] if study.baseline.quarantined else []
    return [_baseline_sentence(study), *held, *(_variant_sentence(study, variant) for variant in study.challengers)]


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
    first = receipts[0]
    residual = max(abs(receipt["residual"]) for receipt in receipts)
    windows = f"{whole(first['steps'])} steps of {whole(first['batch'])} windows × {whole(first['context'])} tokens"
    scored = next((run.result["test"]["tokens"] for v in study.variants for run in v.finished), None)
    return [
        *target_equalities(study),
        ("Body parameters", f"{whole(first['target_body_parameters'])}, met within {percent(residual)}"),
        (
            "Training tokens",
            f"{whole(first['tokens'])} {'predicted' if study.objective == 'next' else 'read'} by each run",
        ),
        ("Batches", f"{windows}; a seed gives every variant the same ones in the same order"),
        ("Test", f"the same {whole(scored)} tokens with the same context, scored once, after training"),
    ]


def inequalities(study: StudyView) -> str:
    """What could not be made equal at the same time."""
    costs = {variant.name: variant.training_flops for variant in study.variants}
    low, high = min(costs, key=lambda name: costs[name]), max(costs, key=lambda name: costs[name])
    rest = {
        variant.name: variant.receipt["parameters"]["total"] - variant.receipt["parameters"]["body"]
        for variant in study.variants
    }
    fewest, most = min(rest, key=lambda name: rest[name]), max(rest, key=lambda name: rest[name])
    return (
        f"Not equal: the arithmetic a run costs, from {power(costs[low])} FLOPs ({low}) "
        f"to {power(costs[high])} ({high}); what stands beside the body, lookup tables and the map to the vocabulary, "
        f"from {whole(rest[fewest])} parameters ({fewest}) to {whole(rest[most])} ({most}); and the learning rate, which each "
        "variant's configuration sets."
    )


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
        "Not measured in this suite: other learning rates; each variant was trained with the one its configuration names.",
        "Not measured in this suite: speed, latency and memory on an otherwise idle machine. Seconds and milliseconds "
        "shown here were taken while runs shared it.",
        f"One data set ({study.comparison['dataset']}), one size and one budget: nothing here says how differences grow or "
        "shrink with any of them.",
        "Seeds vary initialisation and the order of batches; the text and its splits are the same for all, so intervals "
        "say nothing about other texts.",
    ]


def difference_words(study: StudyView, variant: VariantView) -> str:
    """`better`, `worse`, or why neither can be said; for tables."""
    difference = variant.difference
    if variant.quarantined:
        return quarantine_tests(variant)
    if not study.conclusive:
        return "no conclusion"
    if difference is None:
        return "baseline"
    if difference["mean"] is None:
        return "no pair"
    if difference["interval"] is None:
        return "one pair"
    low, high = difference["interval"]
    return "worse" if low > 0 else "better" if high < 0 else "not told apart"


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


def _variant_sentence(study: StudyView, variant: VariantView) -> str:
    if variant.quarantined:
        return _quarantine(variant)
    difference, words = variant.difference, difference_words(study, variant)
    assert difference is not None
    name, baseline = variant.name, study.baseline.name
    size = signed_interval(difference["interval"])
    if words == "no conclusion" and difference["mean"] is not None:
        said = f"{name} differs by {signed(difference['mean'])} {size}".rstrip()
    elif words in ("better", "worse"):
        said = f"{name} is {words} by {fixed(abs(difference['mean']))} {_METRIC} (paired 95 % interval {size})"
    elif words == "not told apart":
        said = f"{name} cannot be told apart from {baseline} (paired difference {signed(difference['mean'])} {size})"
    elif words == "one pair":
        size = signed(difference["mean"])
        said = f"{name} differs by {size} at the one seed that can be paired, which says nothing about chance"
    else:
        said = f"{name} has no seed that can be paired with {baseline}"
    diverged = variant.row["statuses"].count("diverged")
    if diverged:
        said += f"; {diverged} of its {len(variant.runs)} seeds diverged"
    base = study.baseline.mean
    if variant.mean is not None and variant.mean >= study.floor and base is not None and base < study.floor:
        said += "; it does not get below the trigram floor"
    return f"{said}."


def _quarantine(variant: VariantView) -> str:
    return f"{variant.name} is quarantined and not ranked: {quarantine_reason(variant)}."


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
