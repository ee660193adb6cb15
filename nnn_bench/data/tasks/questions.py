"""Questions and answers as lines of JSON, no question twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from nnn_bench.config.errors import UserError

AT_ONCE = 4096  # questions drawn together


def check_room(examples: int, possible: int) -> None:
    """Refuse to ask for more than half of all questions that there are: drawing new ones would take ever longer."""
    if examples > possible // 2:
        raise UserError(
            f"asks for {examples:,} different questions; of {possible:,} possible ones at most half can be drawn",
            key="examples",
        )


def write_questions(path: Path, drawn: Iterator[tuple[str, str]], examples: int) -> None:
    """The first `examples` different questions of `drawn`, pairs of question and answer, as `{"query", "target", "group"}`.

    The group is a hash of the question. Sixteen bytes of memory a question, and what a set adds to them.
    """
    met: set[bytes] = set()
    with path.open("w", encoding="utf-8", newline="\n") as file:
        while len(met) < examples:
            query, target = next(drawn)
            group = hashlib.sha256(query.encode()).digest()[:16]
            if group not in met:
                met.add(group)
                file.write(json.dumps({"query": query, "target": target, "group": group.hex()}) + "\n")
