"""The content of a `tokenizer.json`: what of it is used, and the bytes each of its ids stands for.

`tokenizers/tokenizer_file.py` says what is taken off, and why.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from nnn_bench.config.errors import UserError
from nnn_bench.data.encoding.byte_level import bytes_of
from nnn_bench.data.encoding.vocabulary_files import shortly

_LARGEST_ID = 1 << 22
_FALLBACK = re.compile(r"<0x([0-9A-F]{2})>")
_UNREACHABLE = "\0"  # begins what no text holds: readers refuse NUL


def neutral(data: Any, shown: str) -> dict[str, Any]:
    """The file without all that could make more of a text than its tokens."""
    model = data.get("model") if isinstance(data, dict) else None
    kind = model.get("type") if isinstance(model, dict) else None
    if not isinstance(data, dict) or not isinstance(model, dict) or not isinstance(kind, str):
        raise UserError("is no tokenizer.json: it has no model with a type", file=shown, key="model.type")
    if kind not in ("BPE", "Unigram"):
        raise UserError(
            f"{shortly(kind)} does not give every text back; BPE and Unigram can", file=shown, key="model.type"
        )
    added = data.get("added_tokens") or []
    if not isinstance(added, list) or not all(
        isinstance(one, dict) and isinstance(one.get("content"), str) for one in added
    ):
        raise UserError("must be a list of tokens with their content", file=shown, key="added_tokens")
    special = {one["content"] for one in added if one.get("special")}
    names = {one["content"] for one in added}
    model = _model_without(model, names, special, shown) if kind == "BPE" else _pieces_without(model, special, shown)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": _without_prefix(data.get("normalizer")),
        "pre_tokenizer": _without_prefix(data.get("pre_tokenizer")),
        "post_processor": None,
        "decoder": data.get("decoder"),
        "model": {**model, "dropout": None} if kind == "BPE" else model,
    }


def _model_without(model: dict[str, Any], added: set[str], special: set[str], shown: str) -> dict[str, Any]:
    """A BPE model without the added tokens that merges do not need."""
    vocabulary, merges = model.get("vocab"), model.get("merges")
    if not isinstance(vocabulary, dict) or not isinstance(merges, list):
        raise UserError("a BPE model has a vocab {string: id} and a list of merges", file=shown, key="model")
    _check_ids(vocabulary, shown)
    needed = {token for token in vocabulary if len(token) == 1}
    for number, merge in enumerate(merges, 1):
        both = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(both, list) or not all(isinstance(token, str) for token in both):
            raise UserError(f"merge {number} is not two tokens", file=shown, key="model.merges")
        needed.update((*both, "".join(both)))
    mixed = min(special & needed, default=None)
    if mixed is not None:
        raise UserError(
            f"text could become the special token {shortly(mixed)}, which is a letter or made by merges; take it out",
            file=shown,
            key="added_tokens",
        )
    gone = added - needed
    kept = {token: number for token, number in vocabulary.items() if token not in gone}
    return {**model, "vocab": kept, "unk_token": None}


def _pieces_without(model: dict[str, Any], special: set[str], shown: str) -> dict[str, Any]:
    """A Unigram model whose special pieces match nothing; their places stay, for ids are places here."""
    vocabulary = model.get("vocab")
    if not isinstance(vocabulary, list) or not all(
        isinstance(one, list) and len(one) == 2 and isinstance(one[0], str) for one in vocabulary
    ):
        raise UserError("a Unigram model has a list of [string, score]", file=shown, key="model.vocab")
    unknown = model.get("unk_id")
    changed = [
        [f"{_UNREACHABLE}{i}" if piece in special or i == unknown else piece, score]
        for i, (piece, score) in enumerate(vocabulary)
    ]
    return {**model, "vocab": changed}


def _check_ids(vocabulary: dict[str, Any], shown: str) -> None:
    seen: dict[int, str] = {}
    for token, number in vocabulary.items():
        if type(number) is not int or not 0 <= number < _LARGEST_ID:
            raise UserError(
                f"its id must be a whole number below {_LARGEST_ID:,}, got {shortly(number)}",
                file=shown,
                key=f"model.vocab.{shortly(token)}",
            )
        if number in seen:
            raise UserError(
                f"has id {number}, and so has {shortly(seen[number])}", file=shown, key=f"model.vocab.{shortly(token)}"
            )
        seen[number] = token


def _without_prefix(part: Any) -> Any:
    """A normalizer or pre-tokenizer that puts nothing before a text."""
    if not isinstance(part, dict):
        return part
    match part.get("type"):
        case "Prepend":
            return None
        case "ByteLevel":
            return {**part, "add_prefix_space": False}
        case "Metaspace":
            return {**part, "prepend_scheme": "never", "add_prefix_space": False}
        case "Sequence":
            return {
                key: [one for one in map(_without_prefix, value) if one is not None]
                if isinstance(value, list)
                else value
                for key, value in part.items()
            }
    return part


def bytes_by_id(definition: dict[str, Any]) -> dict[int, bytes]:
    """What each id stands for; nothing for one that text never becomes."""
    model = definition["model"]
    vocabulary = model["vocab"]
    numbered = (
        vocabulary.items() if isinstance(vocabulary, dict) else ((piece, i) for i, (piece, _) in enumerate(vocabulary))
    )
    steps = [*_steps(definition["pre_tokenizer"]), *_steps(definition["decoder"])]
    byte_level = any(step.get("type") == "ByteLevel" for step in steps)
    fallback = bool(model.get("byte_fallback"))
    blanks = [*_blanks(definition["decoder"])]
    found: dict[int, bytes] = {}
    for token, number in numbered:
        byte = _FALLBACK.fullmatch(token) if fallback else None
        if token.startswith(_UNREACHABLE):
            found[number] = b""
        elif byte_level:
            found[number] = bytes_of(token) or b""
        elif byte:
            found[number] = bytes([int(byte[1], 16)])
        else:
            for written, meant in blanks:
                token = token.replace(written, meant)
            found[number] = token.encode(errors="replace")
    return found


def _steps(part: Any) -> Iterator[dict[str, Any]]:
    """The parts of a pre-tokenizer or decoder, one by one."""
    if isinstance(part, dict):
        if part.get("type") == "Sequence":
            for value in part.values():
                for one in value if isinstance(value, list) else []:
                    yield from _steps(one)
        else:
            yield part


def _blanks(decoder: Any) -> Iterator[tuple[str, str]]:
    """How the tokens write blanks, and what is meant: a decoder's replacements, in order."""
    for step in _steps(decoder):
        pattern = step.get("pattern")
        if step.get("type") == "Metaspace":
            yield str(step.get("replacement")), " "
        elif step.get("type") == "Replace" and isinstance(pattern, dict) and isinstance(pattern.get("String"), str):
            yield pattern["String"], str(step.get("content"))
