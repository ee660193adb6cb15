"""From a resolved model configuration to a module, by looking up each `kind` as a file name.

This is the only place that imports components by name; `nnn_bench.config.closure` follows the same rule when it decides
which source files a run depends on.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from nnn_bench.config.closure import component_module
from nnn_bench.config.component import Component
from nnn_bench.config.errors import UserError
from nnn_bench.config.validation import validate
from nnn_bench.models.language_model import LanguageModel
from nnn_bench.models.parts import ChannelMixer, Part, Port, Projection, Site, TimeMixer

#: What must be there to be mixed, for the two places that share a folder.
_MIXERS: dict[str, tuple[type[nn.Module], str]] = {
    "mixer": (TimeMixer, "positions"),
    "channel_mixer": (ChannelMixer, "features"),
}


@dataclass(frozen=True)
class Builder:
    """Makes parts, and knows the place in the user's file to name when one cannot be made."""

    file: str
    key: str = "model"

    def projector(self, component: Component) -> Callable[[Port], Projection]:
        """A factory of projections of one kind, for a mixer that needs several."""
        return lambda port: self._make("projection", component, port)

    def time_mixer(self, component: Component, site: Site) -> TimeMixer:
        return self._make("mixer", component, site)

    def channel_mixer(self, component: Component, site: Site) -> ChannelMixer:
        return self._make("channel_mixer", component, site)

    def network(self, role: str, component: Component, vocabulary: int, context: int) -> LanguageModel:
        """The outermost part: a topology or a window network."""
        return self._make(role, component, vocabulary, context)

    def refuse(self, option: str, message: str) -> UserError:
        """The error for an option whose value cannot work here."""
        return UserError(message, file=self.file, key=f"{self.key}.{option}")

    def _make(self, role: str, component: Component, *place: Any) -> Any:
        key = f"{self.key}.{role}"
        try:
            module = importlib.import_module(component_module(role, component.kind))
        except UserError as error:
            raise UserError(error.message, file=self.file, key=f"{key}.kind") from None
        wanted, mixes = _MIXERS.get(role, (nn.Module, ""))
        if not issubclass(module.Part, wanted):
            raise UserError(f"{component.kind} does not mix {mixes}", file=self.file, key=f"{key}.kind")
        options = validate(module.Options, component.options, file=self.file, key=key)
        part: nn.Module = module.Part(options, Builder(self.file, key), *place)
        return part


def build(model: dict[str, Any], *, vocabulary: int, context: int, file: str = "model") -> LanguageModel:
    """The network of a resolved `model` tree (`{"topology": {"kind": "stack", ...}}`).

    Fresh weights come from torch's global generator. Raises `UserError` naming `file` and the key that cannot be built.
    """
    [(role, tree)] = model.items()
    component = validate(Component, tree, file=file, key=f"model.{role}")
    network = Builder(file).network(role, component, vocabulary, context)
    _refuse_what_cannot_be_crossed(network, f"model.{role}", component.kind, file)
    return network


def _refuse_what_cannot_be_crossed(network: LanguageModel, key: str, topology: str, file: str) -> None:
    """What a topology takes for granted of its parts, and some parts do not offer."""
    mixers = [part for part in network.mixers_and_maps() if isinstance(part, TimeMixer) and part.partial]
    if mixers and type(network).visible is LanguageModel.visible:
        raise UserError(
            f"{topology} promises that every position sees all before it, and a layer of {_kind(mixers[0])} sees only a part; "
            "stack, growing and refed can tell what is seen through their layers",
            file=file,
            key=f"{key}.mixer",
        )
    growths = {part.growths: part for part in network.mixers_and_maps() if part.growths != 0}
    most = max((count for count in growths if count), default=0)
    if most and most != network.stages - 1:
        schedule = f"schedules {network.stages - 1}" if network.growth else "has no growth"
        mend = (
            f"growth: {{at: {[round((i + 1) / (most + 1), 2) for i in range(most)]}}} in a stack, or as many in growing"
        )
        raise UserError(
            f"{_kind(growths[most])} grows {most} times and {topology} {schedule}: a share of the run is needed for each, "
            f"as {mend}",
            file=file,
            key=f"{key}.growth",
        )


def _kind(part: Part) -> str:
    return type(part).__module__.rpartition(".")[2]
