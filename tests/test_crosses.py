"""Any topology with any mixer and any maps: either it runs and is honest, or the reason of its refusal is true.

The lists are the component folders themselves, so that a new component is crossed with all others once `OPTIONS` knows what to
ask of it. `python -m tests.test_crosses` prints the grid of all crosses as Markdown.
"""

from __future__ import annotations

import copy
import functools
import importlib
import itertools
import json
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from nnn_bench.audit.static import audit_fresh
from nnn_bench.config.closure import PACKAGE_ROOT
from nnn_bench.config.errors import UserError
from nnn_bench.models.build import build
from nnn_bench.models.language_model import LanguageModel
from nnn_bench.models.parts import ChannelMixer, TimeMixer
from tests.models import adding, solved

Tree = dict[str, Any]

VOCABULARY, CONTEXT, WIDTH, HIDDEN, STEPS = 12, 16, 16, 32, 20
GROWTH = {"at": [0.5]}

#: The options each component is crossed with, maps excepted: the usual ones first, then those that ask something of the rest.
OPTIONS: dict[str, list[Tree]] = {
    "topologies/cascade": [{"nodes": 2, "heads": 2}],
    "topologies/growing": [
        {"stages": [1, 2], "form": "untie", "growth": GROWTH},
        {"stages": [1, 2], "form": "gate", "growth": GROWTH},
    ],
    "topologies/high_order_transformer": [{"layers": 2}, {"layers": 1, "readout": "mean"}],
    "topologies/hourglass": [{"blocks": [2, 1], "factor": 4}, {"blocks": [1, 1], "factor": 4}],
    "topologies/parallel_cascade": [{"stages": 1, "nodes": 2}],
    "topologies/refed": [{"layers": 1, "passes": 2}],
    "topologies/stack": [{"layers": 2}, {"layers": 1, "growth": GROWTH}],
    "mixers/attention": [{"heads": 2}, {"heads": 2, "head_width": "width"}],
    "mixers/axial_attention": [{"heads": 2}],
    "mixers/comb": [{"axes": 2}, {"axes": 2, "order": "parallel"}, {"axes": 2, "born_axes": 1}],
    "mixers/glu": [{"hidden": HIDDEN}],
    "mixers/mamba": [{"inner": HIDDEN, "state": 4, "rank": 4}],
    "mixers/mlgru": [{}],
    "mixers/mlp": [{"hidden": HIDDEN}],
    "projections/axis": [
        {"axes": 2, "sharing": "shared"},
        {"axes": 2, "sharing": "all_shared"},
        {"axes": 2, "sharing": "shared", "born_halved": True},
    ],
    "projections/chain": [{"maps": 2, "scale": "layer", "projection": {"kind": "dense"}}],
    "projections/dense": [{}],
    "projections/layer_selection": [{"computations": 2}, {"computations": 1, "clones": 1}],
    "projections/low_rank_delta": [{"rank": 2}],
    "projections/piecewise": [{"nodes": 2}, {"nodes": 3, "scale": "maxabs"}],
    "projections/selection": [{"computations": 2}, {"computations": 1, "clones": 1}],
    "projections/ternary": [{}],
}


def in_folder(room: str) -> set[str]:
    return {f"{room}/{path.stem}" for path in (PACKAGE_ROOT / "models" / room).glob("[a-z]*.py")}


def known(room: str) -> list[str]:
    """Components that can be crossed; a test of its own complains of the others."""
    return sorted(kind.rpartition("/")[2] for kind in in_folder(room) & OPTIONS.keys())


def module(room: str, kind: str) -> Any:
    return importlib.import_module(f"nnn_bench.models.{room}.{kind}")


def mixers(role: type) -> list[str]:
    return [kind for kind in known("mixers") if issubclass(module("mixers", kind).Part, role)]


TOPOLOGIES, PROJECTIONS = known("topologies"), known("projections")
TIME_MIXERS, CHANNEL_MIXERS = mixers(TimeMixer), mixers(ChannelMixer)


