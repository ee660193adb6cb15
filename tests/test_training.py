"""Training is exact: the same bits whatever interrupts it, nothing trained twice, nothing lost."""

from __future__ import annotations

import functools
import json
import math
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nnn_bench.config.catalog import Catalog
from nnn_bench.config.errors import RunBusy, UserError
from nnn_bench.config.expansion import study_specs
from nnn_bench.data.store import load
from nnn_bench.training.job import make_plan, run_configuration
from nnn_bench.training.run_directory import RunDirectory
from nnn_bench.training.trainer import train_run
from tests.tiny_project import Forked, edit, make_project

VARIANTS = ["gpt2", "matmul_free", "selection_transformer"]


@pytest.fixture
def project(tmp_path):
    return make_project(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """`whole(variant, learning_rate)`: a tiny run that nothing stopped, its result and its folder. Nobody may change it."""

    @functools.cache
    def run(variant, learning_rate):
        changes = {"learning_rate": learning_rate} if learning_rate else {}
        return trained(make_project(tmp_path_factory.mktemp("whole")), variant, **changes)

    return lambda variant="gpt2", learning_rate=None: run(variant, learning_rate)


def copied(run, project):
    """The same finished run in the place that it has in `project`: its folder there."""
    result, folder = run
    return Path(shutil.copytree(folder, project.run(result["run_key"])))


def trained(project, variant="gpt2", seed=0, path=None, checkpoint_seconds=60.0, **changes):
    """Train one tiny run in this process; its result and its folder."""
    catalog = Catalog(project)
    spec = study_specs(catalog, "tiny", "tiny")[variant]
    plan = make_plan(project, catalog, spec)
    configuration = run_configuration(spec, plan, seed).model_copy(update=changes)
    folder = path or project.results / "runs" / configuration.run_key
    return train_run(configuration, load(project, "tiny", "characters"), folder, checkpoint_seconds), folder


def weights(folder):
    [newest, *_] = sorted((folder / "checkpoints").glob("step-*"), reverse=True)
    return load_file(newest / "tensors.safetensors")


def same_bits(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def same_run(one, other):
    return same_bits(weights(one), weights(other)) and losses(one) == losses(other)


def rows(folder, kind="train"):
    found = [json.loads(line) for line in (folder / "record.jsonl").read_text().splitlines()]
    return [row for row in found if row["kind"] == kind]


def losses(folder):
    return [(row["step"], row["loss"]) for row in rows(folder)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_learns_and_leaves_record_result_and_receipt(whole, variant):
    result, folder = whole(variant)
    assert result["status"] == "ok" and result["steps"] == 100 and result["tokens"] == 9600
    assert result["test"]["loss"] < 0.8 * math.log(28)
    assert result["test"]["bits_per_byte"] == pytest.approx(result["test"]["loss"] / math.log(2), rel=1e-9)
    assert result["test"]["tokens"] == 256 and len(result["test"]["by_position"]) == 16
    assert abs(result["receipt"]["residual"]) <= 0.01
    assert json.loads((folder / "result.json").read_text()) == result
    assert [row["step"] for row in rows(folder)] == list(range(1, 101))
    assert [row["step"] for row in rows(folder, "validation")] == [33, 67, 100]
    assert all(row["flops"] == row["tokens"] * result["flops"] // result["tokens"] for row in rows(folder))
    assert ("selection" in rows(folder, "validation")[0]) == (variant == "selection_transformer")
    assert len(result["samples"][0]["text"]) == 20


def test_the_same_seed_gives_the_same_bits_and_another_seed_another_run(whole, project, tmp_path):
    _, first = whole()
    _, again = trained(project, path=tmp_path / "two")
    _, other = trained(project, path=tmp_path / "three", seed=1)
    assert same_bits(weights(first), weights(again)) and losses(first) == losses(again)
    assert not same_bits(weights(first), weights(other))


def test_a_finished_run_is_not_trained_again_and_a_changed_one_is(whole, project):
    before, folder = whole()[0], copied(whole(), project)
    written = (folder / "result.json").stat().st_mtime_ns
    assert trained(project)[0] == before
    assert (folder / "result.json").stat().st_mtime_ns == written
    changed, _ = trained(project, learning_rate=1e-3)
    assert changed["fingerprint"] != before["fingerprint"] and changed["test"] != before["test"]
    assert [row["step"] for row in rows(folder)] == list(range(1, 101))


def test_a_second_trainer_on_the_same_run_refuses_at_once(whole, project):
    folder = copied(whole(), project)
    with RunDirectory(folder).locked(), pytest.raises(RunBusy, match="held by another process"):
        trained(project)
    with RunDirectory(folder).locked():
        busy = Forked(project, "train", "tiny", "tiny", "gpt2", "--seeds", "0")
        errors = busy.said()
    assert busy.exitcode == 75
    assert errors.startswith("nnn-bench: error: ") and errors.count("\n") == 1


@pytest.mark.parametrize(
    ("variant", "number"),
    [("gpt2", signal.SIGKILL), ("matmul_free", signal.SIGKILL), ("selection_transformer", signal.SIGTERM)],
)
def test_killed_at_a_random_step_and_resumed_ends_with_the_same_bits(project, tmp_path, variant, number):
    edit(project, "suites/tiny.yaml", "tokens: 9600", "tokens: 19200")
    reference, unstopped = trained(project, variant, path=tmp_path / "whole")
    words = ["train", "tiny", "tiny", variant, "--seeds", "0", "--checkpoint-seconds", "0.05"]
    spec = study_specs(Catalog(project), "tiny", "tiny")[variant]
    folder = project.results / "runs" / spec.key / "s0"
    seed = time.time_ns()
    print(f"kills drawn from seed {seed}")
    draw = random.Random(seed)
    for _ in range(3):
        process = Forked(project, *words)
        before, goal = _steps(folder), draw.randint(10, 45)  # of 200 rows: three kills cannot reach the end
        while process.is_alive() and _steps(folder) < before + goal:
            time.sleep(0.005)
        os.kill(process.pid, number)
        errors = process.said()
        assert process.exitcode == (-9 if number == signal.SIGKILL else 143), errors
    assert not (folder / "result.json").exists()
    finished = Forked(project, *words)
    errors = finished.said()
    assert finished.exitcode == 0, errors
    assert same_bits(weights(folder), weights(unstopped))
    assert losses(folder) == losses(unstopped)
    result = json.loads((folder / "result.json").read_text())
    assert result["test"] == reference["test"] and result["samples"] == reference["samples"]


def _steps(folder):
    try:
        return len((folder / "record.jsonl").read_text().splitlines())
    except OSError:
        return 0


def test_a_truncated_checkpoint_costs_time_and_nothing_else(whole, project):
    _, folder = trained(project, checkpoint_seconds=0.0)
    newest = max((folder / "checkpoints").glob("step-*"))
    assert len(list((folder / "checkpoints").glob("step-*"))) == 2
    content = (newest / "tensors.safetensors").read_bytes()
    (newest / "tensors.safetensors").write_bytes(content[: len(content) // 2])
    (folder / "result.json").unlink()
    trained(project)
    assert same_run(folder, whole()[1])


def test_a_checkpoint_of_another_run_is_not_used(whole, project):
    _, other = whole(learning_rate=1e-3)
    folder = copied(whole(), project)
    shutil.rmtree(folder / "checkpoints")
    shutil.copytree(other / "checkpoints", folder / "checkpoints")
    (folder / "result.json").unlink()
    trained(project)
    assert same_run(folder, whole()[1])


def test_a_pickle_in_place_of_a_checkpoint_is_not_opened(whole, project, tmp_path):
    import pickle

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    folder = copied(whole(), project)
    for path in (folder / "checkpoints").glob("step-*/tensors.safetensors"):
        path.write_bytes(pickle.dumps(Bomb()))
    (folder / "result.json").unlink()
    assert trained(project)[0]["status"] == "ok"
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("variant", VARIANTS)
def test_divergence_is_recorded_as_such(project, variant):
    scale = study_specs(Catalog(project), "tiny", "tiny")[variant].scale.model_copy(update={"evaluations": 100})
    result, folder = trained(project, variant, learning_rate=1e30, scale=scale)
    assert result["status"] == "diverged" and result["test"] is None
    assert 0 < result["steps"] < 100
    written = [json.loads(line) for line in (folder / "record.jsonl").read_text().splitlines()]
    assert any(row["loss"] is None for row in written)
    assert trained(project, variant, learning_rate=1e30, scale=scale)[0]["ended"] == result["ended"]


def test_micro_batches_change_nothing_but_the_last_bits(whole, project):
    scale = study_specs(Catalog(project), "tiny", "tiny")["gpt2"].scale.model_copy(update={"accumulation": 3})
    parts, _ = trained(project, scale=scale)
    assert parts["test"]["loss"] == pytest.approx(whole()[0]["test"]["loss"], abs=2e-3)


OPTIONS = [
    ("gpt2", {"activation_checkpointing": True}),
    ("matmul_free", {"activation_checkpointing": True}),
    ("matmul_free", {"compile": True}),
    ("gpt2", {"precision": "bfloat16"}),
    ("matmul_free", {"precision": "bfloat16"}),
    ("selection_transformer", {"precision": "bfloat16"}),
]


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # torch's own, while it compiles
@pytest.mark.parametrize(("variant", "option"), OPTIONS)
def test_options_of_training_reach_about_the_same_loss(whole, project, variant, option):
    plain, _ = whole(variant)
    training = study_specs(Catalog(project), "tiny", "tiny")[variant].training.model_copy(update=option)
    other, _ = trained(project, variant, training=training)
    torch.use_deterministic_algorithms(False)
    torch.set_float32_matmul_precision("highest")
    assert other["test"]["loss"] == pytest.approx(plain["test"]["loss"], abs=0.1 if "precision" in option else 5e-2)


def test_lion_trains_and_resumes_to_the_same_bits(project):
    from nnn_bench.config.recipe import Lion, Training

    changes = {"training": Training(optimizer=Lion(name="lion")), "learning_rate": 3e-4}
    unstopped, folder = trained(project, checkpoint_seconds=0.0, **changes)
    assert unstopped["test"]["loss"] < 0.9 * math.log(28)
    expected = weights(folder)
    steps = sorted((folder / "checkpoints").glob("step-*"))
    assert [path.name for path in steps] == ["step-00000099", "step-00000100"]
    shutil.rmtree(steps[-1])
    (folder / "result.json").unlink()
    trained(project, **changes)
    assert same_bits(weights(folder), expected)


def test_a_gpu_that_is_not_there_is_said_in_one_line(project, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="no CUDA device is there"):
        trained(project, device="cuda")


def test_a_full_disk_loses_nothing(whole, project, monkeypatch):
    import errno

    from nnn_bench.config import files

    catalog = Catalog(project)
    make_plan(
        project, catalog, study_specs(catalog, "tiny", "tiny")["gpt2"]
    )  # its data are on the disk before that is full
    calls = {"left": 12}
    sound = files.os.fsync

    def full(descriptor):
        calls["left"] -= 1
        if calls["left"] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        sound(descriptor)

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device; nothing was lost"):
        trained(project, checkpoint_seconds=0.0)
    monkeypatch.undo()
    _, folder = trained(project)
    assert same_run(folder, whole()[1])
    assert not [path for path in folder.rglob(".*") if path.is_file()]
