"""Read what runs left behind.

Everything that looks at results goes through here, so a missing or damaged file is always told the same way: which
file, and the command that makes it again. No file is trusted to be whole unless it parses.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nnn_bench.config.errors import UserError
from nnn_bench.config.paths import Project


def ladder_file(project: Project, ladder_key: str) -> Path:
    return project.results / "ladders" / f"{ladder_key}.json"


def comparison_file(project: Project, suite: str, study: str) -> Path:
    return project.results / "comparisons" / suite / f"{study}.json"


def flat(data: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str | int | float | None]]:
    """Nested plain data as dotted names and values; a list is one value, its JSON."""
    for name, value in data.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value) if isinstance(value, list) else value


def read_object(project: Project, path: Path, command: str) -> dict[str, Any]:
    """One JSON object; `UserError` names the file and `command`, which makes it, when it is not there or not whole."""
    data = _parsed(project, path, command)[0]
    if not isinstance(data, dict):
        raise UserError(f"does not hold a JSON object; remove it, then `{command}`", file=project.relative(path))
    return data


def read_record(project: Project, run_key: str, command: str) -> list[dict[str, Any]]:
    """Rows of a run's `record.jsonl`, in the order they were written; errors as for `read_object`."""
    return _parsed(project, project.run(run_key) / "record.jsonl", command, lines=True)


def _parsed(project: Project, path: Path, command: str, *, lines: bool = False) -> list[Any]:
    """The JSON values of a file: one, or one a line."""
    shown = project.relative(path)
    try:
        text = path.read_text(encoding="utf-8")
        parts = [part for part in text.splitlines() if part.strip()] if lines else [text]
        return [json.loads(part, parse_constant=_refused) for part in parts]
    except FileNotFoundError:
        raise UserError(f"is missing; make it with `{command}`", file=shown) from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot be read ({error}); remove it, then `{command}`", file=shown) from None


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