class Chooser:
    """Fills in trees: with dice, each map for itself, and now and then unusual options; without, all maps alike, as usual."""

    def __init__(self, dice: random.Random | None, projection: Tree | None = None):
        self.dice, self.projection = dice, projection

    def tree(self, topology: str, time_mixer: str, channel_mixer: str) -> Tree:
        whole = {**self.component("topologies", topology), "width": WIDTH}
        whole["mixer"] = self.component("mixers", time_mixer)
        whole["channel_mixer"] = self.component("mixers", channel_mixer)
        if "head_projection" in whole:
            whole["tied_head"] = False
        return {"topology": whole}

    def component(self, room: str, kind: str) -> Tree:
        made: Tree = {"kind": kind, **self.options(room, kind)}
        for name, field in module(room, kind).Options.model_fields.items():
            if name.rpartition("_")[2] == "projection" and (field.is_required() or self.may_have_its_own()):
                made[name] = self.projection or self.component("projections", self.dice.choice(PROJECTIONS))
        return made

    def options(self, room: str, kind: str) -> Tree:
        sets = OPTIONS[f"{room}/{kind}"]
        return sets[0] if self.dice is None or self.dice.random() < 0.85 else self.dice.choice(sets)

    def may_have_its_own(self) -> bool:
        return self.dice is not None and self.dice.random() < 0.5


def components(tree: Any) -> list[Tree]:
    """Every component in a tree."""
    below = [one for part in tree.values() if isinstance(part, dict) for one in components(part)]
    return [tree, *below] if "kind" in tree else below


def growths(tree: Tree) -> list[int]:
    """How often each part that may grow a fixed number of times does so."""
    found: list[int] = []
    for part in components(tree):
        found += [part.get("clones", 0), int(part.get("born_halved", False))]
        found += [part["axes"] - part["born_axes"]] if "born_axes" in part else []
    return [times for times in found if times]


def scheduled(tree: Tree) -> int:
    return len(tree["topology"].get("growth", {"at": []})["at"])


def one_layer_is_blind(tree: Tree) -> bool:
    """Whether some position of a one-layer stack, of the same time mixer with dense maps, misses some of its past."""
    mixer = {key: "dense" if key.endswith("projection") else value for key, value in tree["topology"]["mixer"].items()}
    return is_blind(json.dumps(mixer))


