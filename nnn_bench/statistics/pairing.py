"""Which runs may be compared: those that saw the same batches in the same environment, under the same rules.

Everything here reads `result.json` as plain data, and either says nothing or raises `UserError` with what differs and the command
that mends it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from nnn_bench.config.errors import UserError
from nnn_bench.statistics.records import flat

#: What the receipts of two runs must share to see the same batches in the same order.
_PAIRED = ("objective", "ahead", "batch", "context", "training_characters", "dataset")

#: What is equal besides where tokens are; under another budget one of two runs sees more of the same batches.
_EQUAL_TOKENS = ("steps", "tokens")

#: What remains of that where nothing but the text was matched.
_SAME_TEXT = ("objective", "ahead", "context", "training_characters", "dataset")

#: What the receipts of two seeds of a variant must share besides.
_SAME_VARIANT = (*_PAIRED, *_EQUAL_TOKENS, "source_sha256", "parameters", "knobs", "learning_rate", "trials")

#: Facts about the environment that do not reach the numbers.
_HARMLESS = frozenset({"python", "platform"})

Result = dict[str, Any]


def is_matched(result: Result) -> bool:
    """Whether a run was given a budget: all but trees are."""
    matched: bool = result["receipt"].get("matched", True)
    return matched


def differing_seeds(results: Mapping[int, Result]) -> tuple[int, int, str] | None:
    """Two seeds of one variant that cannot be taken together, and in what they differ; None where all can."""
    seeds = list(results)
    for seed in seeds[1:]:
        if odd := _differing(results[seeds[0]], results[seed], _SAME_VARIANT):
            return seeds[0], seed, odd
    return None


def require_pairs(suite: str, budget: str, baseline: str, results: Mapping[str, Mapping[int, Result]]) -> None:
    """Every run of a study must have seen the same batches in the same environment, met the same budget and had its learning
    rate searched as long; and what was matched with nothing the same text, wherever it was fitted. Seeds agree already."""
    firsts = {name: next(iter(runs.values())) for name, runs in results.items()}
    fields = (*_PAIRED, *_EQUAL_TOKENS) if budget == "tokens" else _PAIRED
    for name, result in firsts.items():
        matched = is_matched(result)
        if odd := _differing(firsts[baseline], result, fields if matched else _SAME_TEXT, environment=matched):
            raise UserError(
                f"{baseline} and {name} differ in {odd} and cannot be paired; "
                f"train them again with `nnn-bench run {suite} {baseline} {name} --again`"
            )
    matched_receipts = {name: result["receipt"] for name, result in firsts.items() if is_matched(result)}
    _require_trials(suite, baseline, matched_receipts)
    if budget != "tokens":
        _require_budget(suite, budget, baseline, matched_receipts)


def _require_trials(suite: str, baseline: str, receipts: Mapping[str, Mapping[str, Any]]) -> None:
    """A longer search finds a better rate, so all must have had as many trials; none is as many for all, too."""
    counts = {name: receipt.get("trials") for name, receipt in receipts.items()}
    for name, count in counts.items():
        if count != counts[baseline]:
            raise UserError(
                f"{baseline} had {counts[baseline] or 'no'} trials of its learning rate and {name} {count or 'none'}, so they "
                f"cannot be compared; search again with `nnn-bench run {suite} rates`, then `nnn-bench run {suite}`"
            )


def _require_budget(suite: str, budget: str, baseline: str, receipts: Mapping[str, Mapping[str, Any]]) -> None:
    """What the variants were given must be one amount: under `flops`, that which the baseline's own receipt declares."""
    amounts = {name: receipt["met"]["amount"] for name, receipt in receipts.items() if name != baseline}
    if not amounts:
        return
    spent = sum(receipts[baseline]["training_flops"].values()) if budget == "flops" else next(iter(amounts.values()))
    for name, amount in amounts.items():
        if not math.isclose(amount, spent, rel_tol=1e-9):
            unit = receipts[name]["met"]["unit"]
            raise UserError(
                f"{name} was given {amount:.6g} {unit} and not the {spent:.6g} of the others, so they cannot be compared; "
                f"train it again with `nnn-bench run {suite} {name} --again`"
            )


def _differing(first: Result, other: Result, fields: Iterable[str], *, environment: bool = True) -> str | None:
    """The first fact in which two results differ, with both values: `fields` of the receipt, then the environment."""
    ours, theirs = _facts(first, fields, environment), _facts(other, fields, environment)
    for name in ours | theirs:
        if ours.get(name) != theirs.get(name):
            return f"{name} ({ours.get(name)!r}, {theirs.get(name)!r})"
    return None


def _facts(result: Result, fields: Iterable[str], environment: bool) -> dict[str, Any]:
    told = {name: result["receipt"].get(name) for name in fields}
    if environment:
        told["environment"] = {name: value for name, value in result["environment"].items() if name not in _HARMLESS}
    return dict(flat(told))
