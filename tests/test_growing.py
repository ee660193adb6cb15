"""Growing: what the network keeps, what the optimizer is handed, when it happens, and that a kill around it costs no bit."""

from __future__ import annotations

import copy
import json
import shutil

import pytest
import torch
import torch.nn.functional as F

from nnn_bench.config.catalog import Catalog
from nnn_bench.config.errors import UserError
from nnn_bench.config.expansion import study_specs
from nnn_bench.config.recipe import AdamW, Lion
from nnn_bench.data.store import load
from nnn_bench.models.build import build
from nnn_bench.models.growth import Growth, Plateau
from nnn_bench.training.growing import GrowthWatch, PlateauState
from nnn_bench.training.job import make_plan, run_configuration
from nnn_bench.training.optimizers import carry_state, make_optimizer, require_one_group_each
from nnn_bench.training.run_directory import RunDirectory
from nnn_bench.training.trained import load_trained
from nnn_bench.training.trainer import train_run
from tests.models import VARIANTS, VOCABULARY, small, solved, tokens
from tests.tiny_project import edit, make_project

PRESERVING = ["progressive_untying", "progressive_doubling"]
JUMPING = ["progressive_doubling_half_step", "progressive_doubling_accept"]
GROWING = [name for name in VARIANTS if name.startswith("progressive") and not name.endswith("_published")]


def loss_of(model, seed=1):
    return F.cross_entropy(model(tokens(8, seed=seed)).flatten(0, 1), tokens(8, seed=2).flatten())


def trained(model, optimizer, steps=3):
    """A few optimizer steps, each on a batch of its own."""
    for step in range(steps):
        optimizer.zero_grad(set_to_none=True)
        loss_of(model, seed=10 + step).backward()
        optimizer.step()


def names_in_groups(model, optimizer):
    named = {id(parameter): name for name, parameter in model.named_parameters()}
    return sorted(named[id(p)] for group in optimizer.param_groups for p in group["params"])


def test_the_growing_variants_are_those_meant_here():
    assert sorted(GROWING) == sorted(PRESERVING + JUMPING)
    assert all(small(name).preserves_function for name in PRESERVING)
    assert not any(small(name).preserves_function for name in JUMPING)


@pytest.mark.parametrize("name", GROWING)
def test_each_growth_after_training_changes_the_loss_only_where_it_says_so(name):
    model = small(name)
    for _ in range(2):
        trained(model, make_optimizer(model, AdamW(), 1e-2))
        with torch.no_grad():
            before = loss_of(model).item()
            model.grow()
            after = loss_of(model).item()
        if name in PRESERVING:
            assert abs(after - before) < 1e-5
        else:
            assert abs(after - before) > 1e-4
    assert model.stage == 2 and len(model.blocks) == 12


def test_half_a_step_jumps_less_than_a_whole_one():
    """x + f then x + f again doubles a block's change; halving both leaves a second-order rest."""
    jumps = {}
    for name in JUMPING:
        torch.manual_seed(0)
        model = small(name, dtype=torch.float64)
        with torch.no_grad():
            for parameter in model.blocks.parameters():
                parameter.mul_(2)
            before = model(tokens())
            model.grow()
            jumps[name] = (model(tokens()) - before).norm().item() / before.norm().item()
    assert jumps["progressive_doubling_half_step"] < 0.5 * jumps["progressive_doubling_accept"]


@pytest.mark.parametrize("settings", [AdamW(), Lion(name="lion")], ids=["adamw", "lion"])
@pytest.mark.parametrize("name", GROWING)
def test_every_trainable_parameter_is_in_exactly_one_group_after_each_growth(name, settings):
    model = small(name)
    for stage in range(3):
        optimizer = make_optimizer(model, settings, 1e-3)
        trainable = sorted(key for key, p in model.named_parameters() if p.requires_grad)
        assert names_in_groups(model, optimizer) == trainable
        assert any(f"blocks.{(3, 6, 12)[stage] - 1}." in key for key in trainable)
        trained(model, optimizer, steps=2)
        if stage < 2:
            model.grow()
    optimizer.param_groups[0]["params"].pop()
    with pytest.raises(RuntimeError, match="in no group"):
        require_one_group_each(model, optimizer.param_groups)


