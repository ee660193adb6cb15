"""A named part of a model, as a YAML file writes it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints, model_validator

Kind = Annotated[str, StringConstraints(pattern=r"^(published/)?[a-z][a-z0-9_]*$")]


class Component(BaseModel):
    """A named part of a model and its options; `dense` alone is short for `{kind: dense}`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: Kind

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"kind": value}
        if not isinstance(value, dict | Component):
            raise ValueError("must be the name of a component, or a mapping with its `kind`")
        return value

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})
