"""YAML and JSON in, validated objects or one clear line out.

`read_yaml` knows only plain data (no tags, no aliases, no duplicate keys). `validate` turns pydantic's findings
into a `UserError` that names the file, the dotted key and the nearest known name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from nnn_bench.config.errors import UserError, nearest

_LARGEST_FILE = 1 << 20


class Settings(BaseModel):
    """Base of everything a YAML file may say: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


SettingsType = TypeVar("SettingsType", bound=BaseModel)


class _PlainLoader(yaml.CSafeLoader):
    """Safe YAML (no tags that make objects) that also refuses a key given twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is not text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, shown: Path | str | None = None) -> dict[str, Any]:
    """Read one mapping of plain data from `path`; errors name `shown` (default: the path) and the line."""
    name = shown or path
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise UserError("larger than 1 MiB: not a configuration file", file=name)
        text = path.read_text(encoding="utf-8")
        alias = next((event for event in yaml.parse(text) if isinstance(event, yaml.AliasEvent)), None)
        if alias is not None and alias.start_mark is not None:
            raise UserError(f"line {alias.start_mark.line + 1}: aliases (*{alias.anchor}) are not allowed", file=name)
        data = yaml.load(text, Loader=_PlainLoader)
    except UnicodeDecodeError as error:
        raise UserError(f"not UTF-8 (byte {error.start}); save it as UTF-8", file=name) from None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=name) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UserError(f"{where}{error.problem or 'malformed YAML'}", file=name) from None
    except yaml.YAMLError as error:
        raise UserError(f"malformed YAML: {error}", file=name) from None
    if not isinstance(data, dict):
        raise UserError("must hold a mapping (key: value lines)", file=name)
    return data


def validate(model: type[SettingsType], data: Any, *, file: Path | str, key: str = "") -> SettingsType:
    """`data` as a `model`, or a `UserError` for the first thing wrong with it."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        # An unknown key explains the missing one that often follows from it, so it is told first.
        found = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")[0]
        raise _as_user_error(model, found, file, key) from None


def _as_user_error(model: type[BaseModel], found: ErrorDetails, file: Path | str, prefix: str) -> UserError:
    location = [str(part) for part in found["loc"]]
    key = ".".join(part for part in [prefix, *location] if part)
    if found["type"] == "extra_forbidden":
        return UserError(f"unknown key; {nearest(location[-1], _fields_at(model, location[:-1]))}", file=file, key=key)
    if found["type"] == "missing":
        return UserError("is missing; add it", file=file, key=key)
    message = found["msg"].removeprefix("Value error, ")
    return UserError(f"{message}, got {found['input']!r}"[:300], file=file, key=key)


def _fields_at(model: Any, location: list[str]) -> list[str]:
    """Names of the keys allowed at `location` inside `model`; empty when the place holds no fixed keys."""
    for part in location:
        candidates = [model, *get_args(model)]
        owner = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
        if owner is not None and part in owner.model_fields:
            model = owner.model_fields[part].annotation
        else:  # the key of a mapping or the index of a list: step into its value type
            arguments = get_args(model)
            model = arguments[-1] if arguments else None
    candidates = [model, *get_args(model)]
    return [name for c in candidates if isinstance(c, type) and issubclass(c, BaseModel) for name in c.model_fields]