def test_untied_copies_see_half_the_gradient_and_get_the_moments_for_it():
    """The sum of the two copies' gradients is the tied block's, and moments are handed on by that rule."""
    model = small("progressive_untying", dtype=torch.float64)
    optimizer = make_optimizer(model, AdamW(), 1e-2)
    trained(model, optimizer)
    optimizer.zero_grad(set_to_none=True)
    loss_of(model).backward()
    tied = {name: p.grad.clone() for name, p in model.named_parameters()}
    old_state = {name: copy.deepcopy(optimizer.state[p]) for name, p in model.named_parameters()}
    parameters = dict(model.named_parameters())
    origins = model.grow()
    grown = make_optimizer(model, AdamW(), 1e-2)
    carry_state(optimizer, parameters, grown, model, origins)
    loss_of(model).backward()
    now = dict(model.named_parameters())
    key = "channel_mixer.up.weight"
    assert torch.allclose(
        now[f"blocks.0.{key}"].grad + now[f"blocks.1.{key}"].grad, tied[f"blocks.0.{key}"], atol=1e-12
    )
    for index in range(6):
        origin, state = origins[f"blocks.{index}.{key}"], grown.state[now[f"blocks.{index}.{key}"]]
        assert (origin.name, origin.gradient_share) == (f"blocks.{index // 2}.{key}", 0.5)
        assert torch.equal(state["exp_avg"], 0.5 * old_state[origin.name]["exp_avg"])
        assert torch.equal(state["exp_avg_sq"], 0.25 * old_state[origin.name]["exp_avg_sq"])
        assert state["step"].item() == 3
    assert torch.equal(grown.state[now["embedding"]]["exp_avg"], old_state["embedding"]["exp_avg"])
    assert grown.state.get(now["blocks.0.time_mixer.out.delta_up"], {}) == {}
    assert not now["blocks.0.time_mixer.out.weight"].requires_grad


def test_the_low_rank_change_is_merged_exactly_and_its_base_stays():
    model = small("progressive_untying", dtype=torch.float64)
    model.grow()
    optimizer = make_optimizer(model, AdamW(), 1e-2)
    part = model.blocks[1].time_mixer.out
    base = part.weight.detach().clone()
    trained(model, optimizer)
    assert torch.equal(part.weight, base) and part.delta_up.abs().sum() > 0
    expected = base + 2.0 * part.delta_up.detach() @ part.delta_down.detach()
    model.grow()
    for index in (2, 3):
        merged = model.blocks[index].time_mixer.out
        assert torch.allclose(merged.weight, expected, atol=1e-15)
        assert merged.delta_up.abs().sum() == 0 and merged.delta_down.abs().sum() > 0


def test_gates_open_from_zero_and_are_kept_when_depth_doubles_again():
    model = small("progressive_doubling")
    model.grow()
    assert sorted(model.gates) == ["1", "3", "5"] and all(gate == 0 for gate in model.gates.values())
    trained(model, make_optimizer(model, AdamW(), 1e-2))
    opened = [model.gates[key].item() for key in ("1", "3", "5")]
    assert all(value != 0 for value in opened)
    origins = model.grow()
    assert [model.gates[str(index)].item() for index in (2, 6, 10)] == opened
    assert all(model.gates[str(index)] == 0 for index in (1, 3, 5, 7, 9, 11))
    assert (
        origins["gates.6"].name == "gates.3" and "gates.7" not in origins and "blocks.7.time_norm.weight" not in origins
    )


@pytest.mark.parametrize(("form", "stages"), [("untie", [2, 6]), ("accept", [2, 4])])
def test_stacked_order_repeats_the_whole_stack(form, stages):
    tree = copy.deepcopy(solved("progressive_doubling").model)
    tree["topology"] |= {"form": form, "stages": stages, "order": "stacked", "growth": {"at": [0.5]}}
    model = build(tree, vocabulary=VOCABULARY, context=16)
    first = [block.time_mixer.out.weight.detach().clone() for block in model.blocks]
    model.grow()
    for index, block in enumerate(model.blocks):
        assert torch.equal(block.time_mixer.out.weight, first[index % 2])


