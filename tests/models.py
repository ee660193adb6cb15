"""Small networks of every variant in the registry, for the tests that hold for all of them."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from typing import Any

import torch

from nnn_bench.budget.solver import solve
from nnn_bench.config.catalog import Catalog
from nnn_bench.config.closure import component_modules
from nnn_bench.config.paths import Project
from nnn_bench.models.build import build
from nnn_bench.models.language_model import LanguageModel
from nnn_bench.models.parts import Part
from nnn_bench.models.pieces import Pieces

CATALOG = Catalog(Project.find())
#: All networks; trees, which have no knobs, are tested in their own file.
VARIANTS = [name for name in CATALOG.names("variants") if CATALOG.variant(name).knobs]
VOCABULARY = 29
CONTEXT = 16


def kind(name: str) -> str:
    """File of the outermost part of a variant."""
    [part] = CATALOG.variant(name).model.values()
    return part.kind


def published(name: str) -> bool:
    """Whether any part of a variant is a published form with a defect."""
    return any(".published." in module for module in component_modules(CATALOG.variant(name).model_tree))


#: Controls are published forms that an audit must catch; all others must pass every test of the registry.
CONTROLS = [name for name in VARIANTS if published(name)]
HONEST = [name for name in VARIANTS if name not in CONTROLS]


@functools.cache
def solved(name: str, target: int = 20_000):
    return solve(CATALOG.variant(name), target, vocabulary=VOCABULARY, context=CONTEXT, file=name)


def small(name: str, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> LanguageModel:
    """A freshly initialised network of the variant `name` with about 20,000 body parameters."""
    torch.manual_seed(seed)
    return build(solved(name).model, vocabulary=VOCABULARY, context=CONTEXT, file=name).to(dtype)


def shallow(name: str, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> LanguageModel:
    """The small network with at most two layers, or a third of the blocks of each stage: for what does not depend on depth."""
    tree = copy.deepcopy(solved(name).model)
    top = tree.get("topology", {})
    if top.get("layers", 0) > 2:
        top["layers"] = 2
    if top.get("stages") == [3, 6, 12]:
        top["stages"] = [1, 2, 4]
    torch.manual_seed(seed)
    return build(tree, vocabulary=VOCABULARY, context=CONTEXT, file=name).to(dtype)


def stages(name: str, **options: Any) -> Iterator[LanguageModel]:
    """The shallow network of a variant in each of its stages; a trained one, so that nothing born zero stays unseen."""
    model = shallow(name, **options)
    yield model
    while model.stage + 1 < model.stages:
        shake(model)
        model.grow()
        shake(model)
        yield model


def shake(model: LanguageModel) -> None:
    """Move every trainable parameter a little, as training would."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.02)


def with_options(name: str, path: str, **options: Any) -> LanguageModel:
    """Like `small`, with options of the component at the dotted `path` replaced."""
    tree = copy.deepcopy(solved(name).model)
    place = tree
    for part in path.split("."):
        place = place[part]
    place.update(options)
    torch.manual_seed(0)
    return build(tree, vocabulary=VOCABULARY, context=CONTEXT, file=name)


def tokens(batch: int = 3, length: int = CONTEXT, seed: int = 1) -> torch.Tensor:
    return torch.randint(VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(seed))


def stepped(model: LanguageModel, ids: torch.Tensor) -> torch.Tensor:
    """Logits of `ids (B, T)` computed one position at a time, `(B, T, V)`."""
    state, logits = model.initial_state(ids.shape[0]), []
    with torch.no_grad():
        for position in range(ids.shape[1]):
            one, state = model.step(ids[:, position], state)
            logits.append(one)
    return torch.stack(logits, dim=1)


def adding(module: torch.nn.Module, x: torch.Tensor, *more: Any) -> tuple[Any, list[torch.Tensor]]:
    """What `module` makes of its input, and the terms its parts add to the loss on the way."""
    added: list[torch.Tensor] = []
    parts = [part for part in module.modules() if isinstance(part, Part)]
    for part in parts:
        part.auxiliary = added
    answer = module(x, *more)
    for part in parts:
        part.auxiliary = None
    return answer, added


def spread(pieces: Pieces, x: torch.Tensor) -> torch.Tensor:
    """What each weight of a piecewise polynomial is multiplied by at every number in `x`, `(..., V)`: mostly zero."""
    first, t = pieces.located(x)
    places = first.unsqueeze(-1) + torch.arange(pieces.nodes)
    basis = pieces.basis(t)
    return basis.new_zeros(*x.shape, pieces.weights).scatter(-1, places, basis)
