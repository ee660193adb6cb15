"""The verb that lets a trained network write."""

from __future__ import annotations

import json
import math
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nnn_bench.commands.shared import AsJson, open_project, print_table, run_folder
from nnn_bench.config.errors import UserError
from nnn_bench.config.terminal import WARNING_PREFIX

if TYPE_CHECKING:
    from nnn_bench.config.paths import Project
    from nnn_bench.data.store import Tokens, TokenStore
    from nnn_bench.models.language_model import LanguageModel

#: The five of language-interpolation.
PROMPTS = ["Where are you from?", "This is a strange planet", "Who are you?", "Golden goose", "   "]
TOKENS = 200

_STEERING = ("Cc", "Cf", "Cs")  # control characters, marks that turn the direction of writing, halves of characters
_LARGEST_SEED = 2**63 - 1  # what torch takes


@dataclass(frozen=True)
class Writer:
    """A trained network that writes, the store of its data, and what of it the run saw."""

    model: LanguageModel
    store: TokenStore
    training: Tokens

    @property
    def rewrites(self) -> bool:
        """Whether it makes a text out of a text, all places at once, in place of going on."""
        return self.model.ahead == 0


@dataclass(frozen=True)
class Written:
    """One prompt, what came of it, and how new that is (`measure/novelty.py`)."""

    prompt: str
    text: str
    tokens: int
    copied_share: float | None
    before_repeat: int


def generate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="a run's key (DATASET/VARIANT-SPEC/s0) or folder")],
    prompt: Annotated[
        list[str] | None, typer.Option(help="text to go on from; may be given again (default: five of the author's)")
    ] = None,
    top_k: Annotated[int, typer.Option("--top-k", min=1, help="draw from so many of the likeliest tokens")] = 5,
    temperature: Annotated[float, typer.Option(help="above 1: more surprising, below 1: less")] = 1.0,
    tokens: Annotated[int | None, typer.Option(min=1, help=f"how many to write (default: {TOKENS})")] = None,
    passes: Annotated[
        int | None, typer.Option(min=1, help="how often a network of both sides rewrites the prompt (default: 10)")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=_LARGEST_SEED, help="of what is drawn, anew for each prompt")] = 0,
    as_json: AsJson = False,
) -> None:
    """Let the trained network of RUN write on from each prompt, and say how much of that is new.

    A prompt shorter than the context is not padded: networks go on from their initial state, and those that read a window have
    blanks there. A text longer than the context goes on from its last half. A network that answers from both sides
    of a place rewrites the prompt, all places at once, PASSES times.
    """
    from nnn_bench.measure.novelty import novelty
    from nnn_bench.training.samples import PASSES

    if not (temperature > 0 and math.isfinite(temperature)):
        raise UserError(f"is {temperature}; give a number above 0", key="--temperature")
    project, _ = open_project()
    writer = open_writer(project, run_folder(project, run))
    if writer.rewrites and tokens is not None:
        raise UserError(
            "a network that answers from both sides writes as many as the prompt has; leave it out", key="--tokens"
        )
    if passes is not None and not writer.rewrites:
        raise UserError("only a network that answers from both sides rewrites a prompt; leave it out", key="--passes")
    prompts = PROMPTS if prompt is None else prompt
    begun = _known_ids(writer, prompts)
    drawing = {"seed": seed, "temperature": temperature, "top_k": top_k}
    told = []
    for text, ids in zip(prompts, begun, strict=True):
        if not as_json:
            print(_heading(f"--- prompt: {text!r}"))
        if writer.rewrites:
            written = _rewritten(writer, ids, passes or PASSES, drawing, show=not as_json)
        else:
            written = _continued(writer, ids, tokens or TOKENS, drawing, show=not as_json)
        told.append(Written(text, writer.store.decode(written), len(written), **novelty(written, writer.training)))
    if as_json:
        print(json.dumps({"run": run, **drawing, "samples": [asdict(one) for one in told]}, indent=1))
        return
    shares = ["-" if one.copied_share is None else f"{one.copied_share:.1%}" for one in told]
    rows = [
        [repr(one.prompt), str(one.tokens), share, str(one.before_repeat)]
        for one, share in zip(told, shares, strict=True)
    ]
    print_table([["after prompt", "tokens", "8-grams of the training text", "tokens before a repeated 8-gram"], *rows])


