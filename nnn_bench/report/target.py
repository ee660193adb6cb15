"""What a study predicts, in words, wherever that is not every next token of a text."""

from __future__ import annotations

from nnn_bench.report.collect import StudyView

_MUCH_UNKNOWN = 0.01  # of the characters: a hundredth moves bits per byte by more than networks differ

_BOTH_SIDES = (
    "The target is the character at a position, which the network does not see; "
    "it sees those around it, n-grams those before it"
)
_ANSWERS = (
    "The targets are what an assistant says, to its end; what is asked is read, as far as a window reaches, and neither learnt "
    "nor scored. N-grams are counted on questions and answers alike"
)
_ALIGNED = (
    "A control. Each token of an answer is predicted from the tokens of its question up to the same place, so a network never "
    "sees what of the answer stands already; n-grams, which do, show what that costs"
)


def target_equalities(study: StudyView) -> list[tuple[str, str]]:
    """What the targets are, as (name, value); nothing where they are the next tokens of a text."""
    far = (
        f"{distance(study)}, for networks and n-grams alike; a network that works in blocks may see up to "
        f"{study.ahead - 1} of the tokens between, n-grams see none"
    )
    told = {"answers": _ANSWERS, "aligned": _ALIGNED}.get(study.objective)
    return [
        *([("Distance of the target", far)] if study.ahead > 1 else []),
        *([("Target", _BOTH_SIDES)] if study.ahead == 0 else []),
        *([("Targets", f"{told}; {share(study)}")] if told else []),
        *([("Unknown characters", unknown)] if (unknown := unknown_characters(study)) else []),
    ]


def share(study: StudyView) -> str:
    """How many of a run's positions have a target, where not all have, and how many answers are scored with their question."""
    receipt = study.baseline.receipt
    told = f"{receipt['predicted_share']:.0%} of the positions of a run have one"
    if receipt["question_share"] is None:
        return told
    return f"{told}; of those that are scored, {receipt['question_share']:.0%} have all of the question in their window"


def unknown_characters(study: StudyView) -> str | None:
    """What of the test text the vocabulary does not hold, if anything."""
    unknown: float = study.baseline.receipt["unknown_share"]
    if not unknown:
        return None
    said = f"{unknown:.2%} of the characters of the test text are in no vocabulary and stand for one token, counted as a byte"
    return f"{said}: not to be compared with other tokenizers" if unknown > _MUCH_UNKNOWN else said


def target_note(study: StudyView) -> str | None:
    """Where targets are not the next token: that these losses are of another kind."""
    told = {"answers": _ANSWERS, "aligned": _ALIGNED}.get(study.objective)
    if told:
        return f"{told}. These losses are of that objective and never to be set beside those of all next tokens."
    if study.ahead == 1:
        return None
    if study.ahead == 0:
        return f"{_BOTH_SIDES}: these losses are of that objective and never to be set beside next-token losses."
    return f"Targets lie {distance(study)}: these losses are of that objective and never to be set beside next-token losses."


def target_title(study: StudyView) -> str:
    """The same in two or three words."""
    if study.objective != "next":
        return {"answers": "Answers alone", "aligned": "Answers beside questions"}[study.objective]
    return f"{study.ahead} tokens ahead" if study.ahead else "Seen from both sides"


def distance(study: StudyView) -> str:
    """Where the target of a position lies."""
    if study.ahead == 0:
        return "at the position itself, from both sides"
    return f"{study.ahead} tokens after the position that predicts them"
