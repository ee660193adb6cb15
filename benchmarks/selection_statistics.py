"""What it costs to look at how selections choose: the share of a run's time, at the intervals of suite laptop.

Two networks: GPT-2 whose maps choose between two computations, and a single map of 256 units and 75 computations. A step is
forward, backward, clipping and update on a batch; a look is what a validation adds to its scoring: statistics, gradient norms and
the exchange of all choices; the last look exchanges the choices of each layer besides. The share is that of all looks of a run in
all its steps. Processor time, in turns, so that other work on the machine changes little.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.timing import arguments, interleaved, publish, row
from nnn_bench.budget.solver import solve
from nnn_bench.config.catalog import Catalog
from nnn_bench.config.component import Component
from nnn_bench.config.paths import Project
from nnn_bench.config.recipe import LanguageScale, Training
from nnn_bench.data.batches import EvaluationWindows
from nnn_bench.models.build import Builder, build
from nnn_bench.models.parts import Port
from nnn_bench.training.choices import WINDOWS, look_at_choices
from nnn_bench.training.environment import set_up
from nnn_bench.training.optimizers import make_optimizer

VOCABULARY = 65  # letters of Shakespeare
WIDTH = 256


class OneMap(nn.Module):
    """Embedding, one selecting map, head."""

    def __init__(self, computations: int):
        super().__init__()
        component = Component.model_validate({"kind": "selection", "computations": computations})
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.map = Builder("benchmark").projector(component)(Port("map", WIDTH, WIDTH))
        self.head = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.head(self.map(self.embedding(tokens)))
        return logits


def contenders(
    model: nn.Module, optimizer: torch.optim.Optimizer, scale: LanguageScale
) -> dict[str, Callable[[], Any]]:
    """A step, a look and the last look, on random text."""

    letters = np.random.default_rng(0).integers(VOCABULARY, size=(2 * WINDOWS + 1) * scale.context).astype(np.uint16)
    windows = EvaluationWindows(letters, scale.context, len(letters))
    inputs, targets = next(iter(windows.chunks(scale.batch)))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    environment = set_up("cpu", "float32", torch.get_num_threads(), compiled=False)

    def look(*, each: bool) -> None:
        look_at_choices(model, windows, environment, 1.0, each=each)

    return {"step": step, "look": lambda: look(each=False), "last_look": lambda: look(each=True)}


def main() -> None:
    chosen = arguments(__doc__ or "")
    torch.manual_seed(chosen.seed)
    catalog = Catalog(Project.find())
    scale = catalog.suite("laptop").language
    steps = scale.tokens // (scale.batch * scale.context)
    variant = catalog.variant("selection_transformer")
    found = solve(variant, scale.body_parameters, vocabulary=VOCABULARY, context=scale.context, file="benchmark")
    network = build(found.model, vocabulary=VOCABULARY, context=scale.context)
    one = OneMap(75)
    cases: dict[str, tuple[nn.Module, torch.optim.Optimizer]] = {
        "selection_transformer K 2": (network, make_optimizer(network, Training().optimizer, 1e-3)),
        "one map K 75": (one, torch.optim.AdamW(one.parameters(), 1e-3)),
    }
    rows = []
    for case, made in cases.items():
        rounds = chosen.rounds if "75" not in case else max(3, chosen.rounds // 3)
        seconds = interleaved(contenders(*made, scale), rounds=rounds, clock=time.process_time)
        step, look, last = (statistics.median(seconds[name]) for name in ("step", "look", "last_look"))
        share = ((scale.evaluations - 1) * look + last) / (steps * step)
        rows.append(row(case, seconds) | {"share": share, "last_look_share": last / (steps / scale.evaluations * step)})
        print(f"{case}: all looks of a run take {share:.2%} of its {steps} steps")
    publish("selection_statistics", rows, chosen.threads, "processor time; target: looks / steps of a run <= 2 %")


if __name__ == "__main__":
    main()