def test_parameters_follow_the_formula_at_every_stage():
    """With m blocks: m (4 d^2 + 4 d + 2 d h + h + d + 4 d) + 2 d, and after growing m times r (4 d + 2 d) more... by hand."""
    name = "progressive_untying"
    knobs = solved(name).knobs
    d, h, rank = knobs["topology.width"], knobs["topology.channel_mixer.hidden"], 4
    block = 4 * d * d + 4 * d + 2 * d * h + h + d + 4 * d
    delta = rank * (d + 3 * d) + rank * (d + d)
    model = small(name)
    for stage, m in enumerate((3, 6, 12)):
        assert model.parameter_count().body == m * (block + (delta if stage else 0)) + 2 * d
        if stage < 2:
            model.grow()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"stages": [3, 5, 10]}, "model.topology.stages: must each be a multiple of the one before"),
        ({"form": "gate", "stages": [3, 9, 27]}, "model.topology.stages: must double from stage to stage"),
        ({"growth": {"at": [0.5]}}, "model.topology.growth.at: must hold 2 shares, one for each stage after the first"),
        ({"growth": {"at": [0.6, 0.3]}}, "model.topology.growth.at: must rise from stage to stage"),
        ({"form": "unty"}, "model.topology.form: "),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_in_one_line(change, says):
    tree = copy.deepcopy(solved("progressive_untying").model)
    tree["topology"] |= change
    with pytest.raises(UserError) as found:
        build(tree, vocabulary=VOCABULARY, context=16, file="v.yaml")
    assert str(found.value).startswith(f"v.yaml: {says}")


def watched(losses, *, at, plateau=None, steps=100):
    """Steps at which a network of len(at) + 1 stages grows when it sees `losses`."""
    watch, stage, grown = GrowthWatch(Growth(at=at, plateau=plateau), steps, PlateauState()), 0, []
    for step in range(steps):
        while watch.due(step, stage):
            stage += 1
            grown.append(step)
            watch.start_over()
        watch.saw(torch.tensor(float(losses(step))))
    return grown


def test_growth_comes_on_schedule_or_before_it_on_a_plateau():
    plateau = Plateau(window=0.05, gain=0.01)
    falling, flat_after_20 = lambda step: 100 - step, lambda step: max(100 - 3 * step, 40)
    assert watched(falling, at=[0.3, 0.6]) == [30, 60]
    assert watched(falling, at=[0.3, 0.6], plateau=plateau) == [30, 60]
    # flat from step 20 on: the window 20-24 still fell, 25-29 did not; then two windows of the new stage
    assert watched(flat_after_20, at=[0.8, 0.9], plateau=plateau) == [30, 40]
    assert watched(flat_after_20, at=[0.2, 0.22], plateau=plateau) == [20, 22]


def run(project, variant, path, *, checkpoint_seconds=60.0, plateau=None):
    catalog = Catalog(project)
    spec = study_specs(catalog, "tiny", "tiny")[variant]
    plan = make_plan(project, catalog, spec)
    configuration = run_configuration(spec, plan, 0)
    if plateau:
        configuration.model["topology"]["growth"]["plateau"] = plateau
    return train_run(configuration, load(project, "tiny", "characters"), path, checkpoint_seconds), plan


def growth_rows(path):
    rows = [json.loads(line) for line in (path / "record.jsonl").read_text().splitlines()]
    return [row for row in rows if row["kind"] == "growth"]


@pytest.fixture
def project(tmp_path):
    return growing_project(tmp_path)


def growing_project(folder):
    made = make_project(folder)
    edit(made, "studies/tiny.yaml", "variants: [gpt2,", "variants: [gpt2, progressive_untying, progressive_doubling,")
    for variant in PRESERVING:
        edit(made, f"variants/{variant}.yaml", "stages: [3, 6, 12]", "stages: [1, 2, 4]")
    return made


