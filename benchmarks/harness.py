"""What the harness adds to training: a whole run (lock, record, checkpoints, learning rate, clock) against the bare loop.

Both train the same network on the same batches with the same optimizer for the same number of steps. Evaluation is asked-for
work, not overhead, so it is cut to one window and its time is taken off. Mirroring to MLflow happens after training, in a
process of its own, and costs a run nothing.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from benchmarks.timing import arguments, interleaved, publish, row
from nnn_bench.config.catalog import Catalog
from nnn_bench.config.datasets import CharacterTokens, Dataset
from nnn_bench.config.expansion import RunSpec, study_specs
from nnn_bench.config.paths import Project
from nnn_bench.data.batches import TrainingBatches
from nnn_bench.data.store import TokenStore, load
from nnn_bench.models.build import build
from nnn_bench.training import trainer
from nnn_bench.training.configuration import RunConfiguration
from nnn_bench.training.job import make_plan, run_configuration
from nnn_bench.training.optimizers import make_optimizer

STEPS = 400  # a quarter of a run of suite laptop
CHECKPOINT_SECONDS = 3.0  # five times as often as in a real run


def tiny_store(folder: Path) -> tuple[Project, TokenStore, Dataset]:
    """A data set of random letters in a project of its own."""
    from nnn_bench.data.prepare import prepare

    draw = torch.randint(97, 123, (400_000,), generator=torch.Generator().manual_seed(0))
    (folder / "text.txt").write_bytes(bytes(draw.tolist()))
    project = Project(folder)
    dataset = Dataset.model_validate(
        {"summary": "-", "licence": "-", "citation": "-", "source": {"kind": "file", "path": "text.txt"}}
    )
    prepare("letters", dataset, "characters", CharacterTokens(kind="characters"), project)
    return project, load(project, "letters", "characters"), dataset


def configuration(project: Project, dataset: Dataset) -> RunConfiguration:
    """GPT-2 of suite laptop, for `STEPS` steps, with next to no evaluation."""
    catalog = Catalog(Project.find())
    spec = study_specs(catalog, "laptop", "language")["gpt2"].declared
    tokens = STEPS * spec.scale.batch * spec.scale.context
    small = {
        "training_characters": 300_000,
        "tokens": tokens,
        "evaluations": 1,
        "validation_tokens": 1,
        "test_tokens": 1,
    }
    scale = spec.scale.model_copy(update={**small, "sample_tokens": 0})
    changed = RunSpec(**{**spec.__dict__, "dataset": "letters", "dataset_config": dataset, "scale": scale})
    return run_configuration(changed, make_plan(project, catalog, changed), 0)


def bare_loop(config: RunConfiguration, store: TokenStore) -> None:
    """The same training in ten lines."""
    torch.manual_seed(0)
    model = build(config.model, vocabulary=store.manifest.vocabulary, context=config.scale.context)
    optimizer = make_optimizer(model, config.training.optimizer, config.learning_rate)
    batches = TrainingBatches(store.seen(config.scale.training_characters), config.scale.context, config.scale.batch, 0)
    for step in range(config.steps):
        inputs, targets = batches.batch_at(step)
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def main() -> None:
    chosen = arguments(__doc__ or "")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project, store, dataset = tiny_store(folder)
        config = configuration(project, dataset)
        evaluating = [0.0]
        sound = trainer.evaluate

        def timed_evaluate(*given, **named):  # type: ignore[no-untyped-def]
            start = time.perf_counter()
            scores = sound(*given, **named)
            evaluating[0] += time.perf_counter() - start
            return scores

        trainer.evaluate = timed_evaluate
        number = iter(range(1_000_000))
        config = config.model_copy(update={"threads": chosen.threads})
        contenders = {
            "bare": lambda: bare_loop(config, store),
            "harness": lambda: trainer.train_run(config, store, folder / f"run{next(number)}", CHECKPOINT_SECONDS),
        }
        seconds = interleaved(contenders, rounds=chosen.rounds)
        share = evaluating[0] / (chosen.rounds + 1)
        seconds["harness"] = [value - share for value in seconds["harness"]]
        result = row(f"{STEPS} steps of gpt2", seconds)
        result["evaluation_ms"] = share * 1e3
    publish("harness", [result], chosen.threads, "a whole run against the bare loop; target: harness / bare <= 1.02")


if __name__ == "__main__":
    main()
