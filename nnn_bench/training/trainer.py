"""Train one run, from wherever it stands, to its result.

The same configuration, data, source and machine give the same bits, however often the run was killed: every batch is a
function of (seed, step), and a checkpoint holds weights, optimizer state, random generators, clock and the length of the record.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nnn_bench.config.closure import source_hash
from nnn_bench.config.errors import Terminated
from nnn_bench.config.recipe import PlateauSchedule
from nnn_bench.data.batches import MASKED, ScoredWindows
from nnn_bench.data.objectives import evaluation_windows, training_batches
from nnn_bench.data.store import TokenStore
from nnn_bench.measure.density import density_curve
from nnn_bench.measure.ternary import model_occupancy
from nnn_bench.models.build import build
from nnn_bench.models.language_model import LanguageModel
from nnn_bench.training.checkpoint import Progress, clear_damaged, newest_checkpoint, save_checkpoint
from nnn_bench.training.choices import last_look, look_at_choices
from nnn_bench.training.configuration import RunConfiguration
from nnn_bench.training.environment import Environment, set_up
from nnn_bench.training.evaluation import evaluate, nats
from nnn_bench.training.growing import GrowthWatch
from nnn_bench.training.loop import Stepper, TrainingClock
from nnn_bench.training.optimizers import carry_state, make_optimizer
from nnn_bench.training.results import result_of
from nnn_bench.training.run_directory import RunDirectory
from nnn_bench.training.samples import samples_of
from nnn_bench.training.stopping import stop_signals

RECORD_ROWS = 200


def train_run(
    configuration: RunConfiguration, store: TokenStore, path: Path, checkpoint_seconds: float
) -> dict[str, Any]:
    """Train `configuration` in the directory `path` and return its result; resume or skip where that is exact.

    Raises `RunBusy` when another process trains it, `Terminated` after SIGTERM or SIGINT, `UserError` for bad input.
    """
    training = configuration.training
    environment = set_up(configuration.device, training.precision, configuration.threads, training.compile)
    source = source_hash(configuration.model)
    fingerprint = configuration.fingerprint(store.manifest.content, source, environment)
    directory = RunDirectory(path)
    with directory.locked():
        told = configuration.model_dump(mode="json")
        done = directory.finished(fingerprint)
        if done is not None:
            if done["receipt"] != told["receipt"]:  # the same run; what is known of how it was planned has changed
                done = {**done, "receipt": told["receipt"]}
                directory.write_result(done)
            return done
        run = _Run(configuration, store, directory, environment, fingerprint, checkpoint_seconds)
        directory.begin({**told, "fingerprint": fingerprint, "environment": environment.facts()})
        with stop_signals() as stop:
            result = run.train(stop)
            if stop.is_set():
                raise Terminated(f"stopped after {configuration.run_key} was finished")
            return result


def initial_seed(seed: int, variant: str) -> int:
    """Seed of the initialisation stream: its own for each variant, while data order depends on `seed` alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{variant}".encode()).digest()[:8], "little") >> 1