@functools.cache
def is_blind(time_mixer: str) -> bool:
    mixer = json.loads(time_mixer)
    growth = {"growth": GROWTH} if growths({"topology": mixer}) else {}
    channel_mixer = {"kind": "mlp", "hidden": 4, "projection": "dense"}
    stack = {"kind": "stack", "layers": 1, "width": 8, "mixer": mixer, "channel_mixer": channel_mixer, **growth}
    model = build({"topology": stack}, vocabulary=VOCABULARY, context=CONTEXT)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(0))
    x = torch.randn(1, CONTEXT, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
    answers = model.predict(x)[0].sum(dim=-1)
    reached = [torch.autograd.grad(answer, x, retain_graph=True)[0][0].abs().sum(dim=-1) > 0 for answer in answers]
    return not torch.equal(torch.stack(reached), torch.ones(CONTEXT, CONTEXT, dtype=torch.bool).tril())


def no_two_axes(tree: Tree, *features: str) -> bool:
    """Whether no length of at least two divides both, leaving two or more (even ones, where an axis is born halved)."""

    inputs, outputs = map(int, features)

    def fits(even: bool) -> bool:
        kept = [a for a in range(2, inputs + 1) if inputs % a == 0 and outputs % a == 0]
        left = [(inputs // a, outputs // a) for a in kept]
        return any(min(pair) >= 2 and not (even and (pair[0] % 2 or pair[1] % 2)) for pair in left)

    return not all(fits(part.get("born_halved", False)) for part in components(tree) if part["kind"] == "axis")


#: What a refusal says, and whether that is so.
REASONS: dict[str, Callable[..., Any]] = {
    r"promises that every position sees all before it": lambda tree: (
        tree["topology"]["kind"] not in ("stack", "growing", "refed") and one_layer_is_blind(tree)
    ),
    r"grows (\d+) times and \w+ (?:schedules|has no growth)": lambda tree, times: (
        max(growths(tree), default=0) == int(times) != scheduled(tree)
    ),
    r"nothing in this network grows": lambda tree: (
        not growths(tree) and all(part["kind"] != "low_rank_delta" for part in components(tree))
    ),
    r"takes (\d+) features to (\d+), and axes that share one map have one length": lambda tree, inputs, outputs: (
        inputs != outputs or int(inputs) ** 0.5 % 1
    ),
    r"takes (\d+) features to (\d+), and no 2 axes of two or more": lambda tree, *features: no_two_axes(
        tree, *features
    ),
    r"heads: is (\d+), which does not divide the width (\d+)": lambda tree, heads, width: int(width) % int(heads),
}


def is_true(refusal: UserError, tree: Tree) -> bool:
    """Whether the reason that is told is one we know, and is so."""
    for pattern, holds in REASONS.items():
        found = re.search(pattern, str(refusal))
        if found:
            return bool(holds(tree, *found.groups()))
    return False


@functools.cache
def sample(count: int = 20) -> list[Tree]:
    """Always the same crosses; every topology and mixer is in about as many of them."""
    dice = random.Random(4)
    turns = [itertools.cycle(dice.sample(kinds, len(kinds))) for kinds in (TOPOLOGIES, TIME_MIXERS, CHANNEL_MIXERS)]
    trees = []
    for number in range(count):
        if number and number % len(TOPOLOGIES) == 0:
            next(turns[1])  # so that no topology meets the same mixer each time it comes round
        trees.append(Chooser(dice).tree(*(next(turn) for turn in turns)))
    return trees


def built(tree: Tree) -> LanguageModel:
    torch.manual_seed(0)
    return build(tree, vocabulary=VOCABULARY, context=CONTEXT)


def name(tree: Tree) -> str:
    top = tree["topology"]
    return f"{top['kind']}-{top['mixer']['kind']}-{top['channel_mixer']['kind']}"


def counting(batch: int, seed: int) -> torch.Tensor:
    """`(batch, CONTEXT + 1)`: each token is mostly the one before plus three, and anything one time in ten."""
    dice = torch.Generator().manual_seed(seed)
    ids = torch.randint(VOCABULARY, (batch, CONTEXT + 1), generator=dice)
    for t in range(1, CONTEXT + 1):
        follows = torch.rand(batch, generator=dice) < 0.9
        ids[:, t] = torch.where(follows, (ids[:, t - 1] + 3) % VOCABULARY, ids[:, t])
    return ids


def loss_of(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


def loss_on(model: LanguageModel, ids: torch.Tensor) -> torch.Tensor:
    return loss_of(model(ids[:, :-1]), ids)


def train(model: LanguageModel) -> None:
    """A few steps, each next stage entered on the way, with all that parts may ask of whoever trains them."""
    model.train()
    optimizer = None
    for step in range(STEPS):
        if model.stage + 1 < model.stages and step == STEPS * (model.stage + 1) // model.stages:
            model.grow()
            optimizer = None
        parameters = [p for p in model.parameters() if p.requires_grad]
        optimizer = optimizer or torch.optim.AdamW(parameters, lr=1e-2)
        for part in model.mixers_and_maps():
            part.progressed(step / STEPS)
        ids = counting(16, step)
        logits, added = adding(model, ids[:, :-1])
        loss = loss_of(logits, ids)
        optimizer.zero_grad()
        (loss + sum(added)).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    for part in model.mixers_and_maps():
        part.progressed(1.0)
    model.eval()


@pytest.mark.parametrize(
    ("place", "kind", "says"), [("mixer", "glu", "positions"), ("channel_mixer", "comb", "features")]
)
def test_what_mixes_the_other_thing_is_refused(place, kind, says):
    tree = copy.deepcopy(solved("gpt2").model)
    tree["topology"][place] = {"kind": kind, "projection": "dense", **OPTIONS[f"mixers/{kind}"][0]}
    with pytest.raises(UserError, match=rf"{place}\.kind: {kind} does not mix {says}"):
        build(tree, vocabulary=29, context=CONTEXT)


def test_every_component_says_what_it_is_crossed_with():
    there = {kind for room in ("topologies", "mixers", "projections") for kind in in_folder(room)}
    assert there - OPTIONS.keys() == set(), "give these components options in OPTIONS, so that they are crossed too"
    assert OPTIONS.keys() - there == set(), "these components are gone"


@pytest.mark.parametrize("tree", sample(), ids=[f"{number}-{name(tree)}" for number, tree in enumerate(sample())])
def test_a_cross_learns_and_is_honest_or_is_refused_for_a_true_reason(tree):
    try:
        model = built(tree)
    except UserError as refusal:
        assert is_true(refusal, tree), refusal
        return
    assert [f"{one.test}: {one.saw}" for one in audit_fresh(model) if one.passed is False] == []
    held_out = counting(32, 1000)
    with torch.no_grad():
        before = loss_on(model.eval(), held_out).item()
    train(model)
    with torch.no_grad():
        assert loss_on(model, held_out).item() < before - 0.2


def refusal_of(tree: Tree) -> UserError | None:
    """Why a tree is not built; storage is not needed to know."""
    try:
        with torch.device("meta"):
            built(tree)
    except UserError as refusal:
        return refusal
    return None


def test_a_reason_is_held_against_the_tree_it_is_told_of():
    cascade, dense = {"kind": "cascade", **OPTIONS["topologies/cascade"][0]}, {"kind": "dense"}
    sound = alike(cascade, {"kind": "attention", "heads": 2}, "mlp", dense)
    assert refusal_of(sound) is None and not is_true(UserError("for reasons of its own"), sound)
    cases = {
        "sees only a part": alike(cascade, {"kind": "axial_attention", "heads": 2}, "mlp", dense),
        "does not divide": alike(cascade, {"kind": "attention", "heads": 3}, "mlp", dense),
        "no 2 axes": alike(
            {**cascade, "width": 13, "heads": 1},
            {"kind": "mlgru"},
            "mlp",
            {"kind": "axis", "axes": 2, "sharing": "shared"},
        ),
        "grows 1 times": alike(
            cascade, {"kind": "mlgru"}, "mlp", {"kind": "selection", "computations": 1, "clones": 1}
        ),
    }
    for says, tree in cases.items():
        refusal = refusal_of(tree)
        assert refusal is not None and says in str(refusal) and is_true(refusal, tree)
        # a reason that names its numbers is judged by them, any other by the tree
        assert says == "does not divide" or not is_true(refusal, sound)


def test_most_of_the_sample_runs():
    assert sum(refusal_of(tree) is None for tree in sample()) >= 12


def every(room: str, kinds: list[str]) -> list[Tree]:
    """The components of a folder with each of their option sets."""
    return [{"kind": kind, **options} for kind in kinds for options in OPTIONS[f"{room}/{kind}"]]


def alike(topology: Tree, time_mixer: Tree, channel_mixer: str, projection: Tree) -> Tree:
    """A cross with all maps of one kind."""
    whole = Chooser(None, projection).tree(topology["kind"], time_mixer["kind"], channel_mixer)["topology"]
    return {"topology": {**whole, **topology, "mixer": {**whole["mixer"], **time_mixer}}}


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_every_cross_is_built_or_refused_for_a_true_reason(topology):
    channel_mixers = itertools.cycle(CHANNEL_MIXERS)
    parts = every("mixers", TIME_MIXERS), every("projections", PROJECTIONS)
    for whole, (time_mixer, projection) in itertools.product(
        every("topologies", [topology]), itertools.product(*parts)
    ):
        tree = alike(whole, time_mixer, next(channel_mixers), projection)
        refusal = refusal_of(tree)
        assert refusal is None or is_true(refusal, tree), refusal


def markdown() -> str:
    """The whole grid; time mixers that fare alike share a row, maps that fare alike a column."""
    letters = dict(zip(REASONS, "abcdef", strict=True))

    def cell(*parts: Tree) -> str:
        refusal = refusal_of(alike(parts[0], parts[1], "mlp", parts[2]))
        return next((letters[why] for why in REASONS if re.search(why, str(refusal))), "runs") if refusal else "runs"

    maps, lines = every("projections", PROJECTIONS), []
    for topology in every("topologies", TOPOLOGIES):
        rows: dict[tuple[str, ...], list[str]] = {}
        for time_mixer in every("mixers", TIME_MIXERS):
            cells = tuple(cell(topology, time_mixer, projection) for projection in maps)
            rows.setdefault(cells, []).append(label("mixers", time_mixer))
        lines += [[label("topologies", topology), ", ".join(names), *cells] for cells, names in rows.items()]
    head = ["topology", "time mixer", *(label("projections", one) for one in maps)]
    table = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in table)


def label(room: str, part: Tree) -> str:
    """The name of a component, with what sets this option set apart from the usual one."""
    usual = OPTIONS[f"{room}/{part['kind']}"][0]
    apart = [f"{key}: {value}" for key, value in part.items() if key != "kind" and usual.get(key) != value]
    return f"{part['kind']} ({', '.join(apart)})" if apart else part["kind"]


if __name__ == "__main__":
    print(markdown())
