"""The network a finished run has trained, read back from its directory."""

from __future__ import annotations

from pathlib import Path

from nnn_bench.config.closure import is_trees
from nnn_bench.config.errors import UserError
from nnn_bench.config.files import read_json
from nnn_bench.models.build import build
from nnn_bench.models.language_model import LanguageModel
from nnn_bench.training.checkpoint import newest_checkpoint
from nnn_bench.training.run_directory import RunDirectory
from nnn_bench.training.trees import load_trees


def load_trained(path: Path, vocabulary: int) -> LanguageModel:
    """The network of the run in `path`, on the CPU, in its last stage and with its last weights; or the trees that were fitted.

    Raises `UserError` when the run has no sound checkpoint.
    """
    directory = RunDirectory(path)
    told = read_json(directory.config)
    no_checkpoint = UserError("holds no sound checkpoint; train it again with --again", file=path)
    if not isinstance(told, dict) or "model" not in told:
        raise no_checkpoint
    if is_trees(told["model"]):
        return load_trees(path, told, vocabulary)
    found = newest_checkpoint(directory.checkpoints, told["fingerprint"])
    if found is None:
        raise no_checkpoint
    model = build(told["model"], vocabulary=vocabulary, context=told["scale"]["context"], file=told["variant"])
    while model.stage < found.progress.stage:
        model.grow()
    found.restore_model(model)
    return model
