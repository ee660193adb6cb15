"""YAML and JSON in, validated objects or one clear line out.

`read_yaml` knows only plain data (no tags, no aliases, no duplicate keys). `validate` turns pydantic's findings
into a `UserError` that names the file, the dotted key and the nearest known name.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from nnn_bench.config.errors import UserError, nearest

_LARGEST_FILE = 1 << 20
_TAG_KEYS = ("kind", "name")
_MAPPING_KEY = "[key]"  # how pydantic ends the location of a key, rather than a value, that is wrong


class Settings(BaseModel):
    """Base of everything a YAML file may say: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Inconsistent(ValueError):
    """For validators that look at several keys: `key` (dotted, below the model) is the one to mend."""

    def __init__(self, message: str, *, key: str):
        self.key = key
        super().__init__(message)


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
    """The finding in our words: its dotted key as the user wrote it, what is wrong there, how to mend it."""
    keys, _ = _followed(model, [str(part) for part in found["loc"]])
    context = found.get("ctx", {})
    reason = context.get("error")
    if isinstance(reason, Inconsistent):
        keys.append(reason.key)
    elif found["type"].startswith("union_tag"):
        keys.append(_quoted(context["discriminator"])[0])
    return UserError(_message(model, found), file=file, key=".".join(part for part in [prefix, *keys] if part))


def _message(model: type[BaseModel], found: ErrorDetails) -> str:
    location, context, value = [str(part) for part in found["loc"]], found.get("ctx", {}), found["input"]
    match found["type"]:
        case "extra_forbidden":
            _, owner = _followed(model, location[:-1])
            known = [name for one in _alternatives(owner) if _is_model(one) for name in one.model_fields]
            return f"unknown key; {nearest(location[-1], known)}"
        case "literal_error" if location[-1] == _MAPPING_KEY:
            return f"unknown key; {nearest(str(value), _quoted(context['expected']))}"
        case "union_tag_invalid":
            return f"unknown {context['tag']!r}; {nearest(context['tag'], _quoted(context['expected_tags']))}"
        case "missing" | "union_tag_not_found":
            return "is missing; add it"
    # A whole mapping or list would only hide the message; the key says where it is.
    got = "nothing" if value is None else repr(value) if isinstance(value, str | int | float) else ""
    return (found["msg"].removeprefix("Value error, ") + (f", got {got}" if got else ""))[:300]


def _followed(model: Any, location: list[str]) -> tuple[list[str], Any]:
    """The keys a user wrote along a pydantic location inside `model`, and the type that the last one may hold.

    Where a mapping may be one of several models, the location names the chosen one by its tag, which is no key.
    """
    keys: list[str] = []
    for part in location:
        places = _alternatives(model)
        models = [place for place in places if _is_model(place)]
        tagged = next((one for one in models if part in _tags(one)), None) if len(models) > 1 else None
        if tagged is not None:
            model = tagged
            continue
        if part != _MAPPING_KEY:
            keys.append(part)
        owner = next((one for one in models if part in one.model_fields), None)
        if owner is not None:
            model = owner.model_fields[part].annotation
        else:  # the key of a mapping or the index of a list: step into its value type
            arguments = next((get_args(place) for place in places if get_args(place)), (None,))
            model = arguments[-1]
    return keys, model


def _alternatives(annotation: Any) -> list[Any]:
    """The types a value may have, without `Annotated` and `|`."""
    if get_origin(annotation) is Annotated:
        return _alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [place for one in get_args(annotation) for place in _alternatives(one)]
    return [annotation]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and get_origin(annotation) is None and issubclass(annotation, BaseModel)


def _tags(model: type[BaseModel]) -> list[str]:
    """The names by which a mapping asks for `model` among others."""
    return [
        tag for key in _TAG_KEYS if key in model.model_fields for tag in get_args(model.model_fields[key].annotation)
    ]


def _quoted(text: str) -> list[str]:
    """The words pydantic put in quotes: `'package', 'file'` -> package, file."""
    return re.findall(r"'([^']*)'", text)
