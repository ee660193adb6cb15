"""The kinds of words that several configuration files use."""

from __future__ import annotations

import re
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field, StringConstraints

NamedType = TypeVar("NamedType")


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def _each_once(names: list[NamedType]) -> list[NamedType]:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice!r} is named twice")
    return names


def _is_sha256(text: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise ValueError("must be a SHA-256: 64 digits 0-9 and a-f")
    return text


Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_]*$")]
EachOnce = AfterValidator(_each_once)
Names = Annotated[list[Name], Field(min_length=1), EachOnce]
Text = Annotated[str, AfterValidator(_said)]
Sha256 = Annotated[str, AfterValidator(_is_sha256)]
