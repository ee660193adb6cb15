"""Everything one run needs to know, resolved; and its fingerprint.

Two runs with the same fingerprint give the same bits. It covers the settings, the resolved model, the data, the source that
is executed, and the machine as far as it changes results.
"""

from __future__ import annotations

from typing import Any, Literal

from nnn_bench.config.files import digest
from nnn_bench.config.recipe import LanguageScale, Training
from nnn_bench.config.validation import Settings
from nnn_bench.training.environment import Environment


class RunConfiguration(Settings):
    """One (variant, dataset, budget, seed) with nothing left to decide. `settings` is kept for readers of the run."""

    run_key: str
    purpose: Literal["run", "trial"] = "run"  # a trial of a learning rate never sees the test split
    variant: str
    dataset: str
    tokenizer: str
    budget: str
    objective: str
    ahead: int
    seed: int
    learning_rate: float
    model: dict[str, Any]
    steps: int
    scale: LanguageScale
    training: Training
    threads: int
    device: str
    settings: dict[str, Any]
    receipt: dict[str, Any]

    def fingerprint(self, data_fingerprint: str, source: str, environment: Environment) -> str:
        """SHA-256 over all that decides the result."""
        decides = self.model_dump(mode="json", exclude={"run_key", "receipt", "settings", "device"})
        return digest({**decides, "data": data_fingerprint, "source": source, "environment": environment.facts()})