def open_writer(project: Project, path: Path) -> Writer:
    """The network of the finished run in `path` and its data. Raises `UserError` where it cannot write."""
    from nnn_bench.config.files import read_json
    from nnn_bench.data.store import load
    from nnn_bench.training.run_directory import RunDirectory
    from nnn_bench.training.trained import load_trained

    directory, shown = RunDirectory(path), project.relative(path)
    told = read_json(directory.config)
    if not isinstance(told, dict) or "fingerprint" not in told:
        raise UserError("holds no run; give a run's key, as DATASET/VARIANT-SPEC/s0", file=shown)
    result = directory.finished(told["fingerprint"])
    if result is None:
        raise UserError("holds no finished run; train it to its end first", file=shown)
    if result["status"] != "ok":
        raise UserError(f"holds a run that {result['status']}, so there is nothing it could write", file=shown)
    if told["objective"] == "aligned":
        raise UserError(
            f"{told['variant']} was trained to lay answers beside questions, so it has no next token to write",
            file=shown,
        )
    if told["ahead"] > 1:
        raise UserError(
            f"{told['variant']} was trained to predict {told['ahead']} tokens ahead, so it has no next token to write",
            file=shown,
        )
    data = told["receipt"]["dataset"]
    store = load(project, data["name"], data["tokenizer"])
    if (store.manifest.content_sha256, store.manifest.vocabulary) != (data["sha256"], data["vocabulary"]):
        raise UserError(
            f"was trained on another text than dataset {data['name']} now holds; train it again", file=shown
        )
    model = load_trained(path, data["vocabulary"])
    if model.ahead > 0 and not model.streams:
        raise UserError(f"{told['variant']} does not go token by token, so it cannot write", file=shown)
    return Writer(model, store, store.seen(told["scale"]["training_characters"]))


def _known_ids(writer: Writer, prompts: list[str]) -> list[list[int]]:
    """Ids of the characters of each prompt that the tokenizer knows; refuses to begin from none, then tells of the others.

    Where the network learnt from conversations the prompt is what a user says, and the answer is about to begin.
    """
    tokenizer, marks = writer.store.tokenizer, writer.store.manifest.marks
    found, lost = [], []
    for text in prompts:
        encoded = [int(token) for token in tokenizer.encode(text)]
        ids = [token for token in encoded if token != tokenizer.unknown]
        if not ids:
            raise UserError(
                f"{text[:80]!r} holds no character that the training text holds; give another", key="--prompt"
            )
        if writer.rewrites and len(ids) > writer.model.context:
            raise UserError(
                f"has {len(ids)} tokens; a network that answers from both sides reads at most "
                f"{writer.model.context} at once",
                key="--prompt",
            )
        asks = marks and not writer.rewrites
        found.append([marks["user"], *ids, marks["end"], marks["assistant"]] if asks else ids)
        lost.append(len(encoded) - len(ids))
    for text, count in zip(prompts, lost, strict=True):
        if count:
            characters = "character" if count == 1 else "characters"
            print(
                f"{WARNING_PREFIX}prompt {text[:80]!r}: left out {count} {characters} that the training text does not hold",
                file=sys.stderr,
            )
    return found


def _continued(writer: Writer, ids: list[int], count: int, drawing: dict[str, Any], *, show: bool) -> list[int]:
    """At most `count` ids that follow `ids`, shown as they are drawn; an answer ends where the network ends it."""
    from nnn_bench.training.samples import generate as drawn_ids
    from nnn_bench.training.samples import until

    written: list[int] = []

    def kept() -> Iterator[int]:
        for token in until(
            islice(drawn_ids(writer.model, ids, **drawing), count), writer.store.manifest.marks.get("end")
        ):
            written.append(token)
            yield token

    for piece in writer.store.streamed(kept()):
        if show:
            print(visible(piece), end="", flush=True)
    if show:
        print()
    return written


def _rewritten(writer: Writer, ids: list[int], passes: int, drawing: dict[str, Any], *, show: bool) -> list[int]:
    """What `passes` passes make of `ids`, each shown."""
    from nnn_bench.training.samples import rewrite

    written = ids
    for number, written in enumerate(rewrite(writer.model, ids, passes, **drawing), start=1):
        if show:
            print(f"pass {number}: {visible(writer.store.decode(written))}", flush=True)
    return written


def visible(text: str) -> str:
    """`text` with what would steer a terminal, or is no character, written as an escape; newlines and tabs stay."""
    return "".join(
        one if one in "\n\t" or unicodedata.category(one) not in _STEERING else ascii(one)[1:-1] for one in text
    )


def _heading(text: str) -> str:
    """Bold on a terminal, plain where output goes elsewhere."""
    return typer.style(text, bold=True) if sys.stdout.isatty() else text
