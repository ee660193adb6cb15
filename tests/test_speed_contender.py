"""What the speed lane times: the very step a run trains with, its state untouched by the warm-up; and what memory that takes."""

from __future__ import annotations

import json

import pytest
import torch

from nnn_bench.config.catalog import Catalog
from nnn_bench.config.expansion import study_specs
from nnn_bench.data.store import load
from nnn_bench.speed.contender import contenders, phases, stage_spans
from nnn_bench.speed.memory import peak_memory, resident_peak
from nnn_bench.training.environment import set_up
from nnn_bench.training.job import make_plan, run_configuration
from nnn_bench.training.optimizers import optimizer_tensors
from nnn_bench.training.trainer import train_run
from tests.tiny_project import edit, make_project

VARIANTS = ["gpt2", "multidimensional_refed", "progressive_untying"]


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """The project, and the run of each variant at a tiny size; the second draws at random, the third grows."""
    project = make_project(tmp_path_factory.mktemp("tiny"))
    edit(project, "studies/tiny.yaml", "[gpt2, matmul_free, selection_transformer]", f"[{', '.join(VARIANTS)}]")
    edit(project, "suites/tiny.yaml", "body_parameters: 6000", "body_parameters: 20250")
    catalog = Catalog(project)
    specs = study_specs(catalog, "tiny", "tiny")
    return project, {
        name: run_configuration(spec, make_plan(project, catalog, spec), 0) for name, spec in specs.items()
    }


def made(asked, variant, device="cpu"):
    project, runs = asked
    configuration = runs[variant]
    environment = set_up(device, "float32", 1, False)
    return contenders(configuration, load(project, configuration.dataset, configuration.tokenizer), environment)


def bits(contender):
    """All that a step may change, as bytes."""
    tensors = [*contender.model.state_dict().items(), *contender.model.named_buffers()]
    tensors += optimizer_tensors(contender.model, contender.optimizer)
    return {name: value.detach().cpu().numpy().tobytes() for name, value in tensors} | {
        "random": bytes(torch.get_rng_state())
    }


def two_steps(contender):
    contender.step()
    contender.step()


@pytest.mark.parametrize("variant", VARIANTS)
def test_warming_up_leaves_no_trace(asked, variant):
    warmed, fresh = made(asked, variant)[-1], made(asked, variant)[-1]
    before = bits(warmed)
    restore = warmed.remember()
    warmed.warm_up()
    assert bits(warmed) != before
    restore()
    assert bits(warmed) == before and warmed.done == 0
    assert all(parameter.grad is None for parameter in warmed.model.parameters())
    two_steps(warmed)
    after = bits(warmed)
    torch.set_rng_state(torch.frombuffer(bytearray(before["random"]), dtype=torch.uint8))
    two_steps(fresh)
    assert bits(fresh) == after != before


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_warming_up_leaves_no_trace_on_a_gpu(asked):
    [warmed] = made(asked, "gpt2", "cuda")
    before, random = bits(warmed), torch.cuda.get_rng_state()
    restore = warmed.remember()
    warmed.warm_up()
    torch.rand(1, device="cuda")
    restore()
    assert bits(warmed) == before and torch.equal(torch.cuda.get_rng_state(), random)


def test_the_first_steps_are_those_of_a_run(asked, tmp_path):
    project, runs = asked
    [contender] = made(asked, "gpt2")
    losses = [contender.step().item() for _ in range(4)]
    store = load(project, "tiny", "characters")
    train_run(runs["gpt2"], store, tmp_path / "run", 1e9)
    record = [line for line in (tmp_path / "run" / "record.jsonl").read_text().splitlines() if '"train"' in line]
    assert [json.loads(line)["loss"] for line in record[:4]] == pytest.approx(losses, abs=0)


def test_a_network_that_grows_is_timed_at_every_stage_for_its_share_of_the_run(asked):
    project, runs = asked
    stages = made(asked, "progressive_untying")
    steps = runs["progressive_untying"].steps
    assert [one.model.stage for one in stages] == [0, 1, 2]
    assert [(one.first, one.last) for one in stages] == stage_spans(
        runs["progressive_untying"], load(project, "tiny", "characters")
    )
    assert [one.first for one in stages] == [0, round(0.3333 * steps), round(0.6667 * steps)]
    assert stages[-1].last == steps
    shares = [phase.share for phase in phases(stages)]
    assert sum(shares) == pytest.approx(1) and shares == pytest.approx([1 / 3] * 3, abs=0.01)


def test_steps_of_a_stage_come_again_when_more_are_asked_for(asked):
    [contender] = made(asked, "gpt2")
    contender.last = 2
    seen = []
    contender.stepper.step = lambda step: (seen.append(step), None)
    for _ in range(5):
        contender.step()
    assert seen == [0, 1, 0, 1, 0]


def test_a_planted_allocation_is_seen():
    size = 48 * 1024**2
    peak = resident_peak(lambda: bytearray(b"\1") * size)
    if peak is None:
        pytest.skip("this system does not let a process set its high-water mark back")
    assert 0.95 * size < peak < 1.1 * size  # the kernel counts in batches of pages


def test_a_fresh_process_sees_at_least_weights_gradients_and_moments(asked):
    project, runs = asked
    peak = peak_memory(project, runs["gpt2"])
    if peak is None:
        pytest.skip("this system does not let a process set its high-water mark back")
    [contender] = made(asked, "gpt2")
    parameters = sum(parameter.numel() for parameter in contender.model.parameters())
    assert 4 * 4 * parameters < peak < 64 * 1024**2
