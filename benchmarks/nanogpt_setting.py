"""Sanity of the baseline: our GPT-2 and loop in nanoGPT's CPU setting for Shakespeare characters.

4 layers, 4 heads, width 128, no biases, context 64, batch 12, 2,000 steps, dropout 0, AdamW (0.9, 0.99), weight decay 0.1,
learning rate 1e-3 to 1e-4 by cosine after 100 steps of warm-up, clip 1; the first 1.1 MB of the text, its last tenth for
validation, loss over all positions. nanoGPT is known to end near 1.88 on its own file and 1.94 on this text; 1.95 or better is
expected.
"""

from __future__ import annotations

import torch

from benchmarks.timing import arguments
from nnn_bench.config.paths import Project
from nnn_bench.config.recipe import AdamW, Schedule, Training
from nnn_bench.data.batches import EvaluationWindows, TrainingBatches
from nnn_bench.data.store import load
from nnn_bench.models.build import build
from nnn_bench.training.environment import set_up
from nnn_bench.training.evaluation import position_losses
from nnn_bench.training.loop import Stepper
from nnn_bench.training.optimizers import make_optimizer

CHARACTERS, CONTEXT, BATCH, STEPS = 1_100_000, 64, 12, 2_000


def main() -> None:
    chosen = arguments(__doc__ or "", seed=1337)
    store = load(Project.find(), "shakespeare", "characters")
    text = store.train[:CHARACTERS]
    cut = int(0.9 * CHARACTERS)
    environment = set_up("cpu", "float32", chosen.threads, False)
    torch.manual_seed(chosen.seed)
    dense = {"kind": "dense", "bias": False}
    mixer = {"kind": "attention", "heads": 4, "projection": dense}
    channels = {"kind": "mlp", "hidden": 512, "projection": dense}
    stack = {"kind": "stack", "layers": 4, "width": 128, "mixer": mixer, "channel_mixer": channels}
    model = build({"topology": stack}, vocabulary=store.manifest.vocabulary, context=CONTEXT)
    training = Training(optimizer=AdamW(betas=(0.9, 0.99)), schedule=Schedule(warmup=0.05, floor=0.1))
    stepper = Stepper(
        model,
        model,
        make_optimizer(model, training.optimizer, 1e-3),
        TrainingBatches(text[:cut], CONTEXT, BATCH, chosen.seed),
        training,
        environment,
        1e-3,
        STEPS,
    )
    windows = EvaluationWindows(text[cut:], CONTEXT, CHARACTERS - cut - CONTEXT)
    for step in range(STEPS):
        loss, _ = stepper.step(step)
        if (step + 1) % 500 == 0:
            print(f"step {step + 1}: training {loss.item():.4f}", flush=True)
    losses, _ = position_losses(model, windows, environment)
    print(f"validation loss over all positions: {losses.mean():.4f} nats ({losses.size:,} predictions)")


if __name__ == "__main__":
    main()