LEFT = (32, 33, 34, 67, 68)  # before, at and after each growth


@pytest.fixture(scope="module", params=PRESERVING)
def whole(request, tmp_path_factory):
    """A run that was never stopped, checkpoints around its growths kept aside: project, variant, folder, result, plan."""
    folder = tmp_path_factory.mktemp(request.param)
    project = growing_project(folder)
    with keep(folder / "kept", LEFT):
        result, plan = run(project, request.param, folder / "whole", checkpoint_seconds=0.0)
    return project, request.param, folder, result, plan


def test_a_run_grows_on_schedule_says_so_and_counts_its_flops(whole):
    _, _, folder, result, plan = whole
    rows = growth_rows(folder / "whole")
    assert [(row["step"], row["stage"]) for row in rows] == [(33, 1), (67, 2)]
    assert all(abs(row["loss_after"] - row["loss_before"]) < 1e-5 for row in rows)
    declared = sum(plan.receipt["training_flops"].values())
    step = declared / 100
    assert result["status"] == "ok" and abs(result["flops"] - declared) < 0.7 * step
    model = load_trained(folder / "whole", 20)
    assert model.stage == 2 and model.parameter_count().body == plan.receipt["parameters"]["body"]


@pytest.mark.parametrize("left", LEFT)
def test_killed_before_at_and_after_growing_the_bits_stay_the_same(whole, tmp_path, left):
    """Every checkpoint but the one after `left` steps is thrown away, as if the run had been killed right then."""
    project, variant, folder, result, _ = whole
    again = tmp_path / "again"
    shutil.copytree(folder / "whole", again)
    shutil.rmtree(again / "checkpoints")
    shutil.copytree(folder / "kept" / str(left), again / "checkpoints")
    (again / "result.json").unlink()
    resumed, _ = run(project, variant, again)
    assert resumed["test"] == result["test"] and resumed["samples"] == result["samples"]
    assert resumed["flops"] == result["flops"]
    ours, theirs = load_trained(again, 20).state_dict(), load_trained(folder / "whole", 20).state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    told = [
        [(r["step"], r["stage"], r["loss_before"]) for r in growth_rows(path)] for path in (again, folder / "whole")
    ]
    assert told[0] == told[1] and len(told[0]) == 2


def keep(folder, steps):
    """While this holds, the checkpoints after `steps` are copied to `folder`, each in a place of its own."""
    from unittest.mock import patch

    from nnn_bench.training import trainer

    sound = trainer.save_checkpoint

    def saving(checkpoints, *words):
        sound(checkpoints, *words)
        for left in steps:
            if (made := checkpoints / f"step-{left:08d}").exists() and not (folder / str(left)).exists():
                shutil.copytree(made, folder / str(left) / made.name)

    return patch.object(trainer, "save_checkpoint", saving)


def test_a_plateau_survives_a_kill_too(project, tmp_path):
    plateau = {"window": 0.04, "gain": 0.2}
    with keep(tmp_path / "kept", range(33)):
        whole, _ = run(project, "progressive_doubling", tmp_path / "whole", checkpoint_seconds=0.0, plateau=plateau)
    early = [row["step"] for row in growth_rows(tmp_path / "whole")]
    assert len(early) == 2 and early[0] < 33
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "checkpoints")
    shutil.copytree(tmp_path / "kept" / str(early[0] - 1), tmp_path / "again" / "checkpoints")
    (tmp_path / "again" / "result.json").unlink()
    resumed, _ = run(project, "progressive_doubling", tmp_path / "again", plateau=plateau)
    assert resumed["test"] == whole["test"]
    assert [row["step"] for row in growth_rows(tmp_path / "again")] == early


def test_a_run_without_a_checkpoint_is_told_in_one_line(project, tmp_path):
    RunDirectory(tmp_path / "run").begin({"fingerprint": "f"})
    with pytest.raises(UserError, match="holds no sound checkpoint"):
        load_trained(tmp_path / "run", 20)
