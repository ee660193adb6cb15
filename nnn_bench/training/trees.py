"""Fit one run of boosted trees, from its text to its result: what `trainer.py` is for networks.

The same directory, record and result as any run. In place of checkpoints stands `trees.txt`, in the library's own format, and
`trees.json`, which says of which fingerprint it is and what it hashes to: handed half a file, the library ends the process. A
round of boosting stands for a step. A fit that was killed begins again: it takes minutes, and what is half fitted is no prefix of
what the library would have fitted in one go. The validation split is looked at after each round and decides nothing.
"""

from __future__ import annotations

import hashlib
import importlib
import math
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nnn_bench.audit.findings import Finding
from nnn_bench.config.closure import source_hash
from nnn_bench.config.errors import Terminated, UserError
from nnn_bench.config.files import read_json, write_atomically, write_json
from nnn_bench.data.names import SplitName
from nnn_bench.data.objectives import evaluation_windows
from nnn_bench.data.store import TokenStore
from nnn_bench.models.build import build
from nnn_bench.models.trees.lightgbm import LaggedTrees, lagged
from nnn_bench.training.configuration import RunConfiguration
from nnn_bench.training.environment import set_up
from nnn_bench.training.evaluation import evaluate
from nnn_bench.training.results import result_of
from nnn_bench.training.run_directory import RunDirectory
from nnn_bench.training.samples import samples_of
from nnn_bench.training.stopping import stop_signals

_FILE, _SEAL = "trees.txt", "trees.json"
_RANDOM_TOKENS = 4096
_RANDOM_ROUNDS = 5
_RANDOM_MARGIN = 0.01  # of ln V, as for networks


def fit_run(configuration: RunConfiguration, store: TokenStore, path: Path) -> dict[str, Any]:
    """Fit `configuration` in the directory `path` and return its result; skip it where it is there already.

    Raises `RunBusy` when another process fits it, `UserError` for bad input.
    """
    environment = set_up("cpu", "float32", configuration.threads, compiled=False)
    torch.set_num_threads(configuration.threads)
    source = f"{source_hash(configuration.model)} lightgbm {version('lightgbm')}"
    fingerprint = configuration.fingerprint(store.manifest.content, source, environment)
    directory = RunDirectory(path)
    with directory.locked():
        done = directory.finished(fingerprint)
        if done is not None:
            return done
        told = configuration.model_dump(mode="json")
        directory.begin({**told, "fingerprint": fingerprint, "environment": environment.facts()})
        directory.cut_record(0)
        started = time.time()
        trees = _built(configuration.model, store.manifest.vocabulary, configuration.scale.context)
        with stop_signals() as stop:
            seconds = _fit(trees, configuration, store, directory, stop)
        assert trees.text is not None
        write_atomically(directory.path / _FILE, trees.text.encode())
        write_json(directory.path / _SEAL, _seal(trees.text.encode(), fingerprint))
        scale, asked = configuration.scale, (configuration.objective, configuration.ahead)
        parts: tuple[SplitName, ...] = ("validation", "test")
        scores = {
            name: evaluate(trees, evaluation_windows(store, name, scale, *asked), store.token_bytes, environment)
            for name in parts
        }
        count, leaves = trees.trees_and_leaves()
        result = result_of(
            configuration,
            fingerprint,
            environment,
            status="ok",
            last=_row("result", configuration, count // trees.vocabulary, seconds),  # fitting may end before its rounds
            started=started,
            **scores,
            samples=samples_of(trees, store, scale, *asked, configuration.seed),
            weights={"density": {}, "ternary": {}, "trees": {"trees": count, "leaves": leaves}},
        )
        directory.write_result(result)
        return result


def load_trees(path: Path, told: dict[str, Any], vocabulary: int) -> LaggedTrees:
    """The trees of the finished run in `path`, whose configuration is `told`. Raises `UserError` when they are not whole."""
    trees = _built(told["model"], vocabulary, told["scale"]["context"])
    text = (path / _FILE).read_bytes() if (path / _FILE).is_file() else b""
    if read_json(path / _SEAL) != _seal(text, told["fingerprint"]):
        raise UserError("holds no whole trees; fit them again with --again", file=path)
    trees.restore(text.decode())
    return trees


def _seal(text: bytes, fingerprint: str) -> dict[str, str]:
    return {"fingerprint": fingerprint, "sha256": hashlib.sha256(text).hexdigest()}


def random_trees(model: dict[str, Any], vocabulary: int, context: int, rate: float) -> Finding:
    """Fit trees to independent random tokens and score fresh ones: none that is honest ends below ln V."""
    trees = _built(model, vocabulary, context, rounds=_RANDOM_ROUNDS)
    draw = np.random.Generator(np.random.PCG64(0))
    trees.fit(draw.integers(vocabulary, size=_RANDOM_TOKENS), rate=rate, seed=0, threads=torch.get_num_threads())
    tokens = torch.from_numpy(draw.integers(vocabulary, size=(64, context + 1)))
    shares = trees(tokens[:, :-1]).log_softmax(-1)
    loss = -shares.gather(-1, tokens[:, 1:].unsqueeze(-1)).mean().item()
    ratio = loss / math.log(vocabulary)
    saw = f"fitted to {_RANDOM_TOKENS:,} random tokens the loss on fresh ones is {loss:.4f}, {ratio:.3f} of ln {vocabulary}"
    return Finding(
        "random_tokens", ratio >= 1 - _RANDOM_MARGIN, saw, {"worst": 1 - ratio, "loss": loss, "ratio": ratio}
    )


def _built(model: dict[str, Any], vocabulary: int, context: int, rounds: int | None = None) -> LaggedTrees:
    made = build(model, vocabulary=vocabulary, context=context, file="trees")
    assert isinstance(made, LaggedTrees)
    if rounds is not None:
        made.options = made.options.model_copy(update={"rounds": rounds})
    return made


def _fit(
    trees: LaggedTrees,
    configuration: RunConfiguration,
    store: TokenStore,
    directory: RunDirectory,
    stop: threading.Event,
) -> float:
    """Fit, with a row in the record for each round; the seconds it took. Raises `Terminated` when it is asked to stop."""
    importlib.import_module("lightgbm")  # takes seconds of its own, before the clock runs
    scale, begun = configuration.scale, time.perf_counter()

    def tell(rounds: int, loss: float, validation_loss: float | None) -> None:
        row = _row("train", configuration, rounds, time.perf_counter() - begun)
        directory.append({**row, "loss": loss, "learning_rate": configuration.learning_rate, "gradient_norm": None})
        # every position of the split, with all lags behind it: no window stands in between
        told = {"loss": validation_loss, "bits_per_byte": None, "all_positions_loss": validation_loss}
        directory.append({**row, "kind": "validation", **told})
        if stop.is_set():
            raise Terminated(f"stopped after round {rounds} of {trees.options.rounds}; started again it begins anew")

    trees.fit(
        store.seen(scale.training_characters),
        rate=configuration.learning_rate,
        seed=configuration.seed,
        threads=configuration.threads,
        validation=lagged(store.validation[: scale.validation_tokens], trees.lags),
        tell=tell,
    )
    return time.perf_counter() - begun


def _row(kind: str, configuration: RunConfiguration, rounds: int, seconds: float) -> dict[str, Any]:
    told = {"kind": kind, "time": time.time(), "step": rounds, "seconds": seconds}
    return {**told, "tokens": configuration.scale.training_characters, "flops": 0}
