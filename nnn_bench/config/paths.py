"""Where things lie. Every folder the product writes is derived from one project root."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nnn_bench.config.errors import UserError


@dataclass(frozen=True)
class Project:
    """The folders of one checkout; `root` holds `config/` and the `Snakefile`."""

    root: Path

    @classmethod
    def find(cls, start: Path | None = None) -> Project:
        """The nearest folder at or above `start` (default: the current one) that holds `config/suites`.

        Falls back to the checkout this package was installed from, so that `nnn-bench` works from anywhere.
        """
        here = (start or Path.cwd()).resolve()
        for folder in (here, *here.parents, Path(__file__).resolve().parents[2]):
            if (folder / "config" / "suites").is_dir():
                return cls(folder)
        raise UserError(f"no config/suites at or above {here}; run this inside a checkout of nnn_bench")

    @cached_property
    def config(self) -> Path:
        return self.root / "config"

    @cached_property
    def cache(self) -> Path:
        """Downloads and token shards: safe to delete, slow to make again."""
        return self.root / ".cache"

    @cached_property
    def results(self) -> Path:
        """Runs and what is computed from them."""
        return self.root / "results"

    @cached_property
    def reports(self) -> Path:
        return self.root / "reports"

    def run(self, key: str) -> Path:
        """Folder of one run; `key` reads `dataset/variant-id/s0`."""
        return self.results / "runs" / key

    def audit(self, key: str, gate: str) -> Path:
        """What the audit of a spec (`dataset/variant-id`) found at a gate, `untrained` or `trained`."""
        return self.results / "audits" / f"{key}.{gate}.json"

    def trial(self, key: str, factor: float, seed: int) -> Path:
        """Folder of one trial of a learning rate, the declared one times `factor`, of a spec (`dataset/variant-id`)."""
        return self.results / "trials" / key / f"x{factor:g}" / f"s{seed}"

    def rates(self, key: str) -> Path:
        """The ledger of a spec's trials and the rate that was chosen."""
        return self.results / "rates" / f"{key}.json"

    def measured(self, key: str) -> Path:
        """What the speed lane and the inference card measured of a spec beside a baseline; `key` is `expansion.measured_key`."""
        return self.results / "measured" / f"{key}.json"

    def delivered(self, kind: str, key: str) -> Path:
        """What a source of some kind and settings delivered."""
        return self.cache / "downloads" / f"{kind}-{key}"

    def content(self, dataset: str) -> Path:
        """The content of a data set, read and checked, before it is cut or tokenized."""
        return self.cache / "content" / dataset

    def tokens(self, dataset: str, tokenizer: str) -> Path:
        return self.cache / "tokens" / f"{dataset}.{tokenizer}"

    def relative(self, path: Path) -> Path:
        """`path` as it reads from the root, for messages."""
        return path.relative_to(self.root) if path.is_relative_to(self.root) else path
