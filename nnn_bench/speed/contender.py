"""A network in training as a run trains it: real sizes, real batches, its study's optimizer, precision and compilation.

A network that grows is there once for each of its stages, each at the steps of the run that stage has.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from nnn_bench.data.objectives import training_batches
from nnn_bench.data.store import TokenStore
from nnn_bench.models.build import build
from nnn_bench.models.language_model import LanguageModel
from nnn_bench.speed.lane import Phase
from nnn_bench.training.configuration import RunConfiguration
from nnn_bench.training.environment import Environment
from nnn_bench.training.loop import Stepper
from nnn_bench.training.optimizers import make_optimizer
from nnn_bench.training.trainer import initial_seed

WARM_UP_STEPS = 3


@dataclass
class Contender:
    """One network at one stage, at a step of its run. `first` and `last` bound the steps of the stage; they come again when
    more are asked for."""

    model: LanguageModel
    optimizer: torch.optim.Optimizer
    stepper: Stepper
    first: int
    last: int
    done: int = 0

    def step(self) -> Tensor:
        """One training step; its loss stays on the device."""
        loss, _ = self.stepper.step(self.first + self.done % max(1, self.last - self.first))
        self.done += 1
        return loss

    def warm_up(self, steps: int = WARM_UP_STEPS) -> float:
        """Do some steps; seconds the first took beyond the fastest of the others: what is compiled or allocated once."""
        taken = []
        for _ in range(steps):
            self.stepper.environment.synchronize()
            start = time.perf_counter()
            self.step()
            self.stepper.environment.synchronize()
            taken.append(time.perf_counter() - start)
        return max(0.0, taken[0] - min(taken[1:], default=taken[0]))

    def remember(self) -> Callable[[], None]:
        """A function that takes weights, buffers, optimizer, random generators and the count of steps back to what they are
        now, to the bit."""
        tensors = [(tensor, tensor.detach().clone()) for tensor in _tensors(self.model)]
        optimizer = copy.deepcopy(self.optimizer.state_dict())
        random, done = torch.get_rng_state(), self.done
        cuda = torch.cuda.get_rng_state() if self.stepper.environment.device == "cuda" else None

        def restore() -> None:
            with torch.no_grad():
                for tensor, value in tensors:
                    tensor.copy_(value)
            self.optimizer.zero_grad(set_to_none=True)
            self.optimizer.load_state_dict(copy.deepcopy(optimizer))  # which it would write into
            torch.set_rng_state(random)
            if cuda is not None:
                torch.cuda.set_rng_state(cuda)
            self.done = done

        return restore


def contenders(configuration: RunConfiguration, store: TokenStore, environment: Environment) -> list[Contender]:
    """The network of a run at each of its stages, first to last, with fresh weights and optimizers."""
    spans = stage_spans(configuration, store)
    return [_contender(configuration, store, environment, stage, span) for stage, span in enumerate(spans)]


def last_contender(configuration: RunConfiguration, store: TokenStore, environment: Environment) -> Contender:
    """The network of a run at its last stage, where it is largest."""
    spans = stage_spans(configuration, store)
    return _contender(configuration, store, environment, len(spans) - 1, spans[-1])


def stage_spans(configuration: RunConfiguration, store: TokenStore) -> list[tuple[int, int]]:
    """The first step of each stage of a run, and the one after its last, as the schedule has them at the latest."""
    with torch.device("meta"):
        growth = _built(configuration, store).growth
    starts = growth.steps(configuration.steps) if growth else []
    return list(pairwise([0, *starts, configuration.steps]))


def phases(stages: list[Contender]) -> list[Phase]:
    """The stages of a network as the lane times them; one so short that no step falls into it has no part."""
    steps = stages[-1].last
    return [Phase((stage.last - stage.first) / steps, stage.step) for stage in stages if stage.last > stage.first]


def _built(configuration: RunConfiguration, store: TokenStore) -> LanguageModel:
    return build(
        configuration.model,
        vocabulary=store.manifest.vocabulary,
        context=configuration.scale.context,
        file=configuration.variant,
    )


def _contender(
    configuration: RunConfiguration, store: TokenStore, environment: Environment, stage: int, span: tuple[int, int]
) -> Contender:
    """The network as the run is born with it, grown to a stage, and all that trains it there."""
    training, scale = configuration.training, configuration.scale
    torch.manual_seed(initial_seed(configuration.seed, configuration.variant))
    model = _built(configuration, store)
    while model.stage < stage:
        model.grow()
    model.recompute_activations = training.activation_checkpointing
    model = model.to(environment.device).train()
    optimizer = make_optimizer(model, training.optimizer, configuration.learning_rate)
    stepper = Stepper(
        model,
        torch.compile(model) if training.compile else model,
        optimizer,
        training_batches(store, scale, configuration.objective, configuration.ahead, configuration.seed),
        training,
        environment,
        configuration.learning_rate,
        configuration.steps,
        scale.accumulation,
    )
    return Contender(model, optimizer, stepper, *span)


def _tensors(model: nn.Module) -> list[Tensor]:
    """Parameters and buffers, those that no checkpoint holds included."""
    return [*model.parameters(), *model.buffers()]
