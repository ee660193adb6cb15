"""The optimizer steps of a run, and the clock that times nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nnn_bench.config.recipe import Training
from nnn_bench.data.batches import MASKED, Batches
from nnn_bench.models.language_model import LanguageModel
from nnn_bench.training.environment import Environment
from nnn_bench.training.optimizers import set_learning_rate
from nnn_bench.training.plateau import PlateauRate
from nnn_bench.training.schedule import rate_share

PADDING = -1  # an input that is no token: its vector is zero


class TrainingClock:
    """Seconds spent in training steps: runs between `start` and `stop`, accumulated over resumes."""

    def __init__(self, environment: Environment, seconds: float = 0.0):
        self._environment, self.seconds = environment, seconds
        self._since: float | None = None

    def start(self) -> None:
        if self._since is None:
            self._environment.synchronize()
            self._since = time.perf_counter()

    def stop(self) -> None:
        if self._since is not None:
            self._environment.synchronize()
            self.seconds += time.perf_counter() - self._since
            self._since = None


@dataclass
class Stepper:
    """Does one optimizer step at a time: forward, backward, clip, update."""

    model: LanguageModel
    network: Callable[[Tensor], Tensor]  # the model, compiled or not
    optimizer: torch.optim.Optimizer
    batches: Batches
    training: Training
    environment: Environment
    learning_rate: float
    steps: int
    accumulation: int = 1
    lowered: PlateauRate = field(default_factory=PlateauRate)  # stays at the whole rate unless validations lower it

    def __post_init__(self) -> None:
        self._parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self._parts = self.model.mixers_and_maps()
        self._listeners = [part for part in self._parts if part.hears_progress]

    def step(self, step: int) -> tuple[Tensor, Tensor]:
        """Train on the batch of `step`; its mean loss in nats and the gradient norm before clipping, on the device."""
        for part in self._listeners:
            part.progressed(step / self.steps)
        loss = self._gradients(step)
        norm = nn.utils.clip_grad_norm_(self._parameters, self.training.clip)
        set_learning_rate(self.optimizer, self.rate(step))
        self.optimizer.step()
        return loss, norm

    def rate(self, step: int) -> float:
        return self.learning_rate * rate_share(self.training.schedule, step, self.steps) * self.lowered.share

    def warm_up(self) -> None:
        """Compute and drop the gradients of the first batch: what is compiled or allocated once is so before the clock
        runs. Weights, optimizer and random generator stay as they are."""
        random = torch.get_rng_state()
        self._gradients(0)
        self.optimizer.zero_grad(set_to_none=True)
        torch.set_rng_state(random)

    def _gradients(self, step: int) -> Tensor:
        """Fill the gradients with those of the mean loss over all targets of a step, and of what the network adds to it.

        Returns that mean alone.
        """
        inputs, targets = self.batches.batch_at(step)
        if self.model.random_left_padding:
            inputs, targets = self.batches.left_padded(step, inputs, targets, PADDING, MASKED)
        predicted = max(1, int((targets != MASKED).sum()))  # a batch of questions alone teaches nothing
        total = torch.zeros((), device=self.environment.device)
        self.optimizer.zero_grad(set_to_none=True)
        for x, y in zip(inputs.chunk(self.accumulation), targets.chunk(self.accumulation), strict=True):
            added = self._collect_terms()
            part = self._summed_loss(x, y) / predicted
            self._collect_no_terms()
            (part + sum(added) / self.accumulation if added else part).backward()
            total += part.detach()
        return total

    def _collect_terms(self) -> list[Tensor]:
        """A list that fills with what parts add to the loss, until they are told to stop."""
        added: list[Tensor] = []
        for one in self._parts:
            one.auxiliary = added
        return added

    def _collect_no_terms(self) -> None:
        # before the backward pass: a block that is computed again there would add its term again
        for one in self._parts:
            one.auxiliary = None

    def _summed_loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        device = self.environment.device
        with self.environment.autocast():
            logits = self.network(inputs.to(device, non_blocking=True))
        expected = targets.to(device, non_blocking=True).flatten()
        return F.cross_entropy(logits.float().flatten(0, 1), expected, ignore_index=MASKED, reduction="sum")