@dataclass
class _Run:
    configuration: RunConfiguration
    store: TokenStore
    directory: RunDirectory
    environment: Environment
    fingerprint: str
    checkpoint_seconds: float
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        configuration, scale = self.configuration, self.configuration.scale
        torch.manual_seed(initial_seed(configuration.seed, configuration.variant))
        vocabulary = self.store.manifest.vocabulary
        model = build(configuration.model, vocabulary=vocabulary, context=scale.context, file=configuration.variant)
        self.model: LanguageModel = model.to(self.environment.device)
        self.model.recompute_activations = configuration.training.activation_checkpointing
        asked = (configuration.objective, configuration.ahead)
        self.batches = training_batches(self.store, scale, *asked, configuration.seed)
        self.validation = evaluation_windows(self.store, "validation", scale, *asked)
        whole = configuration.purpose == "run"
        self.test = evaluation_windows(self.store, "test", scale, *asked) if whole else None
        self._equip()

    def _equip(self) -> None:
        """Optimizer, stepper and cost of a step for the network as it now is."""
        configuration, scale = self.configuration, self.configuration.scale
        self.optimizer = make_optimizer(self.model, configuration.training.optimizer, configuration.learning_rate)
        self.stepper = Stepper(
            self.model,
            torch.compile(self.model) if configuration.training.compile else self.model,
            self.optimizer,
            self.batches,
            configuration.training,
            self.environment,
            configuration.learning_rate,
            configuration.steps,
            scale.accumulation,
            self.progress.rate,
        )
        self.step_flops = (self.model.window_flops(scale.context).with_backward * scale.batch).total

    def train(self, stop: threading.Event) -> dict[str, Any]:
        self._resume()
        progress, steps = self.progress, self.configuration.steps
        schedule = self.configuration.training.schedule
        record_every = max(1, steps // RECORD_ROWS)
        evaluations = self.configuration.scale.evaluations
        evaluate_at = {round(number * steps / evaluations) for number in range(1, evaluations + 1)}
        loss_sum = torch.tensor(progress.loss_sum, dtype=torch.float64, device=self.environment.device)
        clock = TrainingClock(self.environment, progress.seconds)
        saved = time.monotonic()
        validation = None
        watch = GrowthWatch(self.model.growth, steps, progress.plateau)
        self.model.train()
        self.stepper.warm_up()
        while progress.step < steps:
            while watch.due(progress.step, self.model.stage):
                clock.stop()
                progress.seconds = clock.seconds
                self._grow()
                watch.start_over()
            clock.start()
            loss, norm = self.stepper.step(progress.step)
            watch.saw(loss)
            loss_sum += loss
            progress.step += 1
            progress.flops += self.step_flops
            progress.loss_count += 1
            last = progress.step == steps
            if progress.step % record_every == 0 or last:
                clock.stop()
                progress.seconds = clock.seconds
                mean = loss_sum.item() / progress.loss_count
                self._record_training(mean, norm.item())
                loss_sum.zero_()
                progress.loss_count = 0
                if not math.isfinite(mean):  # nothing that follows could mean anything
                    return self._finish("diverged", None, None)
            if progress.step in evaluate_at:
                clock.stop()
                progress.seconds = clock.seconds
                validation = self._validate(norm.item())
                if not math.isfinite(validation["loss"]):
                    return self._finish("diverged", None, None)
                if isinstance(schedule, PlateauSchedule):
                    progress.rate.saw(validation["loss"], schedule)
            if last or stop.is_set() or time.monotonic() - saved > self.checkpoint_seconds:
                clock.stop()
                progress.seconds, progress.loss_sum = clock.seconds, loss_sum.item()
                progress.record_length = self.directory.record_length
                save_checkpoint(self.directory.checkpoints, self.fingerprint, self.model, self.optimizer, progress)
                saved = time.monotonic()
                if stop.is_set() and not last:
                    raise Terminated(f"stopped at step {progress.step} of {steps}; start again to go on")
        clock.stop()
        validation = validation or self._evaluated(self.validation)
        test = self._evaluated(self.test) if self.test is not None else None
        if not all(math.isfinite(scores["loss"]) for scores in (validation, test) if scores is not None):
            return self._finish("diverged", None, None)
        return self._finish("ok", validation, test)

    def _resume(self) -> None:
        clear_damaged(self.directory.checkpoints, self.fingerprint)
        found = newest_checkpoint(self.directory.checkpoints, self.fingerprint)
        if found is None:
            self.progress.started = time.time()
        else:
            self.progress = found.progress
            while self.model.stage < self.progress.stage:
                self.model.grow()
            self._equip()
            found.restore(self.model, self.optimizer)
        self.directory.cut_record(self.progress.record_length)

    def _grow(self) -> None:
        """Take the network to its next stage, the optimizer with it, and record what that does to the loss."""
        inputs, targets = next(iter(self.validation.chunks(16)))
        before = self._loss_on(inputs, targets)
        old, parameters = self.optimizer, dict(self.model.named_parameters())
        origins = self.model.grow()
        self._equip()
        carry_state(old, parameters, self.optimizer, self.model, origins)
        self.progress.stage = self.model.stage
        losses = {"loss_before": before, "loss_after": self._loss_on(inputs, targets)}
        self.directory.append({**self._row("growth"), "stage": self.model.stage, **losses})

    @torch.no_grad()
    def _loss_on(self, inputs: Tensor, targets: Tensor) -> float:
        """Mean loss in nats on the way training takes, all positions alike, but without what it draws at random."""
        for part in self.model.mixers_and_maps():
            part.progressed(1.0)
        with self.environment.autocast():
            logits = self.model(inputs.to(self.environment.device))
        return nats(logits, targets.to(self.environment.device)).sum().item() / max(1, int((targets != MASKED).sum()))

    def _evaluated(self, windows: ScoredWindows) -> dict[str, Any]:
        return evaluate(self.model, windows, self.store.token_bytes, self.environment)

    def _row(self, kind: str) -> dict[str, Any]:
        scale, progress = self.configuration.scale, self.progress
        tokens = progress.step * scale.batch * scale.context
        return {
            "kind": kind,
            "time": time.time(),
            "step": progress.step,
            "tokens": tokens,
            "flops": progress.flops,
            "seconds": progress.seconds,
        }

    def _record_training(self, loss: float, norm: float) -> None:
        rate = self.stepper.rate(self.progress.step - 1)
        self.directory.append({**self._row("train"), "loss": loss, "learning_rate": rate, "gradient_norm": norm})

    def _validate(self, norm: float) -> dict[str, Any]:
        """Score and record. `norm` is that of the last step's gradients before clipping; they still lie in the parameters."""
        scores = self._evaluated(self.validation)
        row = {
            **self._row("validation"),
            **{key: scores[key] for key in ("loss", "bits_per_byte", "all_positions_loss")},
        }
        if self.configuration.purpose == "run":  # a trial is asked for its loss alone
            clipped = min(1.0, self.configuration.training.clip / (norm + 1e-6))  # what torch's clipping multiplies by
            last = self.progress.step == self.configuration.steps
            row |= look_at_choices(self.model, self.validation, self.environment, clipped, each=last)
        self.directory.append(row)
        return scores

    def _finish(self, status: str, validation: dict[str, Any] | None, test: dict[str, Any] | None) -> dict[str, Any]:
        result = result_of(
            self.configuration,
            self.fingerprint,
            self.environment,
            status=status,
            last=self._row("result"),
            started=self.progress.started,
            validation=validation,
            test=test,
            samples=self._samples() if test is not None else [],
            weights=self._weights() if test is not None else {"density": {}, "ternary": {}},
            selection=last_look(self.directory.record),
        )
        self.directory.write_result(result)
        return result

    def _samples(self) -> list[dict[str, Any]]:
        configuration = self.configuration
        asked = (configuration.scale, configuration.objective, configuration.ahead, configuration.seed)
        return samples_of(self.model, self.store, *asked)

    def _weights(self) -> dict[str, Any]:
        """What the trained weights look like at inference, where the network is of a kind that has something to say."""
        return {
            "density": density_curve(self.model, lambda: float(self._evaluated(self.validation)["loss"])),
            "ternary": model_occupancy(self.model),
        }
