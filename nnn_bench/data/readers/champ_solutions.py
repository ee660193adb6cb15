"""Competition problems and how people solve them, from `v0.json` of the Python package champ-dataset.

    {"problems": {ID: {"_text": ..., "solution": {"steps": [{"_text": ...}, ...]}, "_answer": ...}, ...}}

The problem is the user's message; the assistant's is the steps, numbered from 1, one a line, and a last line `Answer: ...`.
A group is a problem.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nnn_bench.config.errors import UserError
from nnn_bench.data.conversations.conversation import Conversation
from nnn_bench.data.delivery.shelf import RawFile
from nnn_bench.data.readers.champ_chats import problems_of
from nnn_bench.data.readers.messages import conversation

FORM = "conversations"


def read(files: Sequence[RawFile]) -> Iterator[Conversation]:
    """One conversation for each problem, in the order of the file. Raises `UserError` for a file of another shape."""
    for raw in files:
        problems = problems_of(raw)
        try:
            for identifier, problem in problems.items():
                steps = [f"{number}. {step['_text']}" for number, step in enumerate(problem["solution"]["steps"], 1)]
                solution = "\n".join([*steps, f"Answer: {problem['_answer']}"])
                yield conversation({"query": problem["_text"], "target": solution, "group": identifier})
        except UserError as error:
            raise error.located(raw.shown) from None
        except (KeyError, TypeError) as error:
            raise UserError(f"is not of the shape of CHAMP's v0.json: {error}", file=raw.shown) from None
